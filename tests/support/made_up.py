"""Measurements of made-up cells whose parameters are known, as the datasets that analysis makes of run files."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from labctl.analysis.calibration.parameters import Base, Parameter
from labctl.analysis.calibration.quantile_functions import PROBABILITIES, basis
from labctl.analysis.calibration.retention import knot_scores

TIMES = np.array([0.01, 0.1, 1.0, 1e4])
LEVELS = np.array([5e-6, 15e-6, 30e-6])
MEMORY = np.array([0.0, 0.8, 0.7, 0.5])
VOLATILITY = 0.3
SHAPE = np.array([-6.0, -2.6, -1.0, -0.4, 0.0, 0.4, 1.0, 2.4, 5.5])
"""Quantiles of a change with heavy tails, over its scale."""
SCALES = np.multiply.outer([0.5e-6, 0.6e-6, 0.7e-6, 1.4e-6], [0.6, 1.0, 0.8])
QUANTILES = SCALES[..., None] * SHAPE
"""(times, levels, q) S"""


def quiet_base(**values: float) -> Base:
    """rram_40nm without read noise, and with these values instead of its own."""
    base = Base.load("rram_40nm")
    silent = dict.fromkeys(("read_noise", "read_noise_floor", "flicker_noise", "telegraph_noise"), 0.0)
    return Base(base.name, {**base.values, **silent, **values}, kind=base.kind)


def relaxing(cells: int, rng: np.random.Generator, noise: float = 0.0) -> xr.Dataset:
    """Cells at three targets that relax with the parameters above; `noise`: sd of each reading, S."""
    group = rng.integers(0, len(LEVELS), cells)
    level = LEVELS[group] + rng.uniform(-0.3e-6, 0.3e-6, cells)
    change, last, score = np.zeros((cells, len(TIMES))), np.zeros(cells), rng.standard_normal(cells)
    for time in range(len(TIMES)):
        if time:
            keeps = rng.random(cells) < VOLATILITY
            score = np.where(keeps, score * rng.choice([-1.0, 1.0], cells), rng.standard_normal(cells))
        innovation = (basis(score, knot_scores()) * QUANTILES[time, group]).sum(axis=1)
        last = MEMORY[time] * last + innovation
        change[:, time] = last
    conductance = level[:, None] + np.concatenate([np.zeros((cells, 1)), change], axis=1)
    conductance += noise * rng.standard_normal(conductance.shape)
    return retention(conductance, LEVELS[group])


def retention(conductance: np.ndarray, target: np.ndarray | None = None, times: np.ndarray = TIMES) -> xr.Dataset:
    """conductance (cells, 1 + times) S."""
    cells = len(conductance)
    moments = np.concatenate([[0.0], times])
    return xr.Dataset(
        {
            "conductance": (("cell", "time"), conductance),
            "elapsed": (("cell", "time"), np.tile(moments, (cells, 1))),
            "target": ("cell", np.full(cells, np.nan) if target is None else target),
        },
        {"cell": np.arange(cells, dtype=np.uint32), "time": moments},
        {"measurement": "retention", "chip_serial": "MADE-UP", "cell": "1T1R RRAM"},
    )


def covered(parameter: Parameter, truth: Any) -> float:
    """Share of the entries of `truth` that lie in the parameter's interval."""
    assert parameter.low is not None
    assert parameter.high is not None
    return float(np.mean((parameter.low <= truth) & (truth <= parameter.high)))


assert len(SHAPE) == len(PROBABILITIES)
