"""Which cells a fit may use: faulty ones are told apart first, so that they bend no distribution.

A heavy tail is not a fault: outliers here are readings that no working cell of the array could give.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.calibration.parameters import Floats, robust_spread

_MISS = 6.0  # robust standard deviations from its target beyond which a cell was not programmed
_RANGE = 2.0  # times the highest programmed level: no working cell reads beyond
_CONDUCTS = 0.1  # of the median: a cell below it forms but hardly conducts
_SHORTED = 5.0  # times the median: a cell above it is no filament that a compliance grew


class Fault(enum.IntEnum):
    """What is wrong with a cell; the first that applies, in this order."""

    NONE = 0
    DEAD = 1
    NEVER_FORMED = 2
    STUCK_LOW = 3
    STUCK_HIGH = 4
    OUTLIER = 5


_TEXTS = {
    Fault.DEAD: "gave no reading within the converter's range",
    Fault.NEVER_FORMED: "never formed",
    Fault.STUCK_LOW: "stuck low",
    Fault.STUCK_HIGH: "stuck high",
    Fault.OUTLIER: "read what no working cell of this array reads",
}


@dataclass(frozen=True, slots=True)
class Faults:
    """(cells,) u1 `Fault` of every cell."""

    kind: NDArray[np.uint8]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(cells,)"""
        usable: NDArray[np.bool_] = self.kind == Fault.NONE
        return usable

    def count(self, fault: Fault) -> int:
        return int(np.count_nonzero(self.kind == fault))

    def note(self, what: str) -> str:
        """How many cells of `what` were excluded and why, in one sentence."""
        parts = [f"{self.count(fault)} {text}" for fault, text in _TEXTS.items() if self.count(fault)]
        total = len(self.kind)
        if not parts:
            return f"{what}: all {total} cells used"
        return f"{what}: {int(self.usable.sum())} of {total} cells used; {', '.join(parts)}"


def of_states(conductance: Floats, target: Floats | None = None) -> Faults:
    """Of cells that were programmed: conductance (cells, times) S with column 0 as programmed; target (cells,) S.

    Dead: no reading as programmed, or none after. Stuck: missed its target by more than 6 robust standard
    deviations of all (and by more than 5 % of the range). Outlier: reads beyond twice the highest level.
    """
    kind = np.zeros(len(conductance), np.uint8)
    programmed, later = conductance[:, 0], conductance[:, 1:]
    dead = ~np.isfinite(programmed) | ~np.isfinite(later).any(axis=1)
    if dead.all():
        return Faults(np.full(len(conductance), Fault.DEAD, np.uint8))
    top = float(np.quantile(programmed[~dead], 0.99))
    with np.errstate(invalid="ignore"):
        beyond = (np.nan_to_num(later, nan=0.0) > _RANGE * top).any(axis=1) | (programmed > _RANGE * top)
    kind[beyond] = Fault.OUTLIER
    if target is not None:
        missed = programmed - target
        allowed = max(_MISS * robust_spread(missed[~dead]), 0.05 * top) if np.isfinite(missed[~dead]).any() else np.inf
        kind[missed > allowed] = Fault.STUCK_HIGH
        kind[missed < -allowed] = Fault.STUCK_LOW
    kind[dead] = Fault.DEAD
    return Faults(kind)


def of_forming(voltage: Floats, conductance: Floats) -> Faults:
    """Of cells that were to form: voltage (cells,) V, NaN where it never did; conductance (cells,) S after.

    Stuck low: a tenth of the median or less. Stuck high: five times it, or read as saturated.
    """
    kind = np.zeros(len(voltage), np.uint8)
    formed = np.isfinite(voltage)
    if formed.any():
        middle = (
            float(np.nanmedian(np.where(formed, conductance, np.nan))) if np.isfinite(conductance).any() else np.nan
        )
        with np.errstate(invalid="ignore"):
            kind[formed & (conductance <= _CONDUCTS * middle)] = Fault.STUCK_LOW
            kind[formed & ((conductance >= _SHORTED * middle) | ~np.isfinite(conductance))] = Fault.STUCK_HIGH
    kind[~formed] = Fault.NEVER_FORMED
    return Faults(kind)
