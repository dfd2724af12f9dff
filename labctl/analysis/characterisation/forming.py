"""At which voltage cells form, how many do, and what they conduct then; for each gate of its own."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic
from labctl.analysis.estimators import Estimate

_PERCENTILES = (1, 5, 25, 50, 75, 95)
_MOST_RESAMPLED = 20_000


def statistics(measured: xr.Dataset) -> list[Statistic]:
    """Of all cells tried and, where there were several gates, of each."""
    gates = np.round(measured["gate"].values, 6)
    found = _of(measured, "")
    several = np.unique(gates)
    if len(several) > 1:
        for gate in several:
            found += _of(measured.isel(cell=gates == gate), quantity(float(gate), "V"))
    return [*found, plain("saturated_readings", "1", measured.attrs["saturated"], measured.sizes["cell"])]


def _of(measured: xr.Dataset, gate: str) -> list[Statistic]:
    voltage, tried = measured["forming_voltage"].values, measured.sizes["cell"]
    formed = np.isfinite(voltage)
    volts, after = voltage[formed], measured["conductance"].values[formed]
    found = [
        statistic(
            "forming_yield", "1", estimators.fraction(int(formed.sum()), tried), "formed, of the cells tried", gate=gate
        )
    ]
    for percent in _PERCENTILES:
        estimate = estimators.quantile(volts, percent / 100)
        found.append(statistic(f"forming_voltage_p{percent}", "V", estimate, gate=gate))
    found += [
        statistic("forming_voltage_sd", "V", estimators.standard_deviation(volts), gate=gate),
        statistic("forming_left_tail", "1", _left_tail(volts), "(p50 - p5) / (p95 - p50); 1: symmetric", gate=gate),
    ]
    for percent in (5, 50, 95):
        estimate = estimators.quantile(after, percent / 100)
        found.append(statistic(f"formed_conductance_p{percent}", "S", estimate, gate=gate))
    return found


def _left_tail(volts: np.ndarray) -> Estimate:
    """How much longer the lower tail is than the upper one. Of very many cells, the interval is that of a part."""
    sample = volts
    if len(volts) > _MOST_RESAMPLED:
        sample = np.random.default_rng(0).choice(volts, _MOST_RESAMPLED, replace=False)
    estimate = estimators.bootstrap(_tail_ratio, sample)
    return Estimate(_tail_ratio(volts) if len(volts) > 1 else np.nan, estimate.low, estimate.high, len(volts))


def _tail_ratio(volts: np.ndarray) -> float:
    low, middle, high = np.quantile(volts, [0.05, 0.5, 0.95])
    return float((middle - low) / (high - middle)) if high > middle else np.nan
