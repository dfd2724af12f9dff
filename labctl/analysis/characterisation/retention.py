"""What became of programmed levels: drift, spread, tails, and whether changes at different times go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.groups import by_level, full_scale
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic

ESCAPE = 0.025
"""Share of full scale beyond which a change counts as an escape."""


_NEAR = 0.1  # of the highest target: a programmed reading so near its target has reached it
_NEAR_AT_LEAST = 1e-6  # S
_MOST = 0.9  # of cells that are to reach their targets, or the reader is told


@dataclass(frozen=True, slots=True)
class Levels:
    """What cells were programmed to, S.

    reached: (cells,) programmed near its target, or without one. known: (cells,) has a target and a programmed
    reading. scale: full scale, the highest target that was reached (without targets, what 99 % of cells are below).
    groups: level and its cells, whether they reached it or not; cells without a target by what they were programmed to.
    """

    reached: NDArray[np.bool_]
    known: NDArray[np.bool_]
    scale: float
    groups: list[tuple[float, NDArray[np.intp]]]

    def settled(self) -> Iterator[tuple[float, NDArray[np.intp]]]:
        """Levels with those of their cells that reached them; none of no such cell."""
        for level, cells in self.groups:
            if self.reached[cells].any():
                yield level, cells[self.reached[cells]]

    def share(self, cells: NDArray[np.intp] | slice = slice(None)) -> estimators.Estimate:
        """Of cells with target and programmed reading: how many reached it."""
        known = self.known[cells]
        return estimators.fraction(int(np.count_nonzero(self.reached[cells] & known)), int(np.count_nonzero(known)))

    def missed(self) -> bool:
        """Too many for the chosen levels to make sense on this chip."""
        return bool(self.known.any()) and self.share().value < _MOST


def levels_of(measured: xr.Dataset) -> Levels:
    """A target is reached within a tenth of the highest one (1 uS at least)."""
    target = measured["target"].values.astype(np.float64)
    programmed = measured["conductance"].values[:, 0].astype(np.float64)
    near = max(_NEAR * full_scale(target, programmed), _NEAR_AT_LEAST)
    without = ~np.isfinite(target)
    with np.errstate(invalid="ignore"):
        reached = without | (np.abs(programmed - target) <= near)
    scale = full_scale(target[reached], programmed[reached])
    return Levels(reached, ~without & np.isfinite(programmed), scale, by_level(np.where(without, programmed, target)))


def statistics(measured: xr.Dataset) -> list[Statistic]:
    levels = levels_of(measured)
    note = "the highest target that was reached; without targets the p99 of cells"
    found = [plain("full_scale", "S", levels.scale, len(levels.reached), note), *_reached(levels)]
    for time, change in _changes(measured):
        moment = quantity(time, "s")
        found += _of(change[levels.reached], levels.scale, time=moment)
        for level, cells in levels.settled():
            found += _of(change[cells], levels.scale, level=quantity(level, "S"), time=moment)
    found += list(_correlations(measured, levels.reached))
    return [*found, plain("saturated_readings", "1", measured.attrs["saturated"], measured["conductance"].size)]


def _reached(levels: Levels) -> Iterator[Statistic]:
    """How many cells there are to speak of; by level where that is not nearly all."""
    if not levels.known.any():
        return
    note = "programmed within a tenth of the highest target; all below is of these cells"
    if levels.missed():
        note += f"; below {_MOST:.0%}: choose `levels` that this chip reaches"
    yield statistic("reached_target", "1", levels.share(), note)
    if levels.missed():
        for level, cells in levels.groups:
            yield statistic("reached_target", "1", levels.share(cells), level=quantity(level, "S"))


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


def _correlations(measured: xr.Dataset, reached: NDArray[np.bool_]) -> Iterator[Statistic]:
    """Of the changes of a cell at every two times."""
    changes = [(time, change[reached]) for time, change in _changes(measured)]
    for number, (early, first) in enumerate(changes):
        for late, second in changes[number + 1 :]:
            times = f"{quantity(early, 's')} and {quantity(late, 's')}"
            yield statistic("change_correlation", "1", estimators.correlation(first, second), times=times)
