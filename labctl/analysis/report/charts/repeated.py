"""Charts of what time and cycles do to cells: endurance, retention, read noise."""

from __future__ import annotations

import numpy as np

from labctl.analysis import estimators
from labctl.analysis.characterisation.cycling import States, states_of
from labctl.analysis.characterisation.noise import even_stretch, relative_sd, relative_spectrum, short_window
from labctl.analysis.characterisation.retention import ESCAPE, levels_of
from labctl.analysis.characterisation.statistic import quantity as said
from labctl.analysis.figures.read_noise import in_bins
from labctl.analysis.report.charts.parts import (
    BLUE,
    GREY,
    MICRO,
    RED,
    Axis,
    Chart,
    Series,
    band,
    cumulative,
    estimates,
    shades,
)
from labctl.analysis.report.material import Run
from labctl.analysis.report.words import with_micro

_LONG = 300  # cycles from which on their axis is logarithmic
_MOST_CYCLES = 600  # drawn
_LEAST_FOR_SPECTRUM = 64


def endurance(run: Run) -> list[Chart]:
    assert run.measured is not None
    states, cycle = states_of(run.measured), run.measured["cycle"].values.astype(np.float64)
    shown = np.unique(np.linspace(0, len(cycle) - 1, min(_MOST_CYCLES, len(cycle))).astype(int))
    x = Axis("cycle", log=len(cycle) >= _LONG)
    pairs = (("LRS", states.lrs, BLUE), ("HRS", states.hrs, RED))
    series = [
        band(cycle[shown], 10 ** logarithm[:, shown] * MICRO, name, colour)
        for name, logarithm, colour in pairs
        if np.isfinite(logarithm).any()
    ]
    border = 10**states.border * MICRO
    series.append(Series("line", cycle[[0, -1]], np.array([border, border]), "border", colour="#000000", dashed=True))
    told = f"Both states over {cycle.max():,.0f} cycles of {len(states.lrs):,} cells: median and 5 to 95 %."
    spread = [
        made
        for name, logarithm, colour in pairs
        if (made := cumulative(10 ** estimators.known_median(logarithm) * MICRO, f"{name}, medians of cells", colour))
    ]
    return [
        Chart("States over the cycles: median, 5 to 95 %", x, Axis("conductance (µS)", log=True), series, told),
        _failures(states, cycle, shown, x),
        Chart(
            "Both states, by cell",
            Axis("conductance (µS)", log=True),
            Axis("cells at or below (%)", low=0.0, high=100.0),
            spread,
            "Distributions of the two states.",
        ),
    ]


def _failures(states: States, cycle: np.ndarray, shown: np.ndarray, x: Axis) -> Chart:
    failed = (
        np.searchsorted(np.sort(states.failed_at), np.arange(len(cycle)), side="right") / len(states.failed_at) * 100
    )
    series = [Series("steps", cycle[shown], failed[shown], "failed for good", colour="#000000")]
    for name, colour in (("lrs", BLUE), ("hrs", RED)):
        share = states.wrong[name].mean(axis=0) * 100
        series.append(Series("line", cycle[shown], share[shown], f"{name.upper()} wrong", colour=colour))
    told = f"{failed[-1]:.3g} % of the cells had failed by the last cycle."
    return Chart("Cells on the wrong side of the border", x, Axis("share of cells (%)", low=0.0), series, told)


