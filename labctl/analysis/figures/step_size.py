"""The figure of the step of a programming ramp: what it costs in pulses, and what in success."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from labctl.analysis import estimators
from labctl.analysis.figures.panels import BLUE, GREEN, GREY, LEVEL_COLOURS, RED, with_interval

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


def draw(measured: xr.Dataset) -> Figure:
    """The figure of a `step-size` measurement."""
    figure = Figure(figsize=(16, 5), layout="constrained")
    axes = figure.subplots(1, 3)
    volts = np.round(measured["step_voltage"].values.astype(np.float64), 6)
    steps = np.unique(volts)
    pulses = [measured["pulses"].values[volts == step] for step in steps]
    success = [measured["success"].values[volts == step] for step in steps]
    _pulses(axes[0], steps, pulses)
    _success(axes[1], steps, success)
    _survival(axes[2], steps, pulses)
    return figure


def _pulses(axis: Axes, steps: np.ndarray, pulses: list[np.ndarray]) -> None:
    with_interval(axis, steps * 1e3, [estimators.mean(each) for each in pulses], color=BLUE, marker="o", label="mean")
    for probability, label, colour in ((0.5, "median", GREEN), (0.95, "95 % within", RED), (0.99, "99 % within", GREY)):
        found = [estimators.quantile(each, probability) for each in pulses]
        with_interval(axis, steps * 1e3, found, color=colour, marker=".", linestyle="--", label=label)
    axis.set_yscale("log")
    axis.set_ylim(top=axis.get_ylim()[1] * 2)
    axis.legend(frameon=False, ncol=2, loc="upper center")
    axis.set(xlabel="step of the amplitude (mV)", ylabel="pulses a cell", title="cost")


def _success(axis: Axes, steps: np.ndarray, success: list[np.ndarray]) -> None:
    found = [estimators.fraction(int(each.sum()), len(each)) for each in success]
    with_interval(axis, steps * 1e3, found, 100, color=BLUE, marker="o")
    axis.set(xlabel="step of the amplitude (mV)", ylabel="cells in window (%)", title="success")


def _survival(axis: Axes, steps: np.ndarray, pulses: list[np.ndarray]) -> None:
    """How many cells needed more than so many pulses: a long tail shows as a slow fall."""
    colours = mpl.colormaps[LEVEL_COLOURS](np.linspace(0, 0.85, len(steps)))
    for step, each, colour in zip(steps, pulses, colours, strict=True):
        ordered = np.sort(each)
        share = 1 - np.arange(ordered.size) / ordered.size
        axis.plot(ordered, share, color=colour, drawstyle="steps-post", label=f"{step * 1e3:.3g} mV")
    axis.set(xscale="log", yscale="log", xlabel="pulses", ylabel="share of cells that took at least so many")
    axis.legend(frameon=False, fontsize=8)
    axis.set_title("tails")
