"""Which cells belong together: by target, where targets are few, else by the nearest quarter of full scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_TARGETS = 8
_QUARTERS = 4
_DIGITS = 4  # significant, of targets that are to count as one


def full_scale(target: NDArray[np.floating], programmed: NDArray[np.floating]) -> float:
    """The highest target, S; where there are no targets, what 99 % of the cells were programmed below."""
    if np.isfinite(target).any():
        return float(np.nanmax(target))
    known = programmed[np.isfinite(programmed)]
    return float(np.quantile(known, 0.99)) if len(known) else float("nan")


def by_level(level: NDArray[np.floating], scale: float | None = None) -> list[tuple[float, NDArray[np.intp]]]:
    """Cells (flat places in `level`, S) by level, increasing; those of no finite level are left out.

    scale: full scale, S; the highest level where None.
    """
    places = np.flatnonzero(np.isfinite(level))
    if not len(places):
        return []
    known = level[places].astype(np.float64)
    rounded = _rounded(known)
    if len(np.unique(rounded)) > _MOST_TARGETS:
        top = known.max() if scale is None else scale
        rounded = np.clip(np.rint(known / top * _QUARTERS), 0, _QUARTERS) * top / _QUARTERS
    return [(float(each), places[rounded == each]) for each in np.unique(rounded)]


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To so many digits of the largest."""
    top = np.abs(values).max()
    if top == 0:
        return values
    unit = 10.0 ** (np.floor(np.log10(top)) - _DIGITS + 1)
    rounded: NDArray[np.float64] = np.rint(values / unit) * unit
    return rounded
