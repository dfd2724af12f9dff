"""The two states of cells that are cycled: how far apart, how much they vary and by what, and what fails when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, statistic

_FLOOR = 1e-9  # S, below which a reading is the board's offset and its logarithm says nothing
_AT_LEAST, _AT_LEAST_SHARE = 3, 0.05  # of the cycles read, wrong at the end, that make a cell a failed one


@dataclass(frozen=True, slots=True)
class States:
    """log10 of both states, (cells, cycles) each, and what failed.

    border: log10 S halfway between the medians. wrong: (cells, cycles) on the wrong side of it after SET or RESET.
    failed_at: (cells,) index of the cycle from which on a cell was always wrong; the number of cycles: never.
    """

    lrs: NDArray[np.float64]
    hrs: NDArray[np.float64]
    border: float
    wrong: dict[str, NDArray[np.bool_]]
    failed_at: NDArray[np.intp]


def states_of(measured: xr.Dataset) -> States:
    """The states of an endurance measurement, with failures found first."""
    conductance = measured["conductance"].values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        lrs, hrs = np.log10(np.maximum(conductance, _FLOOR)).transpose(1, 0, 2)
    border = float(estimators.known_median(lrs, None) + estimators.known_median(hrs, None)) / 2
    wrong = {"lrs": lrs < border, "hrs": hrs > border}
    either = wrong["lrs"] | wrong["hrs"]
    cycles = either.shape[1]
    failed_at = np.where(either.all(axis=1), 0, cycles - np.argmax(~either[:, ::-1], axis=1))
    failed_at[cycles - failed_at < min(max(_AT_LEAST, _AT_LEAST_SHARE * cycles), cycles)] = cycles
    return States(lrs, hrs, border, wrong, failed_at)


def decades(cycles: NDArray[np.integer]) -> list[int]:
    """Cycle numbers to tell failures at: powers of ten within the run, and its last."""
    last = int(cycles.max())
    return [*(10**power for power in range(9) if 10**power < last), last]


def statistics(measured: xr.Dataset) -> list[Statistic]:
    states, cycles = states_of(measured), measured["cycle"].values
    good = states.failed_at == len(cycles)
    found = []
    for name, logarithm in (("lrs", states.lrs), ("hrs", states.hrs)):
        found += _of_state(name, logarithm[good], states.wrong[name], neighbours(cycles))
    window = estimators.known_median(states.lrs) - estimators.known_median(states.hrs)
    note = "log10 of LRS over HRS, medians of a cell"
    found += [
        statistic("window_median", "1", estimators.median(window[good]), note),
        statistic("window_p5", "1", estimators.quantile(window[good], 0.05), note),
        plain("saturated_readings", "1", measured.attrs["saturated"], measured["conductance"].size),
    ]
    for cycle in decades(cycles):
        by_then = np.searchsorted(cycles, cycle, side="right") - 1
        estimate = estimators.fraction(int(np.count_nonzero(states.failed_at <= by_then)), len(good))
        note = "cells that from then on were always on the wrong side of the border between the states"
        found.append(statistic("failed", "1", estimate, note, cycle=str(cycle)))
    return found


def neighbours(cycles: NDArray[np.integer]) -> slice:
    """The cycles from the first on that were read one after another: later ones may be read now and then only."""
    gaps = np.flatnonzero(np.diff(cycles.astype(np.int64)) > 1)
    return slice(0, int(gaps[0]) + 1 if len(gaps) else len(cycles))


def _of_state(name: str, logarithm: NDArray[np.float64], wrong: NDArray[np.bool_], near: slice) -> list[Statistic]:
    """Of cells that did not fail: level, and the parts of the spread of log10 conductance."""
    level = estimators.median(10 ** estimators.known_median(logarithm))
    parts = estimators.variance_components(logarithm)
    bulk = estimators.robust_components(logarithm)
    lag = estimators.lag1_correlation(logarithm[:, near])
    of = {"state": name}
    return [
        statistic("conductance_median", "S", level, "of the medians of cells", **of),
        statistic("log10_device_sd", "1", parts.device, "of cells' means, cycles taken out", **of),
        statistic("log10_cycle_sd", "1", parts.cycle, "about the cell's mean, read noise included", **of),
        statistic("log10_device_spread", "1", bulk.device, "as the sd, of the bulk", **of),
        statistic("log10_cycle_spread", "1", bulk.cycle, "as the sd, of the bulk", **of),
        statistic("lag1_correlation", "1", lag, "of log10 of neighbouring cycles, about the cell's mean", **of),
        statistic(
            "wrong_state", "1", estimators.fraction(int(wrong.sum()), wrong.size), "readings, of all cells", **of
        ),
    ]
