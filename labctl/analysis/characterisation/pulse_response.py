"""By how much a pulse changes the conductance, from where it starts, and how much that varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic

_BINS = 6
_LEAST = 20  # pulses in a bin


@dataclass(frozen=True, slots=True)
class Changes:
    """Every pulse of one direction: (n,) S before it and by how much it changed the cell.

    unit: (n,) what is independent: the row of its cell; of one cell, its train.
    """

    start: NDArray[np.float64]
    change: NDArray[np.float64]
    unit: NDArray[np.intp]


def changes_of(measured: xr.Dataset, direction: str) -> Changes:
    """The pulses of `set` or `reset` trains with a reading before and after."""
    conductance = measured["conductance"].sel(direction=direction).values.astype(np.float64)
    start, change = conductance[..., :-1], np.diff(conductance, axis=-1)
    known = np.isfinite(change)
    return Changes(start[known], change[known], np.nonzero(known)[_unit_axis(change)])


def _unit_axis(values: NDArray[np.float64]) -> int:
    """Of (cells, trains, ...) the axis of what is independent: cells; of one cell, trains."""
    return 0 if len(values) > 1 else 1


def levels(changes: Changes) -> list[tuple[float, NDArray[np.bool_]]]:
    """Up to 6 ranges of starting conductance of equal width, as their middle (S) and the pulses in it."""
    if not len(changes.start):
        return []
    low, high = np.quantile(changes.start, [0.01, 0.99])
    edges = np.linspace(low, high, _BINS + 1) if high > low else np.array([low, np.nextafter(high, np.inf)])
    place = np.digitize(changes.start, edges[1:-1])
    bins = [(float((edges[k] + edges[k + 1]) / 2), place == k) for k in range(len(edges) - 1)]
    return [(middle, inside) for middle, inside in bins if np.count_nonzero(inside) >= _LEAST]


def statistics(measured: xr.Dataset) -> list[Statistic]:
    found = []
    for direction in ("set", "reset"):
        changes = changes_of(measured, direction)
        for level, inside in levels(changes):
            of = {"direction": direction, "level": quantity(level, "S")}
            moments = _moments(changes.change[inside], changes.unit[inside])
            mean, sd = estimators.jackknife(_mean, moments), estimators.jackknife(_sd, moments, positive=True)
            found += [
                statistic("step_mean", "S", mean, "change of conductance by one pulse", **of),
                statistic("step_sd", "S", sd, "between pulses, read noise included", **of),
            ]
        found += _whole(measured, direction, changes)
    return [
        *found,
        *_asymmetry(measured),
        plain("saturated_readings", "1", measured.attrs["saturated"], measured["conductance"].size),
    ]


def _whole(measured: xr.Dataset, direction: str, changes: Changes) -> list[Statistic]:
    """The ramp as a whole: its ends, what varies from train to train, and what reading alone adds."""
    conductance = measured["conductance"].sel(direction=direction).values.astype(np.float64)
    first, last = (estimators.known_median(conductance[..., place]) for place in (0, -1))
    steps = np.diff(conductance, axis=-1)
    found = [
        statistic("ramp_start", "S", estimators.median(first), "median over trains, then cells", direction=direction),
        statistic("ramp_end", "S", estimators.median(last), "median over trains, then cells", direction=direction),
        statistic("step_mean", "S", _by_cell(changes), "of all pulses, cell by cell", direction=direction),
    ]
    if steps.shape[1] > 1:
        about = steps - estimators.known_mean(steps, axis=1)[:, None]
        about *= np.sqrt(steps.shape[1] / (steps.shape[1] - 1))
        known = np.isfinite(about)
        moments = _moments(about[known], np.nonzero(known)[_unit_axis(about)])
        estimate = estimators.jackknife(_sd, moments, positive=True)
        note = "of the same pulse of a cell from train to train, read noise included"
        found.append(statistic("cycle_sd", "S", estimate, note, direction=direction))
    return found


def _moments(values: NDArray[np.float64], unit: NDArray[np.intp], units: int = 0) -> NDArray[np.float64]:
    """(units, 3): how many values each unit has, their sum and that of squares; units without any left out, unless
    so many are asked for."""
    powers = (np.ones_like(values), values, values**2)
    sums = [np.bincount(unit, each, minlength=units).astype(np.float64) for each in powers]
    table: NDArray[np.float64] = np.stack(sums, axis=1)
    return table if units else table[table[:, 0] > 0]


def _mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where nothing is left."""
    found: NDArray[np.float64] = sums[:, 1] / np.where(sums[:, 0] > 0, sums[:, 0], np.nan)
    return found


def _sd(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    count, total, squares = sums.T
    found: NDArray[np.float64] = np.sqrt(np.maximum(squares - total**2 / count, 0.0) / np.maximum(count - 1, 1))
    return found


def _by_cell(changes: Changes) -> estimators.Estimate:
    """The mean step with the interval of its scatter between cells; of one cell, between its trains."""
    moments = _moments(changes.change, changes.unit)
    if len(moments) < 2:
        return estimators.jackknife(_mean, moments)
    return estimators.mean(_mean(moments))


def _imbalance(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the moments of SET and of RESET steps side by side; NaN where they step alike, in one direction."""
    up, down = _mean(sums[:, :3]), _mean(sums[:, 3:])
    found: NDArray[np.float64] = (up + down) / np.where(up == down, np.nan, up - down)
    return found


def _asymmetry(measured: xr.Dataset) -> list[Statistic]:
    """How differently the two directions step at one conductance: (SET + RESET) / (SET - RESET), 0 when alike."""
    sets, resets = (changes_of(measured, direction) for direction in ("set", "reset"))
    if not len(sets.start) or not len(resets.start):
        return []
    low = max(np.quantile(each.start, 0.25) for each in (sets, resets))
    high = min(np.quantile(each.start, 0.75) for each in (sets, resets))
    if low >= high:
        return []
    inside = [(each.start >= low) & (each.start <= high) for each in (sets, resets)]
    if min(np.count_nonzero(each) for each in inside) < _LEAST:
        return []
    units = 1 + int(max(sets.unit.max(), resets.unit.max()))
    up, down = (
        _moments(each.change[where], each.unit[where], units)
        for each, where in zip((sets, resets), inside, strict=True)
    )
    both = (up[:, 0] > 0) | (down[:, 0] > 0)
    estimate = estimators.jackknife(_imbalance, np.concatenate([up, down], axis=1)[both])
    at = f"{quantity(float(low), 'S')} to {quantity(float(high), 'S')}"
    note = "(mean SET step + mean RESET step) / their difference; 0 when alike, 1 when one does nothing"
    return [statistic("asymmetry", "1", estimate, note, level=at)]
