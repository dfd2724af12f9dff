"""Noise of cells that are only read: how much in which time, of which colour, and which of them jump."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic

_SHORT = 1.0  # s
_LEAST_IN_WINDOW = 16
_LEAST_FOR_SPECTRUM = 64
_JUMP_WINDOW = 2000  # samples
_JUMP_SHARE = 0.05
_GAP = 1.5  # of the usual time between samples


def even_stretch(measured: xr.Dataset) -> tuple[NDArray[np.float64], float]:
    """The longest stretch of samples at even times, of cells that miss none in it: (cells, samples) S, and Hz."""
    time, stretch = measured["time"].values, _longest_even(measured)
    values: NDArray[np.float64] = measured["conductance"].values[even_cells(measured), stretch].astype(np.float64)
    lasted = float(time[stretch.stop - 1] - time[stretch.start])
    return values, (stretch.stop - 1 - stretch.start) / lasted if lasted > 0 else float("nan")


def even_cells(measured: xr.Dataset) -> NDArray[np.intp]:
    """The places of the cells that miss no sample in the longest even stretch."""
    values = measured["conductance"].values[:, _longest_even(measured)].astype(np.float64)
    return np.flatnonzero(np.isfinite(values).all(axis=1) & (values.mean(axis=1) > 0))


def _longest_even(measured: xr.Dataset) -> slice:
    time = measured["time"].values
    steps = np.diff(time)
    usual = float(np.median(steps)) if len(steps) else np.nan
    breaks = np.flatnonzero(steps > _GAP * usual) + 1
    edges = np.concatenate([[0], breaks, [len(time)]])
    longest = int(np.argmax(np.diff(edges)))
    return slice(int(edges[longest]), int(edges[longest + 1]))


def relative_spectrum(values: NDArray[np.float64], rate: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies, Hz, and (cells, f) spectral density of the noise relative to each cell's mean, 1/Hz."""
    return estimators.power_spectrum(values / values.mean(axis=1, keepdims=True), rate)


def statistics(measured: xr.Dataset) -> list[Statistic]:
    values, rate = even_stretch(measured)
    cells, samples = values.shape
    found = [
        plain("sample_rate", "Hz", rate, measured.sizes["sample"]),
        plain("saturated_readings", "1", measured.attrs["saturated"], measured["conductance"].size),
    ]
    if not cells or samples < _LEAST_IN_WINDOW:
        return found
    for name, length in (("short", short_window(samples, rate)), ("long", samples)):
        found += _spreads(name, relative_sd(values, length), quantity(length / rate, "s"))
    if samples >= _LEAST_FOR_SPECTRUM:
        found += _spectrum(values, rate)
        found += _telegraph(values, rate)
        found += _allan(values, rate)
    return found


def short_window(samples: int, rate: float) -> int:
    """Samples in a second; of a record of less than eight, in an eighth of it, but 16 at least."""
    return min(max(min(round(_SHORT * rate), samples // 8), _LEAST_IN_WINDOW), samples)


def relative_sd(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(cells,) root mean square over windows of so many samples of the standard deviation in them, over the mean."""
    windows = values.shape[1] // length
    cut = values[:, : windows * length].reshape(len(values), windows, length)
    relative: NDArray[np.float64] = np.sqrt(cut.var(axis=2, ddof=1).mean(axis=1)) / values.mean(axis=1)
    return relative


def _spreads(name: str, relative: NDArray[np.float64], window: str) -> list[Statistic]:
    note = "standard deviation over mean within windows of this length, by cell"
    found = [statistic(f"noise_{name}_median", "1", estimators.median(relative), note, window=window)]
    for percent in (5, 95):
        estimate = estimators.quantile(relative, percent / 100)
        found.append(statistic(f"noise_{name}_p{percent}", "1", estimate, note, window=window))
    return found


def _spectrum(values: NDArray[np.float64], rate: float) -> list[Statistic]:
    """Slopes cell by cell; of a single cell with the interval of its own line."""
    frequency, density = relative_spectrum(values, rate)
    slopes = [estimators.log_log_slope(frequency, each) for each in density]
    note = "of log density against log frequency; 0: white, -1: 1/f"
    if len(slopes) == 1:
        return [statistic("spectrum_slope_median", "1", slopes[0], note)]
    by_cell = np.array([each.value for each in slopes])
    return [
        statistic("spectrum_slope_median", "1", estimators.median(by_cell), f"{note}; median of cells"),
        statistic("spectrum_slope_spread", "1", estimators.robust_spread(by_cell), "robust, of cells"),
    ]


@dataclass(frozen=True, slots=True)
class Jumps:
    """Telegraph noise of cells, (cells,) each.

    share: of windows in which the cell jumps between two levels. found: whether that is often enough. amplitude:
    distance of the levels over the mean, and dwell: stay on a level in s, medians over those windows; NaN without.
    """

    share: NDArray[np.float64]
    found: NDArray[np.bool_]
    amplitude: NDArray[np.float64]
    dwell: NDArray[np.float64]


def jumps(values: NDArray[np.float64], rate: float) -> Jumps:
    """Look at windows of 2,000 samples, as over longer times levels themselves wander; of a short record at all of it.

    A cell jumps where 5 % of its windows do, and two at least: one in a hundred may by chance.
    """
    cells, samples = values.shape
    length = _JUMP_WINDOW if samples >= 2 * _JUMP_WINDOW else samples
    windows = samples // length
    cut = values[:, : windows * length].reshape(cells * windows, length)
    telegraph = estimators.find_telegraph(cut)
    seen = telegraph.found.reshape(cells, windows)
    amplitude = (telegraph.high - telegraph.low) / cut.mean(axis=1)
    dwell = np.sqrt(telegraph.low_dwell * telegraph.high_dwell) / rate
    least = min(windows, max(2, _JUMP_SHARE * windows))
    return Jumps(
        share=seen.mean(axis=1),
        found=seen.sum(axis=1) >= least,
        amplitude=estimators.known_median(np.where(seen, amplitude.reshape(cells, windows), np.nan)),
        dwell=estimators.known_median(np.where(seen, dwell.reshape(cells, windows), np.nan)),
    )


def _telegraph(values: NDArray[np.float64], rate: float) -> list[Statistic]:
    found = jumps(values, rate)
    share = estimators.fraction(int(found.found.sum()), len(found.found))
    told = [statistic("telegraph_fraction", "1", share, "cells that jump between two levels in 5 % of windows or more")]
    if found.found.any():
        amplitude, dwell = (estimators.median(each[found.found]) for each in (found.amplitude, found.dwell))
        told += [
            statistic("telegraph_amplitude_median", "1", amplitude, "of the mean, of cells that jump"),
            statistic("telegraph_dwell_median", "s", dwell, "geometric mean of both levels' stays, of cells that jump"),
        ]
    return told


def _allan(values: NDArray[np.float64], rate: float) -> list[Statistic]:
    """At the shortest, a middle and the longest averaging time."""
    time, deviation = estimators.allan_deviation(values / values.mean(axis=1, keepdims=True), rate)
    chosen = sorted({0, len(time) // 2, len(time) - 1})
    return [
        statistic("allan_deviation_median", "1", estimators.median(deviation[:, k]), time=quantity(float(time[k]), "s"))
        for k in chosen
    ]
