"""Which cells belong together: by target, where targets are few, else in four groups of neighbouring targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_TARGETS = 8
_GROUPS = 4
_CONTINUUM = 64  # targets; of more, cells are shared out evenly instead of targets
_DIGITS = 4  # significant, of targets that are to count as one


def full_scale(target: NDArray[np.floating], programmed: NDArray[np.floating]) -> float:
    """The highest target, S; where there are no targets, what 99 % of the cells were programmed below."""
    if np.isfinite(target).any():
        return float(np.nanmax(target))
    known = programmed[np.isfinite(programmed)]
    return float(np.quantile(known, 0.99)) if len(known) else float("nan")


def by_level(level: NDArray[np.floating]) -> list[tuple[float, NDArray[np.intp]]]:
    """Cells (flat places in `level`, S) by level, increasing; those of no finite level are left out.

    Up to 8 targets are levels themselves. More are shared out in order to up to 4 groups with as many targets each,
    a group's level being the mean of its targets; more than 64 to groups with as many cells each, the level being the
    mean over cells. Cells of one target stay together.
    """
    places = np.flatnonzero(np.isfinite(level))
    if not len(places):
        return []
    targets, which, cells = np.unique(
        _rounded(level[places].astype(np.float64)), return_inverse=True, return_counts=True
    )
    if len(targets) <= _MOST_TARGETS:
        return [(float(each), places[which == number]) for number, each in enumerate(targets)]
    weight = cells if len(targets) > _CONTINUUM else np.ones_like(cells)
    middle, total = 2 * np.cumsum(weight) - weight, int(weight.sum())  # twice as far as half of each target
    group = middle * _GROUPS // (2 * total)
    return [
        (float(np.average(targets[group == each], weights=weight[group == each])), places[group[which] == each])
        for each in np.unique(group)
    ]


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To so many digits of the largest."""
    top = np.abs(values).max()
    if top == 0:
        return values
    unit = 10.0 ** (np.floor(np.log10(top)) - _DIGITS + 1)
    rounded: NDArray[np.float64] = np.rint(values / unit) * unit
    return rounded
