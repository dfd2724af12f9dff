"""Which cells a run leaves alone: those that the chip's record finds bad, and those that people exclude."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labctl.chips.defects import Defect
from labctl.chips.exclusions import read_exclusions
from labctl.chips.history import findings_of
from labctl.chips.record import mask_of, name_of, on_lines, runs_of

DEAD_LINE = "dead_line"
"""What a protocol that wants cells on dead lines too names among its `retries`."""

_PEOPLE = "excluded by people"
_LINES = "on dead lines"


@dataclass(frozen=True, slots=True)
class Spared:
    """mask: (rows, cols) bool, cells to leave alone. reasons: how many of them for which reason, each counted once."""

    mask: NDArray[np.bool_]
    reasons: dict[str, int]

    @property
    def count(self) -> int:
        return sum(self.reasons.values())

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())


def spared_cells(
    serial: str,
    folders: Iterable[Path],
    rows: int,
    cols: int,
    *,
    retries: Collection[str] = (),
    by_people_only: bool = False,
    as_of: float | None = None,
) -> Spared:
    """Of the chip `serial` of `rows` x `cols` cells, by the runs in `folders`, as far as they are of such a chip.

    retries: names of defects, and DEAD_LINE, that are no reason. as_of: only what was known then, s since 1970.
    Raises UsageError where what people exclude cannot be read, or is not on the chip.
    """
    reasons = {_PEOPLE: np.zeros(rows * cols, bool)}
    wanted = [each for each in Defect if each not in (Defect.NONE, Defect.GOOD) and each.name.lower() not in retries]
    reasons |= {name: np.zeros(rows * cols, bool) for name in (_LINES, *map(name_of, wanted))}
    for folder in folders:
        people = [each for each in read_exclusions(folder, serial) if _known(each.at, as_of)]
        reasons[_PEOPLE] |= mask_of(tuple(people), rows, cols)
        if by_people_only or not folder.is_dir():
            continue
        runs, *shape = runs_of(serial, folder)
        if not runs or shape != [rows, cols]:
            continue
        if as_of is not None:
            runs = [each for each in runs if each.mtime_ns <= as_of * 1e9]
        findings = findings_of(folder, serial, runs, rows, cols, is_kept=as_of is None)
        for each in wanted:
            reasons[name_of(each)] |= findings.defects == each
        if DEAD_LINE not in retries:
            reasons[_LINES] |= on_lines(findings.dead_rows, findings.dead_cols, rows, cols)
    return _counted(reasons, rows, cols)


def _counted(reasons: dict[str, NDArray[np.bool_]], rows: int, cols: int) -> Spared:
    """The first reason of each cell counts."""
    mask = np.zeros(rows * cols, bool)
    counts = {}
    for name, cells in reasons.items():
        counts[name] = int(np.count_nonzero(cells & ~mask))
        mask |= cells
    return Spared(mask.reshape(rows, cols), {name: count for name, count in counts.items() if count})


def _known(at: str, as_of: float | None) -> bool:
    """Whether what was said `at` that time (ISO 8601; of what nobody knows, always) had been said by then."""
    try:
        return as_of is None or dt.datetime.fromisoformat(at).timestamp() <= as_of
    except ValueError:
        return True
