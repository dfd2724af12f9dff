"""Work of an associative-processor board: the commands it is made of, and how many of them make a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labctl.associative import COUNTERS, Counters
from labctl.drivers.exactly_once import Work

MESSAGE = 1 << 22
"""Bytes of a message or its answer: long enough to be one of few, short enough that it does not take long."""
PASSES = 1 << 26
"""Rows times passes of a message, of programs, and times shifts: a few seconds even on a simulated chip that makes
many mistakes."""
_MOST = 1 << 12  # passes of a message, and shifts, of however few rows
_COMMANDS = 512  # of a message

WORDS = 2 * (len(COUNTERS) + 1)
"""Of the answer of a program, before its trace: counters and picoseconds, each the low word first."""


@dataclass(frozen=True, slots=True)
class CommandWork(Work):
    """parts: the command with its blocks. share: of what a message may carry, besides bytes."""

    dtype: ClassVar[str] = "u1"

    parts: tuple[str | NDArray[Any], ...]
    share: float = 1 / _COMMANDS

    @property
    def is_answered(self) -> bool:
        return self.values > 0

    @property
    def load(self) -> float:
        """Of what a message may carry; above 1 it is one of its own."""
        given = sum(part.nbytes for part in self.parts if not isinstance(part, str))
        return max(given, self.size) / MESSAGE + self.share


@dataclass(frozen=True, slots=True)
class WordsWork(CommandWork):
    dtype: ClassVar[str] = "<u4"


@dataclass(frozen=True, slots=True)
class OffsetsWork(CommandWork):
    dtype: ClassVar[str] = "i1"


def plain(*parts: str | NDArray[Any], duration: float = 0.0) -> CommandWork:
    """Of a command that answers nothing."""
    return CommandWork(0, duration, parts)


def shifting(command: str, steps: int, rows: int, step_time: float) -> CommandWork:
    """A command that shifts by `steps`. step_time: s."""
    count = abs(steps)
    return CommandWork(0, count * step_time, (command,), max(1 / _COMMANDS, count / _most(rows)))


def in_messages(works: Sequence[CommandWork]) -> Iterator[list[CommandWork]]:
    """As many of `works` at a time as make a message of a sensible length."""
    message: list[CommandWork] = []
    load = 0.0
    for work in works:
        if message and load + work.load > 1.0:
            yield message
            message, load = [], 0.0
        message.append(work)
        load += work.load
    if message:
        yield message


def run_works(
    slot: int, passes: NDArray[np.int64], shifts: NDArray[np.int64], rows: int, trace: bool, pass_time: float
) -> Iterator[WordsWork]:
    """A program of so many `passes` and `shifts` an instruction, (n,), in pieces of whole instructions. pass_time: s of
    either.
    """
    most = _most(rows)
    ends, moved = np.cumsum(passes), np.cumsum(shifts)
    command = "TRACe" if trace else "RUN"
    first, before, moved_before = 0, 0, 0
    while first < len(passes):
        stop = min(np.searchsorted(ends, before + most, "right"), np.searchsorted(moved, moved_before + most, "right"))
        count = max(1, int(stop) - first)
        done, steps = int(ends[first + count - 1]) - before, int(moved[first + count - 1]) - moved_before
        answer = WORDS + (done if trace else 0)
        text = f":PROGram:{command}? {slot},{first},{count}"
        yield WordsWork(answer, (done + steps) * pass_time, (text,), max(done, steps) / most + 1 / _COMMANDS)
        first, before, moved_before = first + count, before + done, moved_before + steps


def counted(words: NDArray[np.uint32]) -> tuple[Counters, float]:
    """What the first `WORDS` of the answer of a program say: counters, and s."""
    *counters, picoseconds = np.ascontiguousarray(words[:WORDS], "<u4").view("<u8").tolist()
    return Counters(*counters), picoseconds * 1e-12


def _most(rows: int) -> int:
    """Passes of a message, and shifts."""
    return max(1, min(_MOST, PASSES // rows))
