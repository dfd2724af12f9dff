"""The figure of read noise: traces, spectrum, averaging, and how much of it which cells have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from labctl.analysis import estimators
from labctl.analysis.characterisation.noise import even_stretch, jumps, relative_sd, relative_spectrum, short_window
from labctl.analysis.figures.panels import BLUE, GREY, RED, band, cumulative, note

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_TRACES, _PITCH = 6, 1.5
_POINTS = 4000
_LEAST = 64
_BINS_A_DECADE = 12


def draw(measured: xr.Dataset) -> Figure:
    """The figure of a `read-noise` measurement."""
    figure = Figure(figsize=(13, 8.6), layout="constrained")
    axes = figure.subplots(2, 2)
    values, rate = even_stretch(measured)
    if not len(values) or values.shape[1] < _LEAST:
        note(axes[0, 0], f"too few samples at even times: {values.shape[1]} of {len(values)} cells")
        return figure
    jumping = jumps(values, rate)
    _traces(axes[0, 0], values, rate, jumping.found)
    _spectrum(axes[0, 1], values, rate)
    _allan(axes[1, 0], values, rate)
    _amounts(axes[1, 1], values, rate)
    share = estimators.fraction(int(jumping.found.sum()), len(values))
    text = f"{share.value:.0%} of cells jump between two levels (95 %: {share.low:.0%} to {share.high:.0%})"
    axes[1, 1].set_title(f"how much, by cell; {text}", fontsize=10)
    return figure


def _traces(axis: Axes, values: np.ndarray, rate: float, jumping: np.ndarray) -> None:
    """Cells from the quietest to the noisiest, one above the other, each in a strip of its own scale."""
    relative = values / np.median(values, axis=1, keepdims=True) - 1
    order = np.argsort(relative.std(axis=1))
    chosen = order[np.linspace(0, len(order) - 1, min(_TRACES, len(order))).astype(int)]
    every = max(values.shape[1] // _POINTS, 1)
    for strip, cell in enumerate(chosen):
        trace = relative[cell, ::every]
        low, high = np.quantile(trace, [0.002, 0.998])
        shown = strip * _PITCH + np.clip((trace - low) / ((high - low) or 1.0), -0.1, 1.1)
        axis.plot(np.arange(len(trace)) * every / rate, shown, color=RED if jumping[cell] else BLUE, linewidth=0.5)
        label = f"{np.median(values[cell]) * 1e6:.3g} µS: strip of {_percent(high - low)}"
        axis.annotate(label, (0, (strip + 1) * _PITCH), fontsize=8, va="top")
    axis.set_yticks([])
    axis.set_ylim(top=_PITCH * len(chosen) + 0.2)
    title = f"{len(chosen)} of {len(values):,} cells; red: jumps between levels"
    axis.set(xlabel="time (s)", ylabel="conductance, strip by strip", title=title)


def _percent(share: float) -> str:
    """With two digits at least, and no exponent."""
    return f"{share * 100:.0f} %" if share >= 0.1 else f"{share * 100:.2g} %"


def _spectrum(axis: Axes, values: np.ndarray, rate: float) -> None:
    frequency, density = relative_spectrum(values, rate)
    shown, binned = in_bins(frequency, density)
    band(axis, shown, binned, BLUE, "median, 5 to 95 % of cells")
    slopes = [estimators.log_log_slope(frequency, each).value for each in density]
    first = np.median(binned[:, 0])
    axis.plot(shown, first * shown[0] / shown, color=GREY, linestyle=":", label="1/f")
    axis.set(xscale="log", yscale="log")
    axis.legend(frameon=False, loc="lower left")
    note(axis, f"slope, median of cells: {np.median(slopes):.2f}", (0.55, 0.97))
    axis.set(xlabel="frequency (Hz)", ylabel="relative density (1/Hz)", title="spectrum")


def in_bins(frequency: np.ndarray, density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over bins of equal width in log frequency: (bins,) and (cells, bins)."""
    bins = np.floor(np.log10(frequency / frequency[0]) * _BINS_A_DECADE).astype(int)
    _, first, count = np.unique(bins, return_index=True, return_counts=True)
    return np.add.reduceat(frequency, first) / count, np.add.reduceat(density, first, axis=1) / count


def _allan(axis: Axes, values: np.ndarray, rate: float) -> None:
    time, deviation = estimators.allan_deviation(values / values.mean(axis=1, keepdims=True), rate)
    band(axis, time, deviation * 100, BLUE, "median, 5 to 95 % of cells")
    first = np.median(deviation[:, 0]) * 100
    axis.plot(time, first * np.sqrt(time[0] / time), color=GREY, linestyle=":", label="white noise")
    axis.set(xscale="log", yscale="log")
    axis.legend(frameon=False, loc="upper left")
    axis.set(xlabel="averaging time (s)", ylabel="Allan deviation (% of the mean)", title="what averaging gains")


def _amounts(axis: Axes, values: np.ndarray, rate: float) -> None:
    """Relative standard deviations within short windows, and over all of it."""
    samples = values.shape[1]
    for length, colour in ((short_window(samples, rate), BLUE), (samples, RED)):
        cumulative(axis, relative_sd(values, length) * 100, colour, f"within {length / rate:.3g} s")
    axis.set(xscale="log", ylim=(0, 1))
    axis.legend(frameon=False, loc="lower right")
    axis.set(xlabel="standard deviation (% of the mean)", ylabel="share of cells at or below")
