"""The figure of forming: where on the array, at which voltage, to which conductance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from labctl.analysis.figures.panels import BLUE, LEVEL_COLOURS, MICRO, group, histogram, show_map

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
