"""What is wrong with cells: the verdict of one run on each, and what all verdicts together say of cells and lines.

One strike, and the latest evidence wins. docs/chips.md says the rules in words.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from labctl.recording.layout import Commit, Outcome

FORMED_AT = 0.5e-6
"""S from which on a cell counts as formed."""

RESPONSE = 1e-6
"""S by which readings after SET and after RESET have to differ, in the mean, for a cell to have responded."""

FEW = 8
"""Cells that may all be bad in one run, or on one line, without its saying anything of the bench or the line."""

_MOST = 0.5  # of the cells tried, beyond which it is not the cells
_FIRST_CYCLE = 1  # of endurance: a window that was never open


class Defect(enum.IntEnum):
    """What is known of a cell. GOOD is the verdict of a run; in a record good and unknown cells alike are NONE."""

    NONE = 0
    NEVER_FORMED = 1
    STUCK_LOW = 2
    STUCK_HIGH = 3
    WORN = 4
    GOOD = 5


_OUTCOMES = {
    "in_window": Defect.GOOD,
    "unreached": Defect.GOOD,
    "noise_limited": Defect.GOOD,
    "stuck_low": Defect.STUCK_LOW,
    "stuck_high": Defect.STUCK_HIGH,
}
"""What outcomes of programming say. The others say nothing: cells that were given up before a whole ramp, and pristine
ones, of which FORM pulses tell more."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run did to each cell, (cells,) each.

    form: FORM pulses. response: mean reading after SET less that after RESET pulses, S; NaN where one was not read.
    last: the last reading that is evidence, S; NaN where there is none. switched: whether any cell got SET or RESET
    pulses.
    """

    form: NDArray[np.uint32]
    response: NDArray[np.float32]
    last: NDArray[np.float32]
    switched: bool


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One run's, (cells,) each. verdict, doubted: codes of `Defect`; doubted are those that are not believed, as most
    of the `tried` cells were `bad`. forming_voltage: V, NaN where the run formed nothing.
    """

    verdict: NDArray[np.uint8]
    doubted: NDArray[np.uint8]
    forming_voltage: NDArray[np.float32]
    tried: int
    bad: int


def judge(file: h5py.File, commit: Commit, tally: Tally) -> Verdicts:
    """What the run in the open `file` says of its cells."""
    cells = len(tally.form)
    verdict = np.zeros(cells, np.uint8)
    verdict[tally.response >= RESPONSE] = Defect.GOOD
    voltage = _map(file, "forming_voltage", cells)
    given_up = _flagged(file, "outcome", "never_formed", cells)  # by the run itself, whatever a noisy read says later
    conducts = np.isfinite(voltage) | ((tally.last >= FORMED_AT) & ~given_up)
    verdict[(tally.form > 0) & conducts] = Defect.GOOD
    if _forming_was_complete(commit, tally):
        left = _flagged(file, "forming_outcome", "left_pristine", cells)  # which a higher voltage might form
        verdict[(tally.form > 0) & ~conducts & ~left] = Defect.NEVER_FORMED
    for name, meant in _OUTCOMES.items():
        verdict[_flagged(file, "outcome", name, cells)] = meant
    failed_at = _map(file, "failed_at", cells)
    verdict[np.isfinite(failed_at)] = Defect.WORN
    bad = (verdict != Defect.NONE) & (verdict != Defect.GOOD)
    # a cell that wore out worked before, so that the bench did
    suspicious = bad & ~(failed_at > _FIRST_CYCLE)
    tried, count = int(np.count_nonzero(verdict)), int(np.count_nonzero(suspicious))
    doubted = np.zeros(cells, np.uint8)
    if tried > FEW and count > _MOST * tried:
        doubted[suspicious] = verdict[suspicious]
        verdict[suspicious] = Defect.NONE
    return Verdicts(verdict, doubted, voltage, tried, count)


@dataclass(frozen=True, slots=True)
class Findings:
    """What all runs together say. defects: (cells,) codes of `Defect`, never GOOD. dead_rows, dead_cols: numbers."""

    defects: NDArray[np.uint8]
    dead_rows: tuple[int, ...]
    dead_cols: tuple[int, ...]


def find(verdict: NDArray[np.uint8], rows: int, cols: int) -> Findings:
    """verdict: (cells,) the latest of each cell."""
    defects = np.where(verdict == Defect.GOOD, np.uint8(Defect.NONE), verdict)
    tried = (verdict != Defect.NONE).reshape(rows, cols)
    # worn cells tell of pulses, not of a line
    broken = tried & ~np.isin(verdict, (Defect.GOOD, Defect.WORN)).reshape(rows, cols)
    return Findings(defects, _dead(broken, tried, 1), _dead(broken, tried, 0))


def _dead(broken: NDArray[np.bool_], tried: NDArray[np.bool_], axis: int) -> tuple[int, ...]:
    count = tried.sum(axis=axis)
    return tuple(np.flatnonzero((count >= FEW) & (broken.sum(axis=axis) > _MOST * count)).tolist())


def _forming_was_complete(commit: Commit, tally: Tally) -> bool:
    """Whether cells that did not form got the whole ramp: the run was not broken off before its forming ended."""
    return commit.outcome is Outcome.FINISHED or tally.switched


def _map(file: h5py.File, name: str, cells: int) -> NDArray[np.float32]:
    """(cells,) a map as numbers; NaN where it has its fill, and everywhere where the run has none."""
    dataset = file["maps"].get(name)
    if dataset is None or dataset.size != cells:
        return np.full(cells, np.nan, np.float32)
    raw = dataset[:].ravel()
    values: NDArray[np.float32] = raw.astype(np.float32)
    if raw.dtype.kind in "iu":
        values[raw == dataset.attrs.get("_FillValue", np.iinfo(raw.dtype).max)] = np.nan
    return values


def _flagged(file: h5py.File, name: str, flag: str, cells: int) -> NDArray[np.bool_]:
    """(cells,) where the map of flags `name` says `flag`."""
    dataset = file["maps"].get(name)
    if dataset is None or dataset.size != cells:
        return np.zeros(cells, bool)
    codes = _flags(dataset.attrs)
    if flag not in codes:
        return np.zeros(cells, bool)
    where: NDArray[np.bool_] = dataset[:].ravel() == codes[flag]
    return where


def _flags(attributes: Mapping[str, object]) -> dict[str, int]:
    """Name to code of a variable of flags."""
    meanings = str(attributes.get("flag_meanings", "")).split()
    return dict(zip(meanings, np.atleast_1d(np.asarray(attributes.get("flag_values", ()))).tolist(), strict=False))
