"""The figure of trains of equal pulses: the ramps, the step by where it starts, and what varies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labctl.analysis.characterisation.pulse_response import changes_of, levels
from labctl.analysis.estimators import known_median
from labctl.analysis.figures.panels import BLUE, GREY, MICRO, RED, band, edges_between

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_DIRECTIONS = (("set", BLUE), ("reset", RED))
_POINTS = 4000
_BINS = 40


def draw(measured: xr.Dataset) -> Figure:
    """The figure of a `pulse-response` measurement."""
    figure = Figure(figsize=(13, 8.6), layout="constrained")
    axes = figure.subplots(2, 2)
    _ramps(axes[0, 0], measured)
    _steps(axes[0, 1], measured)
    _distributions(axes[1, 0], measured)
    _trains(axes[1, 1], measured)
    return figure


def _ramps(axis: Axes, measured: xr.Dataset) -> None:
    conductance = measured["conductance"].values.astype(np.float64) * MICRO
    pulses = conductance.shape[-1]
    for way, (direction, colour) in enumerate(_DIRECTIONS):
        ramps = conductance[:, :, way].reshape(-1, pulses)
        known = np.isfinite(ramps).any(axis=0)
        volts = measured.attrs[f"amplitude_{direction}"]
        label = f"{direction.upper()}{f' at {volts:.3g} V' if np.isfinite(volts) else ''}"
        if known.any():
            band(axis, np.flatnonzero(known) + way * (pulses - 1), ramps[:, known], colour, label)
    width = measured.attrs["width"]
    title = f"median ramp and 5 to 95 %{f', pulses of {width * 1e9:.4g} ns' if np.isfinite(width) else ''}"
    axis.legend(frameon=False)
    axis.set(xlabel="pulse (RESET counted on)", ylabel="conductance (µS)", title=title)


def _steps(axis: Axes, measured: xr.Dataset) -> None:
    """Single steps as points, and mean and standard deviation by range of starting conductance."""
    rng = np.random.default_rng(0)
    shown = []
    for direction, colour in _DIRECTIONS:
        changes = changes_of(measured, direction)
        some = rng.permutation(len(changes.start))[:_POINTS]
        axis.plot(changes.start[some] * MICRO, changes.change[some] * MICRO, ",", color=colour, alpha=0.35)
        bins = levels(changes)
        middles = [level * MICRO for level, _ in bins]
        means, sds = (
            np.array([getattr(changes.change[inside], each)() for _, inside in bins]) * MICRO
            for each in ("mean", "std")
        )
        axis.errorbar(
            middles, means, yerr=sds, color=colour, marker="o", capsize=3, label=f"{direction.upper()}: mean, sd"
        )
        shown.append(changes.change)
    everything = np.concatenate(shown) * MICRO
    if everything.size:
        low, high = np.quantile(everything, [0.005, 0.995])
        axis.set_ylim(low - 0.2 * (high - low), high + 0.2 * (high - low))
    axis.axhline(0, color="black", linewidth=0.6)
    axis.legend(frameon=False)
    axis.set(xlabel="conductance before the pulse (µS)", ylabel="change by it (µS)", title="step against conductance")


def _distributions(axis: Axes, measured: xr.Dataset) -> None:
    changes = {name: changes_of(measured, name).change * MICRO for name, _ in _DIRECTIONS}
    everything = np.concatenate(list(changes.values()))
    if everything.size:
        low, high = np.quantile(everything, [0.002, 0.998])
        edges = edges_between(everything, float(low), float(high), _BINS)
        for direction, colour in _DIRECTIONS:
            axis.hist(changes[direction], bins=edges, color=colour, alpha=0.6, label=direction.upper())
        axis.set_yscale("log")
        axis.legend(frameon=False)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set(xlabel="change by one pulse (µS)", ylabel="pulses", title="all steps")


def _trains(axis: Axes, measured: xr.Dataset) -> None:
    """Where each train began and ended, median over cells: drifting apart shows as a slope."""
    conductance = measured["conductance"].values.astype(np.float64) * MICRO
    train = measured["train"].values
    for way, (direction, colour) in enumerate(_DIRECTIONS):
        ramps = conductance[:, :, way]
        pulses = np.where(np.isfinite(ramps), np.arange(ramps.shape[-1]), -1).max(axis=(0, 1, 2))
        axis.plot(
            train, known_median(ramps[..., pulses], axis=0), "o-", color=colour, label=f"after {direction.upper()}"
        )
    start = known_median(conductance[:, :, 0, 0], axis=0)
    axis.plot(train, start, "o--", color=GREY, label="before SET", markerfacecolor="none")
    axis.legend(frameon=False)
    axis.set_xlim(int(train[0]) - 0.5, int(train[-1]) + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set(xlabel="train", ylabel="conductance (µS), median of cells", title="ends of the trains")
