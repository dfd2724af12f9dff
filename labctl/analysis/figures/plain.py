"""Figures of runs of no kind known here, and of those that ended before they measured anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from labctl.analysis.figures.panels import BLUE, MICRO, group, histogram, show_map
from labctl.recording.layout import AskedBy

if TYPE_CHECKING:
    import xarray as xr


def draw_maps(tree: xr.DataTree) -> Figure:
    """Every map the run wrote, with its histogram."""
    written = group(tree, "maps")
    maps = {str(name): each.values for name, each in written.items() if np.isfinite(each.values).any()}
    figure = Figure(figsize=(6.5 * max(len(maps), 1), 8.2), layout="constrained")
    axes = figure.subplots(2, max(len(maps), 1), squeeze=False)
    for column, (name, values) in enumerate(maps.items()):
        unit = written[name].attrs.get("units", "1")
        shown, label = (values * MICRO, f"{name} (µS)") if unit == "S" else (values, name)
        show_map(axes[0, column], shown, label.replace("_", " "))
        histogram(axes[1, column], shown.ravel(), label.replace("_", " "), "")
    return figure


def draw_steps(tree: xr.DataTree) -> Figure:
    """A run that ended before it had maps: what its steps say, those that stand."""
    steps = group(tree, "steps")
    stands = steps["asked_by"].values != AskedBy.SUPERSEDED if "asked_by" in steps else True
    names = [str(name) for name, each in steps.items() if each.dims == ("step",) and each.dtype.kind in "fiu"]
    names = [name for name in names if np.isfinite(steps[name].values.astype(float)).any()] or names[:1]
    figure = Figure(figsize=(13, 2.4 * max(len(names), 1)), layout="constrained")
    for axis, name in zip(figure.subplots(max(len(names), 1), 1, squeeze=False)[:, 0], names, strict=False):
        axis.plot(np.where(stands, steps[name].values, np.nan), color=BLUE)
        axis.set(ylabel=name.replace("_", " "), xlabel="step")
    return figure
