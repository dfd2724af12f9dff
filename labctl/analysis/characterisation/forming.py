"""At which voltage cells form, how many do, and what they conduct then; for each gate of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic
from labctl.analysis.estimators import Estimate
from labctl.analysis.estimators.estimate import finite

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


def of_density(measured: xr.Dataset) -> list[Statistic]:
    """How many formed, at which voltage, of which distribution; how even that is; what formed cells conduct."""
    told = measured.attrs
    sample = int(np.count_nonzero(measured["sample"].values))
    found = [
        statistic("density", "1", estimators.fraction(told["formed"], told["live"]), "conduct, of cells on live lines"),
        plain("density_wanted", "1", told["density_wanted"], told["live"]),
    ]
    if np.isfinite(told["chosen_voltage"]):
        found.append(plain("chosen_voltage", "V", told["chosen_voltage"], sample, "of the one pulse of most cells"))
    for name in ("breakdown_mean", "breakdown_sd"):
        estimate = Estimate(told[name], told[f"{name}_low"], told[f"{name}_high"], sample)
        if np.isfinite(estimate.value):
            found.append(statistic(name, "V", estimate, "normal distribution, of the sample rows"))
    formed = np.isfinite(measured["forming_voltage"].values)
    after = finite(measured["conductance"].values[formed])
    found += _of_rows(measured, formed)
    found += [
        statistic("formed_conductance_mean", "S", estimators.mean(after)),
        statistic("formed_conductance_sd", "S", estimators.standard_deviation(after)),
        statistic("formed_conductance_skew", "1", _bootstrapped(_skew, after)),
    ]
    for percent in (5, 50, 95):
        found.append(statistic(f"formed_conductance_p{percent}", "S", estimators.quantile(after, percent / 100)))
    logs = np.log(after[after > 0] * 1e6)
    found += [
        statistic("formed_conductance_lognormal_mu", "1", estimators.mean(logs), "of ln(G / uS)"),
        statistic("formed_conductance_lognormal_sigma", "1", estimators.standard_deviation(logs), "of ln(G / uS)"),
    ]
    return [*found, plain("saturated_readings", "1", told["saturated"], measured.sizes["cell"])]


def _of_rows(measured: xr.Dataset, formed: np.ndarray) -> list[Statistic]:
    """The spread of the share formed from row to row over that of chance, of rows where any cell formed."""
    _, row = np.unique(measured["cell"].values // measured.attrs["cols"], return_inverse=True)
    tried, some = np.bincount(row), np.bincount(row, formed)
    live = some > 0
    if np.count_nonzero(live) < 3:
        return []
    share, whole = some[live] / tried[live], some.sum() / tried[live].sum()
    chance = float(np.mean(whole * (1 - whole) / tried[live])) ** 0.5
    spread = estimators.standard_deviation(share)
    return [statistic("density_sd_of_rows", "1", spread, f"of chance alone it were {chance:.4g}")]


def _skew(values: np.ndarray) -> float:
    spread = float(values.std())
    return float(np.mean((values - values.mean()) ** 3)) / spread**3 if spread else np.nan


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
    tail = _bootstrapped(_tail_ratio, volts)
    found += [
        statistic("forming_voltage_sd", "V", estimators.standard_deviation(volts), gate=gate),
        statistic("forming_left_tail", "1", tail, "(p50 - p5) / (p95 - p50); 1: symmetric", gate=gate),
    ]
    for percent in (5, 50, 95):
        estimate = estimators.quantile(after, percent / 100)
        found.append(statistic(f"formed_conductance_p{percent}", "S", estimate, gate=gate))
    return found


def _bootstrapped(shape: Callable[[np.ndarray], float], values: np.ndarray) -> Estimate:
    """What `shape` says of `values`. Of very many cells, the interval is that of a part."""
    sample = values
    if len(values) > _MOST_RESAMPLED:
        sample = np.random.default_rng(0).choice(values, _MOST_RESAMPLED, replace=False)
    estimate = estimators.bootstrap(shape, sample)
    return Estimate(shape(values) if len(values) > 1 else np.nan, estimate.low, estimate.high, len(values))


def _tail_ratio(volts: np.ndarray) -> float:
    """How much longer the lower tail is than the upper one."""
    low, middle, high = np.quantile(volts, [0.05, 0.5, 0.95])
    return float((middle - low) / (high - middle)) if high > middle else np.nan