def retention(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    conductance, time = measured["conductance"].values.astype(np.float64) * MICRO, measured["time"].values
    levels = levels_of(measured)
    groups = [(level * MICRO, cells) for level, cells in levels.settled()]
    if not groups or len(time) < 2:
        return []
    change = conductance[:, 1:] - conductance[:, :1]
    change[~levels.reached] = np.nan
    shown = np.concatenate([[time[1] / 10], time[1:]])
    x = Axis("time since programmed (s)", log=True)
    drift = [
        band(shown, conductance[cells], f"{level:.4g} µS, {len(cells):,} cells", colour)
        for (level, cells), colour in zip(groups, shades(len(groups)), strict=True)
    ]
    return [
        Chart(
            "Levels over time: median, 5 to 95 % (leftmost: as programmed)",
            x,
            Axis("conductance (µS)"),
            drift,
            f"{len(groups)} levels over {time[-1]:.3g} s.",
        ),
        _spread(x, time[1:], change, groups),
        _escapes(x, time[1:], change, ESCAPE * levels.scale * MICRO),
        _tails(time[1:], change),
    ]


def _spread(x: Axis, time: np.ndarray, change: np.ndarray, groups: list[tuple[float, np.ndarray]]) -> Chart:
    series = []
    for (level, cells), colour in zip(groups, shades(len(groups)), strict=True):
        series.append(
            estimates(time, [estimators.robust_spread(column) for column in change[cells].T], f"{level:.4g} µS", colour)
        )
    told = "Robust spread of the change since programming, by level, over time."
    return Chart("Robust spread of the change, by level", x, Axis("spread (µS)", low=0.0), series, told)


def _escapes(x: Axis, time: np.ndarray, change: np.ndarray, limit: float) -> Chart:
    found = []
    for column in change.T:
        known = column[np.isfinite(column)]
        found.append(estimators.fraction(int(np.count_nonzero(np.abs(known) > limit)), len(known)))
    told = f"{found[-1].value:.2%} of cells had changed by over {limit:.3g} µS at the last read."
    return Chart(
        f"Cells that changed by over {limit:.3g} µS (2.5 % of full scale)",
        x,
        Axis("share of cells (%)", low=0.0),
        [estimates(time, found, "", GREY, 100)],
        told,
    )


def _tails(time: np.ndarray, change: np.ndarray) -> Chart:
    series = []
    for moment, column, colour in zip(time, change.T, shades(len(time)), strict=True):
        known = np.sort(np.abs(column[np.isfinite(column)]))
        if known.size > 1:
            shown = np.unique(np.linspace(0, known.size - 1, min(300, known.size)).astype(int))
            series.append(
                Series(
                    "line",
                    known[shown],
                    (1 - shown / known.size) * 100,
                    with_micro(said(float(moment), "s")),
                    colour=colour,
                )
            )
    y = Axis("share of cells beyond (%)", log=True, high=100.0)
    return Chart(
        "Tails of the change, all levels",
        Axis("|change| since programmed (µS)", low=0.0),
        y,
        series,
        "Share of cells that changed by more than so much, a line for each time.",
    )


def read_noise(run: Run) -> list[Chart]:
    assert run.measured is not None
    values, rate = even_stretch(run.measured)
    if not len(values) or values.shape[1] < _LEAST_FOR_SPECTRUM:
        return []
    samples = values.shape[1]
    frequency, density = relative_spectrum(values, rate)
    binned_at, binned = in_bins(frequency, density)
    first = np.median(binned[:, 0])
    averaging, deviation = estimators.allan_deviation(values / values.mean(axis=1, keepdims=True), rate)
    white = np.median(deviation[:, 0]) * 100 * np.sqrt(averaging[0] / averaging)
    amounts = [
        made
        for length, colour in ((short_window(samples, rate), BLUE), (samples, RED))
        if (
            made := cumulative(
                relative_sd(values, length) * 100, f"within {with_micro(said(length / rate, 's'))}", colour
            )
        )
    ]
    several = "median, 5 to 95 % of cells"
    return [
        Chart(
            "Spectrum of the noise",
            Axis("frequency (Hz)", log=True),
            Axis("relative density (1/Hz)", log=True),
            [
                band(binned_at, binned, several, BLUE),
                Series("line", binned_at, first * binned_at[0] / binned_at, "1/f", colour=GREY, dashed=True),
            ],
            f"Spectrum of {len(values):,} cells from {binned_at[0]:.3g} to {binned_at[-1]:.3g} Hz.",
        ),
        Chart(
            "What averaging gains",
            Axis("averaging time (s)", log=True),
            Axis("Allan deviation (% of the mean)", log=True),
            [
                band(averaging, deviation * 100, several, BLUE),
                Series("line", averaging, white, "white noise", colour=GREY, dashed=True),
            ],
            "Allan deviation over averaging time.",
        ),
        Chart(
            "How much, by cell",
            Axis("standard deviation (% of the mean)", log=True),
            Axis("cells at or below (%)", low=0.0, high=100.0),
            amounts,
            "Relative standard deviation of cells.",
        ),
        _traces(values, rate),
    ]


def _traces(values: np.ndarray, rate: float) -> Chart:
    """A quiet, a usual and the noisiest cell, each about its median."""
    relative = (values / np.median(values, axis=1, keepdims=True) - 1) * 100
    order = np.argsort(relative.std(axis=1))
    chosen = dict(zip(("quietest", "median", "noisiest"), order[[0, len(order) // 2, -1]], strict=True))
    every = max(values.shape[1] // 1000, 1)
    time = np.arange(0, values.shape[1], every) / rate
    series = [
        Series(
            "line", time, relative[cell, ::every], f"{name}: {np.median(values[cell]) * MICRO:.3g} µS", colour=colour
        )
        for (name, cell), colour in zip(reversed(chosen.items()), (RED, BLUE, "#000000"), strict=True)
    ]
    return Chart(
        "Three cells over time",
        Axis("time (s)"),
        Axis("about the median (%)"),
        series,
        "The noisiest, the median and the quietest cell over time.",
    )
