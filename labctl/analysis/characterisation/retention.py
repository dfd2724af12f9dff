"""What became of programmed levels: drift, spread, tails, and whether changes at different times go together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from labctl.analysis import estimators
from labctl.analysis.characterisation.groups import by_level, full_scale
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic

ESCAPE = 0.025
"""Share of full scale beyond which a change counts as an escape."""


def levels_of(measured: xr.Dataset) -> np.ndarray:
    """(cells,) S: the target of each cell, or where it has none what it was programmed to."""
    target, programmed = measured["target"].values, measured["conductance"].values[:, 0]
    levels: np.ndarray = np.where(np.isfinite(target), target, programmed)
    return levels


def statistics(measured: xr.Dataset) -> list[Statistic]:
    levels = levels_of(measured)
    scale = full_scale(measured["target"].values, measured["conductance"].values[:, 0])
    found = [plain("full_scale", "S", scale, len(levels), "the highest target; without targets the p99 of cells")]
    for time, change in _changes(measured):
        moment = quantity(time, "s")
        found += _of(change, scale, time=moment)
        for level, cells in by_level(levels, scale):
            found += _of(change[cells], scale, level=quantity(level, "S"), time=moment)
    found += list(_correlations(measured))
    return [*found, plain("saturated_readings", "1", measured.attrs["saturated"], measured["conductance"].size)]


def _changes(measured: xr.Dataset) -> Iterator[tuple[float, np.ndarray]]:
    """Each scheduled time, s, and the change of each cell since it was programmed, S."""
    conductance = measured["conductance"].values.astype(np.float64)
    for column, time in enumerate(measured["time"].values[1:], 1):
        yield float(time), conductance[:, column] - conductance[:, 0]


def _of(change: np.ndarray, scale: float, **of: str) -> list[Statistic]:
    known = change[np.isfinite(change)]
    escaped = int(np.count_nonzero(np.abs(known) > ESCAPE * scale))
    return [
        statistic("change_mean", "S", estimators.mean(known), **of),
        statistic("change_sd", "S", estimators.standard_deviation(known), **of),
        statistic("change_spread", "S", estimators.robust_spread(known), "1.4826 MAD: of the bulk", **of),
        statistic("change_tails", "1", estimators.tail_fraction(known), "beyond 3 sd; normal: 0.0027", **of),
        statistic(
            "escaped", "1", estimators.fraction(escaped, len(known)), "changed by over 2.5 % of full scale", **of
        ),
    ]


def _correlations(measured: xr.Dataset) -> Iterator[Statistic]:
    """Of the changes of a cell at every two times."""
    changes = list(_changes(measured))
    for number, (early, first) in enumerate(changes):
        for late, second in changes[number + 1 :]:
            times = f"{quantity(early, 's')} and {quantity(late, 's')}"
            yield statistic("change_correlation", "1", estimators.correlation(first, second), times=times)
