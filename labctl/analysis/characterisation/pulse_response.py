"""By how much a pulse changes the conductance, from where it starts, and how much that varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtri

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic

_BINS = 6
_LEAST = 20  # pulses in a bin


@dataclass(frozen=True, slots=True)
class Changes:
    """Every pulse of one direction: (n,) S before it and by how much it changed the cell; row of its cell."""

    start: NDArray[np.float64]
    change: NDArray[np.float64]
    cell: NDArray[np.intp]


def changes_of(measured: xr.Dataset, direction: str) -> Changes:
    """The pulses of `set` or `reset` trains with a reading before and after."""
    conductance = measured["conductance"].sel(direction=direction).values.astype(np.float64)
    start, change = conductance[..., :-1], np.diff(conductance, axis=-1)
    known = np.isfinite(change)
    return Changes(start[known], change[known], np.nonzero(known)[0])


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
            change = changes.change[inside]
            found += [
                statistic("step_mean", "S", estimators.mean(change), "change of conductance by one pulse", **of),
                statistic(
                    "step_sd", "S", estimators.standard_deviation(change), "between pulses, read noise included", **of
                ),
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
        scale = np.sqrt(steps.shape[1] / (steps.shape[1] - 1))
        estimate = estimators.standard_deviation(about * scale)
        note = "of the same pulse of a cell from train to train, read noise included"
        found.append(statistic("cycle_sd", "S", estimate, note, direction=direction))
    return found


def _by_cell(changes: Changes) -> estimators.Estimate:
    """The mean step with the interval of its scatter between cells; of one cell, of its pulses."""
    count = np.bincount(changes.cell)
    if np.count_nonzero(count) < 2:
        return estimators.mean(changes.change)
    return estimators.mean(np.bincount(changes.cell, changes.change)[count > 0] / count[count > 0])


def _asymmetry(measured: xr.Dataset) -> list[Statistic]:
    """How differently the two directions step at one conductance: (SET + RESET) / (SET - RESET), 0 when alike."""
    sets, resets = (changes_of(measured, direction) for direction in ("set", "reset"))
    if not len(sets.start) or not len(resets.start):
        return []
    low = max(np.quantile(each.start, 0.25) for each in (sets, resets))
    high = min(np.quantile(each.start, 0.75) for each in (sets, resets))
    if low >= high:
        return []
    up, down = (each.change[(each.start >= low) & (each.start <= high)] for each in (sets, resets))
    if min(len(up), len(down)) < _LEAST:
        return []
    value = (up.mean() + down.mean()) / (up.mean() - down.mean())
    slopes = 2 * np.array([-down.mean(), up.mean()]) / (up.mean() - down.mean()) ** 2
    errors = np.array([up.std(ddof=1) / np.sqrt(len(up)), down.std(ddof=1) / np.sqrt(len(down))])
    half = float(ndtri((1 + estimators.CONFIDENCE) / 2)) * float(np.hypot(*(slopes * errors)))
    estimate = estimators.Estimate(float(value), float(value) - half, float(value) + half, min(len(up), len(down)))
    at = f"{quantity(float(low), 'S')} to {quantity(float(high), 'S')}"
    note = "(mean SET step + mean RESET step) / their difference; 0 when alike, 1 when one does nothing"
    return [statistic("asymmetry", "1", estimate, note, level=at)]
