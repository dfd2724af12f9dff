"""The figure of current against read voltage: how far from ohmic, and the offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from labctl.analysis import estimators
from labctl.analysis.characterisation.sweeps import REFERENCE_VOLTAGE, fit_currents
from labctl.analysis.figures.panels import BLUE, GREY, MICRO, RED, band, histogram, note

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_TRACES = 60


def draw(measured: xr.Dataset) -> Figure:
    """The figure of an `iv` measurement."""
    figure = Figure(figsize=(13, 8.6), layout="constrained")
    axes = figure.subplots(2, 2)
    voltage, current = measured["voltage"].values, measured["current"].values.astype(np.float64) * MICRO
    conductance = measured["conductance"].values.astype(np.float64) * MICRO
    fit = fit_currents(voltage, current / MICRO)
    _traces(axes[0, 0], voltage, current)
    _curvature(axes[0, 1], voltage, conductance, fit.offset * MICRO)
    _nonlinearity(axes[1, 0], fit.conductance * MICRO, fit.nonlinearity)
    histogram(axes[1, 1], fit.offset * MICRO, "offset current (µA)", "current extrapolated to 0 V")
    offset = estimators.median(fit.offset * MICRO)
    note(axes[1, 1], f"median {offset.value:+.3g} µA\n95 %: {offset.low:+.3g} to {offset.high:+.3g}")
    return figure


def _traces(axis: Axes, voltage: np.ndarray, current: np.ndarray) -> None:
    """Some cells, spread evenly over all by their current at the highest voltage, and the median of all."""
    ordered = np.argsort(np.nan_to_num(current[:, -1]))
    for cell in ordered[np.linspace(0, len(ordered) - 1, min(_TRACES, len(ordered))).astype(int)]:
        axis.plot(voltage, current[cell], color=GREY, linewidth=0.4, alpha=0.6)
    band(axis, voltage, current, BLUE, "median, 5 to 95 % of cells")
    axis.legend(loc="upper left", frameon=False)
    axis.set(xlabel="read voltage (V)", ylabel="current (µA)", title=f"current of {len(current):,} cells")


def _curvature(axis: Axes, voltage: np.ndarray, conductance: np.ndarray, offset: np.ndarray) -> None:
    """(I - I0) / V over its value nearest the reference voltage: level for ohmic cells. Near 0 V noise is all."""
    wide = np.abs(voltage) >= np.abs(voltage).max() / 5
    corrected = conductance[:, wide] - offset[:, None] / voltage[wide]
    reference = int(np.argmin(np.abs(voltage[wide] - REFERENCE_VOLTAGE)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = corrected / corrected[:, [reference]]
    ratio[corrected[:, reference] <= 0] = np.nan
    if np.isfinite(ratio).any():
        band(axis, voltage[wide], ratio, BLUE, "median, 5 to 95 % of cells")
        axis.legend(loc="upper left", frameon=False)
    axis.axhline(1, color="black", linewidth=0.6)
    at = f"{voltage[wide][reference]:.3g} V"
    axis.set(
        xlabel="read voltage (V)", ylabel=f"conductance over that at {at}", title="deviation from ohmic, offset off"
    )


def _nonlinearity(axis: Axes, conductance: np.ndarray, nonlinearity: np.ndarray) -> None:
    known = np.isfinite(nonlinearity) & (conductance > 0)
    x, y = conductance[known], nonlinearity[known]
    axis.set(xlabel="conductance at small voltage (µS)", ylabel="a (1/V²)", title="a in I = I₀ + G V (1 + a V²)")
    if not x.size:
        return
    low, high = np.quantile(y, [0.02, 0.98])
    pad = 0.2 * (high - low) or 1.0
    axis.plot(x, y, ".", color=BLUE, markersize=3, alpha=0.4)
    axis.set_ylim(min(low - pad, 0), high + pad)
    middle = estimators.median(y)
    axis.axhline(middle.value, color=RED, linewidth=1)
    note(axis, f"median {middle.value:.3g} /V²\n95 %: {middle.low:.3g} to {middle.high:.3g}", (0.65, 0.97))
