"""The figure of cycling: the states over the cycles, their spread and its parts, and failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from labctl.analysis import estimators
from labctl.analysis.characterisation.cycling import States, neighbours, states_of
from labctl.analysis.figures.panels import BLUE, GREY, MICRO, RED, band, cumulative, with_interval

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_LONG = 300  # cycles from which on their axis is logarithmic


def draw(measured: xr.Dataset) -> Figure:
    """The figure of an `endurance` measurement."""
    figure = Figure(figsize=(13, 8.6), layout="constrained")
    axes = figure.subplots(2, 2)
    states, cycle = states_of(measured), measured["cycle"].values
    _over_cycles(axes[0, 0], states, cycle)
    _distributions(axes[0, 1], states)
    _parts(axes[1, 0], states, cycle)
    _failures(axes[1, 1], states, cycle)
    for axis in (axes[0, 0], axes[1, 1]):
        if len(cycle) >= _LONG:
            axis.set_xscale("log")
    return figure


def _over_cycles(axis: Axes, states: States, cycle: np.ndarray) -> None:
    for name, logarithm, colour in (("LRS", states.lrs, BLUE), ("HRS", states.hrs, RED)):
        known = np.isfinite(logarithm).any(axis=0)
        band(axis, cycle[known], 10 ** logarithm[:, known] * MICRO, colour, name)
    axis.axhline(10**states.border * MICRO, color=GREY, linestyle=":", label="border")
    axis.set_yscale("log")
    axis.legend(frameon=False)
    title = f"median of {len(states.lrs):,} cells and 5 to 95 %"
    axis.set(xlabel="cycle", ylabel="conductance (µS)", title=title)


def _distributions(axis: Axes, states: States) -> None:
    """All readings, and medians of cells: how much steeper the second is, is what cycles add."""
    for name, logarithm, colour in (("LRS", states.lrs, BLUE), ("HRS", states.hrs, RED)):
        cumulative(axis, 10 ** logarithm.ravel() * MICRO, colour, f"{name}, every cycle")
        cumulative(axis, 10 ** estimators.known_median(logarithm) * MICRO, "black", "")
        axis.lines[-1].set_linestyle("--")
    axis.lines[-1].set_label("medians of cells")
    axis.set_xscale("log")
    axis.legend(frameon=False)
    axis.set(xlabel="conductance (µS)", ylabel="share at or below", title="distributions")


def _parts(axis: Axes, states: States, cycle: np.ndarray) -> None:
    """Of cells that did not fail: which part of the spread is whose."""
    good = states.failed_at == len(cycle)
    places, labels = [], []
    for name, logarithm, colour, offset in (("LRS", states.lrs, BLUE, 0), ("HRS", states.hrs, RED, 1)):
        parts = estimators.variance_components(logarithm[good])
        bulk = estimators.robust_components(logarithm[good])
        found = [parts.device, parts.cycle, bulk.device, bulk.cycle]
        x = np.arange(4) * 3 + offset
        axis.bar(x, [np.nan_to_num(each.value) for each in found], color=colour, label=name)
        with_interval(axis, x, found, color="black", linestyle="none")
        lag = estimators.lag1_correlation(logarithm[good][:, neighbours(cycle)])
        labels.append(f"{name} {lag.value:.2f} ({lag.low:.2f} to {lag.high:.2f})")
        places = list(np.arange(4) * 3 + 0.5)
    axis.set_xticks(places, ["device\nsd", "cycle\nsd", "device\nrobust", "cycle\nrobust"])
    axis.legend(frameon=False)
    axis.set(ylabel="of log10 conductance", title=f"spread by its source; lag-1 {', '.join(labels)}")
    axis.title.set_fontsize(10)


def _failures(axis: Axes, states: States, cycle: np.ndarray) -> None:
    failed = np.searchsorted(np.sort(states.failed_at), np.arange(len(cycle)), side="right") / len(states.failed_at)
    axis.step(cycle, failed * 100, where="post", color="black", label="failed for good")
    for name, colour in (("lrs", BLUE), ("hrs", RED)):
        axis.plot(
            cycle, states.wrong[name].mean(axis=0) * 100, color=colour, linewidth=0.8, label=f"{name.upper()} wrong"
        )
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)
    axis.set(xlabel="cycle", ylabel="share of cells (%)", title="cells on the wrong side of the border")
