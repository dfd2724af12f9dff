"""The figure of programming: maps, what was reached, convergence, pulses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from labctl.analysis.figures.panels import MICRO, aspect_of, group, histogram, show_map

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_MAX_LEVELS = 40
_MAX_POINTS = 5000
OUTCOME_COLOURS = {
    "not_targeted": "#f2f2f2",
    "in_window": "#4c9f70",
    "unreached": "#f2c14e",
    "never_formed": "#3b3b58",
    "stuck_low": "#5b8fd9",
    "stuck_high": "#d1495b",
    "over_stressed": "#e07a1f",
    "noise_limited": "#a05fb4",
    "excluded": "#b0b0b0",
    "unfinished": "#ffffff",
    "not_written": "#ffffff",
}
"""How cells that ended so are coloured."""


def draw(tree: xr.DataTree) -> Figure:
    """The figure of the run `tree`; of one that broke off, from its events."""
    figure = Figure(figsize=(16, 8.2), layout="constrained")
    axes = figure.subplots(2, 4)
    maps = (
        with_last_readings(tree) if tree.attrs.get("outcome") in ("killed", "live", "failed") else group(tree, "maps")
    )
    target, reached, error = (np.asarray(maps[name].values * MICRO) for name in ("target", "reached", "error"))
    top = float(np.nanquantile(target, 0.999)) if np.isfinite(target).any() else 1.0
    show_map(axes[0, 0], target, "target (µS)", vmin=0, vmax=top)
    show_map(axes[0, 1], reached, "reached (µS)", vmin=0, vmax=top)
    spread = max(float(np.nanquantile(np.abs(error), 0.98)), 1e-3) if np.isfinite(error).any() else 1.0
    show_map(axes[0, 2], error, "reached − target (µS)", cmap="RdBu_r", vmin=-spread, vmax=spread)
    _outcomes(axes[0, 3], maps["outcome"])
    _levels(axes[1, 0], target.ravel(), reached.ravel())
    _errors(axes[1, 1], error[_is(maps["outcome"], "in_window")])
    _convergence(axes[1, 2], group(tree, "steps"))
    _pulses(axes[1, 3], maps["pulses_per_cell"].values[np.isfinite(target)])
    return figure


def with_last_readings(tree: xr.DataTree) -> xr.Dataset:
    """The maps of a run that has not written its last ones: what its events say was reached, and after how many
    pulses."""
    maps, events, operations = (group(tree, name) for name in ("maps", "events", "operations"))
    if np.isfinite(maps["reached"].values).any():
        return maps
    cell, reading = events["cell"].values, events["reading"].values
    read = np.isfinite(reading)
    reached = np.full(maps["reached"].size, np.nan)
    reached[cell[read]] = reading[read]  # the last one stays
    kinds = dict(zip(operations["kind"].attrs["flag_meanings"].split(), range(99), strict=False))
    kind = operations["kind"].values[events["operation"].values]
    pulsed = np.isin(kind, [kinds["set"], kinds["reset"]])
    pulses = np.bincount(cell[pulsed], minlength=reached.size).astype(float)
    shape = maps["reached"].shape
    found = {"reached": reached, "error": reached - maps["target"].values.ravel(), "pulses_per_cell": pulses}
    return maps.assign({name: maps[name].copy(data=values.reshape(shape)) for name, values in found.items()})


def _outcomes(axis: Axes, outcome: xr.DataArray) -> None:
    """The outcome of each cell, with a legend that counts them."""
    names = str(outcome.attrs["flag_meanings"]).split()
    codes = np.atleast_1d(outcome.attrs["flag_values"]).astype(int)
    colours = [OUTCOME_COLOURS.get(name, "#000000") for name in names]
    place = np.zeros(codes.max() + 1, int)
    place[codes] = np.arange(len(codes))
    edges = np.arange(len(codes) + 1) - 0.5
    axis.imshow(
        place[outcome.values.astype(int)],
        interpolation="nearest",
        aspect=aspect_of(outcome.values.shape),
        cmap=ListedColormap(colours),
        norm=BoundaryNorm(edges, len(codes)),
    )
    axis.set(title="outcome", xlabel="column", ylabel="row")
    for code, name, colour in zip(codes, names, colours, strict=True):
        count = int(np.count_nonzero(outcome.values == code))
        if count:
            axis.plot(
                [], [], "s", color=colour, markeredgecolor="#666666", label=f"{name.replace('_', ' ')}: {count:,}"
            )
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0.0, -0.2), ncol=2, frameon=False)


def _levels(axis: Axes, target: np.ndarray, reached: np.ndarray) -> None:
    """Distribution of what was reached: one a level where there are few, else a density against the target."""
    known = np.isfinite(target) & np.isfinite(reached)
    target, reached = target[known], reached[known]
    levels = np.unique(np.round(target, 3))
    if 0 < len(levels) <= _MAX_LEVELS and len(target) >= 8 * len(levels):
        groups = [reached[np.round(target, 3) == level] for level in levels]
        width = 0.7 * (float(np.diff(levels).min()) if len(levels) > 1 else 1.0)
        axis.boxplot(groups, positions=levels, widths=width, sym=",", manage_ticks=False)
        title = "reached by level"
    elif len(target) > _MAX_POINTS:
        axis.hexbin(target, reached, gridsize=70, bins="log", cmap="viridis", mincnt=1, linewidths=0.1)
        title = "reached against target (log density)"
    else:
        axis.plot(target, reached, ".", color="#4c72b0", markersize=4)
        title = "reached against target"
    axis.axline((0, 0), slope=1, color="black", linewidth=0.6)
    axis.set(xlabel="target (µS)", ylabel="reached (µS)", title=title)


def _errors(axis: Axes, error: np.ndarray) -> None:
    histogram(axis, error.ravel(), "reached − target (µS)", "error of cells in window")
    if error.size:
        told = f"RMS {np.sqrt(np.mean(np.square(error))):.3f} µS, mean {np.mean(error):+.3f} µS"
        axis.set_title(f"error of cells in window\n{told}", fontsize=10)


def _convergence(axis: Axes, steps: xr.Dataset) -> None:
    """Cells in window and RMS error as the pulses add up."""
    pulses = np.nan_to_num(steps["pulses"].values.astype(float))
    total = np.cumsum(pulses)
    programming = pulses > 0
    axis.plot(total[programming], steps["in_window"].values[programming], color="#4c9f70")
    axis.set(xlabel="SET and RESET pulses so far", title="convergence")
    axis.set_ylabel("cells in window", color="#4c9f70")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(EngFormatter(sep=""))
    other = axis.twinx()
    other.plot(total[programming], steps["rms_error"].values[programming] * MICRO, color="#d1495b")
    other.set_ylabel("RMS error (µS)", color="#d1495b")
    other.set_ylim(bottom=0)


def _pulses(axis: Axes, pulses: np.ndarray) -> None:
    """How many cells needed more than so many pulses: a long tail shows as a slow fall."""
    ordered = np.sort(pulses[np.isfinite(pulses)])
    if ordered.size:
        axis.plot(ordered, 1 - np.arange(ordered.size) / ordered.size, color="#4c72b0", drawstyle="steps-post")
        axis.set(yscale="log", xscale="symlog", xlim=(0, None))
        axis.annotate(
            f"median {np.median(ordered):.0f}\n99 % within {np.quantile(ordered, 0.99):.0f}",
            (0.05, 0.05),
            xycoords="axes fraction",
        )
    axis.set(xlabel="pulses", ylabel="share of cells that took at least so many", title="pulses per cell")


def _is(outcome: xr.DataArray, name: str) -> np.ndarray:
    names = str(outcome.attrs["flag_meanings"]).split()
    return np.asarray(outcome.values == np.atleast_1d(outcome.attrs["flag_values"])[names.index(name)])
