"""How near programming came to its targets, and what it cost: by level, and by the step of the pulse amplitude."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis import estimators
from labctl.analysis.characterisation.groups import by_level
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic


def programming(measured: xr.Dataset) -> list[Statistic]:
    """Of all targeted cells, then of each level. Errors are of cells in window; pulses and yield of all."""
    found = _of(measured) + _errors(measured)
    levels = by_level(measured["target"].values)
    if len(levels) > 1:
        for level, cells in levels:
            part = measured.isel(cell=cells)
            of = {"level": quantity(level, "S")}
            found += _of(part, **of) + _errors(part, **of)
    return [*found, plain("saturated_cells", "1", measured.attrs["saturated"], measured.sizes["cell"])]


def step_size(measured: xr.Dataset) -> list[Statistic]:
    """Of the cells programmed with each step."""
    volts = np.round(measured["step_voltage"].values.astype(np.float64), 6)
    found = []
    for step in np.unique(volts):
        part = measured.isel(cell=volts == step)
        found += _of(part, step=quantity(float(step), "V"))
    return [*found, plain("saturated_cells", "1", measured.attrs["saturated"], measured.sizes["cell"])]


def _of(measured: xr.Dataset, **of: str) -> list[Statistic]:
    pulses, success = measured["pulses"].values, measured["success"].values
    share = estimators.fraction(int(success.sum()), len(success))
    return [
        statistic("success", "1", share, "in window at the end, of targeted cells", **of),
        statistic("pulses_mean", "1", estimators.mean(pulses), "of all targeted cells", **of),
        statistic("pulses_median", "1", estimators.median(pulses), "of all targeted cells", **of),
        statistic("pulses_p95", "1", estimators.quantile(pulses, 0.95), "of all targeted cells", **of),
        statistic("pulses_p99", "1", estimators.quantile(pulses, 0.99), "of all targeted cells", **of),
    ]


def _errors(measured: xr.Dataset, **of: str) -> list[Statistic]:
    reached = measured.isel(cell=measured["success"].values)
    error = reached["reached"].values.astype(np.float64) - reached["target"].values
    note = "reached minus target, of cells in window"
    return [
        statistic("error_mean", "S", estimators.mean(error), note, **of),
        statistic("error_sd", "S", estimators.standard_deviation(error), note, **of),
        statistic("error_spread", "S", estimators.robust_spread(error), f"{note}; 1.4826 MAD", **of),
        statistic("error_tails", "1", estimators.tail_fraction(error), "beyond 3 sd; normal: 0.0027", **of),
    ]
