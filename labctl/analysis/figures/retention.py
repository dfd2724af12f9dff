"""The figure of retention: levels over time, spread, tails and escapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from labctl.analysis import estimators
from labctl.analysis.characterisation.retention import ESCAPE, levels_of
from labctl.analysis.characterisation.statistic import quantity
from labctl.analysis.figures.panels import LEVEL_COLOURS, MICRO, band, note, thinned, with_interval

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_Groups = list[tuple[float, np.ndarray]]


def draw(measured: xr.Dataset) -> Figure:
    """The figure of a `retention` measurement."""
    figure = Figure(figsize=(13, 8.6), layout="constrained")
    axes = figure.subplots(2, 2)
    conductance = measured["conductance"].values.astype(np.float64) * MICRO
    levels = levels_of(measured)
    groups = [(level * MICRO, cells) for level, cells in levels.settled()]
    time = measured["time"].values
    _levels(axes[0, 0], time, conductance, groups)
    if levels.missed():
        note(axes[0, 0], f"only {levels.share().value:.0%} of cells reached their target; all is of these", (0.1, 0.99))
    change = conductance[:, 1:] - conductance[:, :1]
    change[~levels.reached] = np.nan
    _spread(axes[0, 1], time[1:], change, groups)
    _tails(axes[1, 0], time[1:], change)
    _escapes(axes[1, 1], time[1:], change, groups, ESCAPE * levels.scale * MICRO)
    return figure


def _colours(count: int) -> Any:
    return mpl.colormaps[LEVEL_COLOURS](np.linspace(0, 0.85, max(count, 1)))


def _levels(axis: Axes, time: np.ndarray, conductance: np.ndarray, groups: _Groups) -> None:
    """As programmed stands one decade before the first read: a logarithm has no 0."""
    shown = np.concatenate([[time[1] / 10], time[1:]])
    for (level, cells), colour in zip(groups, _colours(len(groups)), strict=True):
        known = np.isfinite(conductance[cells]).any(axis=0)
        if not known.any():
            continue
        band(axis, shown[known], conductance[cells][:, known], colour, f"{level:.4g} µS\n{len(cells):,} cells")
    axis.set_xscale("log")
    axis.legend(frameon=False, fontsize=8, reverse=True, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.axvline(shown[0], color="black", linewidth=0.6, linestyle=":")
    axis.annotate("programmed", (shown[0], 0.99), xycoords=("data", "axes fraction"), rotation=90, ha="right", va="top")
    axis.set(xlabel="time since programmed (s)", ylabel="conductance (µS)", title="median and 5 to 95 % of each level")


def _spread(axis: Axes, time: np.ndarray, change: np.ndarray, groups: _Groups) -> None:
    """Standard deviation and, dashed, robust spread: how far apart they are is how heavy the tails are."""
    for (_, cells), colour in zip(groups, _colours(len(groups)), strict=True):
        for estimator, style in ((estimators.standard_deviation, "-"), (estimators.robust_spread, "--")):
            found = [estimator(column) for column in change[cells].T]
            with_interval(axis, time, found, color=colour, linestyle=style, linewidth=1.2)
    axis.plot([], [], "k-", label="standard deviation")
    axis.plot([], [], "k--", label="1.4826 MAD: of the bulk")
    axis.legend(frameon=False)
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set(xlabel="time since programmed (s)", ylabel="spread of the change (µS)", title="spread, by level")


def _tails(axis: Axes, time: np.ndarray, change: np.ndarray) -> None:
    """Share of cells that changed by more than so much, all levels together, and what a normal change would do."""
    for moment, column, colour in zip(time, change.T, _colours(len(time)), strict=True):
        known = np.sort(np.abs(column[np.isfinite(column)]))
        if known.size < 2:
            continue
        shown = thinned(known.size)
        axis.plot(known[shown], 1 - shown / known.size, color=colour, label=quantity(float(moment), "s"))
    last = change[:, -1][np.isfinite(change[:, -1])]
    if last.size > 1:
        x = np.linspace(0, np.abs(last).max(), 300)
        sd = last.std()
        axis.plot(x, 2 * stats.norm.sf(x / sd), color="black", linestyle=":", label="normal, sd of the last")
        axis.set(yscale="log", ylim=(0.5 / last.size, 1.3))
    axis.legend(frameon=False, fontsize=8)
    axis.set(xlabel="|change| since programmed (µS)", ylabel="share of cells beyond", title="tails, all levels")


def _escapes(axis: Axes, time: np.ndarray, change: np.ndarray, groups: _Groups, limit: float) -> None:
    everything = np.arange(len(change))
    series = [*zip(groups, _colours(len(groups)), strict=True), ((np.nan, everything), "black")]
    for (level, cells), colour in series:
        found = []
        for column in change[cells].T:
            known = column[np.isfinite(column)]
            found.append(estimators.fraction(int(np.count_nonzero(np.abs(known) > limit)), len(known)))
        label = f"{level:.4g} µS" if np.isfinite(level) else "all"
        with_interval(axis, time, found, 100, color=colour, marker=".", label=label)
    axis.set_xscale("log")
    axis.set_ylim(0, 100)
    axis.legend(frameon=False, fontsize=8, ncol=2)
    title = f"cells that changed by over {limit:.3g} µS (2.5 % of full scale)"
    axis.set(xlabel="time since programmed (s)", ylabel="share of cells (%)", title=title)
