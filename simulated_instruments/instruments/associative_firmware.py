"""What an associative-processor board does: columns, searches, tagged writes and shifts, one by one or as a program.

The board moves and writes only while its outputs are on, and numbers its work (`numbered_work`). Where a command is
refused, no more work is done in its message: what follows was meant for the tags and columns it would have left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..cells.racetrack_counters import OperationCounters
from ..chips.associative import AssociativeChip
from ..scpi import ScpiError
from .clocks import BoardClock
from .numbered_work import NumberedWork, within
from .program_memory import ProgramMemory

FIRMWARE = "1.0"
SENSE_THRESHOLD = 0.5
MAX_SENSE_THRESHOLD = 64.0
MAX_VERIFY_EVERY = 1_000_000
COUNTERS = tuple(each.name for each in fields(OperationCounters))
"""In the order in which they are told."""
_PICOSECONDS = 1e12  # in a second
_MAX_ANSWER = 1 << 28  # bytes
_WORDS = 2 * (len(COUNTERS) + 1)  # of the answer of a program, before its trace
_TEMPERATURES = (250.0, 400.0)  # K, outside of which the self-test fails

Found = TypeVar("Found")
Answer = TypeVar("Answer", bound=NDArray[Any] | None)
Columns = NDArray[np.uint32]
Bytes = NDArray[np.uint8]
Words = NDArray[np.uint32]


class AssociativeFirmware(NumberedWork):
    """The board around one chip. Its work is everything that the chip does, and what changes settings or programs."""

    def __init__(self, chip: AssociativeChip, clock: BoardClock) -> None:
        super().__init__(clock)
        self.chip = chip
        self.programs = ProgramMemory()
        self._before = self._chip_counts()
        self.reset()

    # -- settings -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The settings after power-on, no programs; numbers, counters and what is kept stay."""
        self._output = False
        self.chip.sense_threshold = SENSE_THRESHOLD
        self.chip.verify_every = 0
        self.programs.clear()

    @property
    def sense_threshold(self) -> float:
        """Of a match line: 0 is the signal of a match, 1 that of one mismatch."""
        return self.chip.sense_threshold

    @sense_threshold.setter
    def sense_threshold(self, threshold: float) -> None:
        self._check_valid()
        self.chip.sense_threshold = within(threshold, 0.0, MAX_SENSE_THRESHOLD)
        self._worked(0.0, None)

    @property
    def verify_every(self) -> int:
        """After so many shifts of a track its positions are checked and realigned; 0: never."""
        return self.chip.verify_every

    @verify_every.setter
    def verify_every(self, shifts: int) -> None:
        self._check_valid()
        self.chip.verify_every = int(within(shifts, 0, MAX_VERIFY_EVERY))
        self._worked(0.0, None)

    def counters(self) -> tuple[int, ...]:
        """`COUNTERS`, since power-on."""
        return tuple(now - before for now, before in zip(self._chip_counts(), self._before, strict=True))

    # -- work on columns ----------------------------------------------------------------------------------------

    def load(self, columns: Columns, planes: Bytes) -> None:
        """Write whole columns in every row; planes one after another."""
        self._done(lambda: self.chip.load(self._listed(columns), self._planes(planes, len(columns))), lambda _: None)

    def read(self, columns: Columns) -> Bytes:
        """Planes one after another."""
        self._check_room(len(columns) * self.chip.row_bytes)
        return self._answered(lambda: self.chip.read(self._listed(columns)).reshape(-1))

    def search(self, columns: Columns, key: Bytes) -> Words:
        """Tag the rows that hold `key`, a byte a column; (1,) how many."""
        return self._answered(
            lambda: np.array([self.chip.search(self._listed(columns), _bits(key, len(columns)))], np.uint32)
        )

    def write(self, columns: Columns, bits: Bytes) -> None:
        """Write `bits`, a byte a column, in the tagged rows."""
        self._done(lambda: self.chip.write(self._listed(columns), _bits(bits, len(columns))), lambda _: None)

    def tags(self) -> Bytes:
        return self._answered(self.chip.tag_plane)

    def tag(self, plane: Bytes) -> None:
        self._done(lambda: self.chip.set_tags(self._planes(plane, 1)[0]), lambda _: None)

    # -- work on positions --------------------------------------------------------------------------------------

    def shift(self, track: int, steps: int) -> None:
        self._done(lambda: self.chip.shift(track, steps), lambda _: None)

    def check(self, tracks: NDArray[np.uint16]) -> NDArray[np.int8]:
        """Rows of the first track, of the second and so on: by how many domains each nanowire is ahead."""
        self._check_room(len(tracks) * self.chip.rows)
        return self._answered(lambda: self.chip.check(self._tracks(tracks)).reshape(-1))

    def realign(self, track: int, steps: int) -> None:
        """Of the tagged rows."""
        self._done(lambda: self.chip.realign(track, steps), lambda _: None)

    # -- programs -----------------------------------------------------------------------------------------------

    def define(self, slot: int, tables: Bytes, instructions: Bytes) -> None:
        self._check_valid()
        self.programs.define(slot, tables, instructions)
        self._worked(0.0, None)

    def delete(self, slot: int) -> None:
        self._check_valid()
        self.programs.delete(slot)
        self._worked(0.0, None)

    def delete_all(self) -> None:
        self._check_valid()
        self.programs.clear()
        self._worked(0.0, None)

    def run(self, slot: int, first: int, count: int) -> Words:
        """`count` instructions of a program. What it counted: `COUNTERS` and picoseconds, two words each, the low one
        first.
        """
        return self._execute(slot, first, count, trace=False)

    def trace(self, slot: int, first: int, count: int) -> Words:
        """The same, and then the rows that each pass tagged."""
        return self._execute(slot, first, count, trace=True)

    def _execute(self, slot: int, first: int, count: int, *, trace: bool) -> Words:
        def run() -> Words | None:
            part = self.programs.part(slot, first, count)
            self._check_room(4 * (_WORDS + part.passes) if trace else 0)
            return self.chip.execute(part.tables, part.instructions, trace)

        before = self._chip_counts()

        def answer(matches: Words | None) -> Words:
            counted = [now - was for now, was in zip(self._chip_counts(), before, strict=True)]
            numbers = np.array([*counted, round(self.chip.busy_seconds * _PICOSECONDS)], "<u8")
            words = numbers.view("<u4").astype(np.uint32)
            return words if matches is None else np.concatenate([words, matches])

        return self._done(run, answer)

    def self_test(self) -> int:
        """0 when well; bit 0: temperature out of range."""
        low, high = _TEMPERATURES
        return int(not low <= self.chip.temperature <= high)

    # -- inside -------------------------------------------------------------------------------------------------

    def _answered(self, work: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """What `work` gives is the answer."""
        return self._done(work, lambda found: found)

    def _done(self, work: Callable[[], Found], answer: Callable[[Found], Answer]) -> Answer:
        """Have the chip do `work`, and keep the `answer` of what it gives."""
        self._check_valid()
        if not self._output:
            raise ScpiError(-221, "outputs are off")
        self.chip.wait(self.clock.now())
        try:
            found = answer(work())
        except ValueError as problem:
            raise ScpiError(-224, str(problem)) from None
        seconds, self.chip.busy_seconds = self.chip.busy_seconds, 0.0
        self._worked(seconds, found)
        return found

    def _chip_counts(self) -> Sequence[int]:
        return [getattr(self.chip.counters, name) for name in COUNTERS]

    def _listed(self, columns: Columns) -> Columns:
        native: Columns = np.require(columns, np.uint32, "A")
        last = self.chip.columns - 1
        if len(native) and native.max() > last:
            raise ScpiError(-222, f"column {native.max()} is not on the array, whose last is {last}")
        return native

    def _tracks(self, tracks: NDArray[np.uint16]) -> NDArray[np.uint16]:
        native: NDArray[np.uint16] = np.require(tracks, np.uint16, "A")
        if len(native) and native.max() >= self.chip.tracks:
            raise ScpiError(-222, f"track {native.max()} is not on the array, whose last is {self.chip.tracks - 1}")
        return native

    def _planes(self, planes: Bytes, count: int) -> Bytes:
        if len(planes) != count * self.chip.row_bytes:
            raise ScpiError(-161, f"{len(planes)} bytes where {count} planes have {self.chip.row_bytes} each")
        return planes.reshape(count, self.chip.row_bytes)

    def _check_room(self, size: int) -> None:
        if size > _MAX_ANSWER:
            raise ScpiError(-223, f"an answer holds {_MAX_ANSWER} bytes at most")


def _bits(given: Bytes, count: int) -> Bytes:
    if len(given) != count:
        raise ScpiError(-161, f"{len(given)} bits for {count} columns")
    if len(given) and given.max() > 1:
        raise ScpiError(-222, f"a bit is 0 or 1, not {given.max()}")
    return given
