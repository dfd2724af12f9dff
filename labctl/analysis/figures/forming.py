"""The figure of forming: where on the array, at which voltage, to which conductance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtr

from labctl.analysis.figures.panels import BLUE, GREY, LEVEL_COLOURS, MICRO, RED, group, histogram, show_map
from labctl.analysis.measurements import measurement
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_BINS = 60


def draw(tree: xr.DataTree) -> Figure:
    """The figure of the run `tree`."""
    figure = Figure(figsize=(13, 8.2), layout="constrained")
    axes = figure.subplots(2, 2)
    maps, steps = group(tree, "maps"), group(tree, "steps")
    voltage, conductance = maps["forming_voltage"].values, np.asarray(maps["conductance"].values * MICRO)
    gate = maps["gate"].values if "gate" in maps else np.full(voltage.shape, np.nan)
    if np.isfinite(gate).any():
        conductance[~np.isfinite(gate)] = np.nan  # not tried
    show_map(axes[0, 0], voltage, "forming voltage (V); white: not formed in this run")
    top = float(np.nanquantile(conductance, 0.999)) if np.isfinite(conductance).any() else None
    show_map(axes[0, 1], conductance, "conductance after forming (µS)", vmax=top)
    _voltages(axes[1, 0], voltage.ravel(), gate.ravel())
    histogram(axes[1, 1], conductance.ravel(), "conductance (µS)", "after forming")
    left = steps["unformed"].values.astype(np.float64) if "unformed" in steps else np.empty(0)
    left = left[np.isfinite(left)]
    if left.size:
        axes[1, 0].annotate(f"never formed: {left[-1]:,.0f}", (0.03, 0.92), xycoords="axes fraction")
    return figure


def draw_density(tree: xr.DataTree) -> Figure:
    """As `draw`, of a run that formed a share of the cells: below, how many of the sample formed by which voltage."""
    figure = draw(tree)
    axis = figure.axes[2]
    try:
        measured = measurement(tree)
    except RecordingError:  # it ended before it said which cells it left
        return figure
    told, volts = measured.attrs, measured["forming_voltage"].values[measured["sample"].values]
    if not np.isfinite(volts).any():
        return figure
    axis.clear()
    levels, counts = np.unique(volts[np.isfinite(volts)], return_counts=True)
    axis.plot(levels, np.cumsum(counts) / len(volts), "o", color=BLUE, label="formed by then, of the sample rows")
    if np.isfinite(told["breakdown_mean"]):
        x = np.linspace(levels[0], told["breakdown_mean"] + 3 * told["breakdown_sd"], 200)
        label = f"normal, mean {told['breakdown_mean']:.3f} V, sd {told['breakdown_sd'] * 1e3:.0f} mV"
        axis.plot(x, ndtr((x - told["breakdown_mean"]) / told["breakdown_sd"]), color=GREY, label=label)
    if np.isfinite(told["chosen_voltage"]):
        label = f"all cells, after the one pulse of {told['chosen_voltage']:.3f} V"
        axis.plot(told["chosen_voltage"], told["formed"] / told["live"], "D", color=RED, label=label)
    axis.axhline(told["density_wanted"], color=GREY, linestyle=":", label=f"wanted: {told['density_wanted']:g}")
    axis.legend(frameon=False, loc="upper left", fontsize=9)
    axis.set(xlabel="amplitude (V)", ylabel="share formed", ylim=(0, 1), title="where cells formed")
    return figure


def _voltages(axis: Axes, voltage: np.ndarray, gate: np.ndarray) -> None:
    """How many cells formed at which voltage: one bar a pulse of the ramp, or a histogram where those are many."""
    formed = np.isfinite(voltage)
    levels = np.unique(voltage[formed])
    gates = np.unique(gate[formed & np.isfinite(gate)])
    parts = [voltage[formed & (gate == each)] for each in gates] if len(gates) > 1 else [voltage[formed]]
    labels = [f"gate {each:.3g} V" for each in gates] if len(gates) > 1 else None
    colours = list(mpl.colormaps[LEVEL_COLOURS](np.linspace(0, 0.85, len(parts)))) if labels else [BLUE]
    if len(levels):
        step = float(np.diff(levels).min()) if len(levels) > 1 else 0.05
        few = (levels[-1] - levels[0]) / step < _BINS
        edges = list(np.arange(levels[0] - step / 2, levels[-1] + step, step)) if few else _BINS
        axis.hist(parts, bins=edges, rwidth=0.85 if few else 1.0, stacked=True, label=labels, color=colours)
    if labels:
        axis.legend(frameon=False, loc="center left")
    axis.set(xlabel="forming voltage (V)", ylabel="cells", title="where cells formed")
