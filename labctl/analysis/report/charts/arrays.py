"""Charts of measurements of whole arrays: forming, and maps of the conductance."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from labctl.analysis import estimators
from labctl.analysis.characterisation.arrays import PRISTINE_BELOW
from labctl.analysis.report.charts.parts import (
    BLUE,
    GREY,
    MICRO,
    RED,
    Axis,
    Chart,
    Series,
    cumulative,
    histogram,
    shades,
)
from labctl.analysis.report.material import Run
from labctl.analysis.report.words import quantity


def forming(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    voltage, gate = measured["forming_voltage"].values.astype(np.float64), np.round(measured["gate"].values, 6)
    conductance = measured["conductance"].values.astype(np.float64) * MICRO
    gates = np.unique(gate)
    several = len(gates) > 1
    by_voltage, by_conductance = [], []
    for each, colour in zip(gates, shades(len(gates)) if several else [BLUE], strict=True):
        label = f"gate {quantity(float(each), 'V')}" if several else "cells that formed"
        formed = voltage[(gate == each) & np.isfinite(voltage)]
        if formed.size:
            volts, counts = np.unique(formed, return_counts=True)
            share = np.cumsum(counts) / np.count_nonzero(gate == each) * 100
            by_voltage.append(Series("steps", volts, share, label, colour=colour))
        made = cumulative(conductance[(gate == each) & np.isfinite(voltage)], label, colour)
        by_conductance += [made] if made else []
    found = [histogram(voltage, "forming voltage (V)", "Where cells formed")]
    if by_voltage:
        x, y = Axis("amplitude (V)"), Axis("formed by then (% of cells tried)", low=0.0, high=100.0)
        told = f"Cells formed by amplitude, from {np.nanmin(voltage):.3g} to {np.nanmax(voltage):.3g} V."
        found.append(Chart("Formed by amplitude", x, y, by_voltage, told))
    if several:
        x, y = Axis("conductance after forming (µS)"), Axis("cells at or below (%)", low=0.0, high=100.0)
        found.append(
            Chart(
                "Conductance after forming, by gate",
                x,
                y,
                by_conductance,
                "Conductance after forming, a line for each gate.",
            )
        )
    else:
        found.append(histogram(conductance[np.isfinite(voltage)], "conductance (µS)", "Conductance after forming"))
    return [each for each in found if each]


def forming_density(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured, told = run.measured, run.measured.attrs
    voltage = measured["forming_voltage"].values.astype(np.float64)
    conductance = measured["conductance"].values.astype(np.float64) * MICRO
    of_sample = voltage[measured["sample"].values]
    found: list[Chart | None] = []
    if np.isfinite(of_sample).any():
        volts, counts = np.unique(of_sample[np.isfinite(of_sample)], return_counts=True)
        share = np.cumsum(counts) / len(of_sample) * 100
        series = [Series("points", volts, share, "formed by then, of the sample rows", colour=BLUE)]
        if np.isfinite(told["breakdown_mean"]):
            x = np.linspace(volts[0], told["breakdown_mean"] + 3 * told["breakdown_sd"], 100)
            fitted = ndtr((x - told["breakdown_mean"]) / told["breakdown_sd"]) * 100
            series.append(Series("line", x, fitted, "normal distribution fitted", colour=GREY))
        reached = np.array([told["formed"] / told["live"] * 100])
        if np.isfinite(told["chosen_voltage"]):
            at = np.array([told["chosen_voltage"]])
            series.append(Series("points", at, reached, "all cells, after the one pulse", colour=RED))
        y = Axis("formed (% of cells)", low=0.0, high=100.0)
        said = f"Sample rows: formed by amplitude, up to {volts[-1]:.4g} V. Of all cells: {reached[0]:.3g} %."
        found.append(Chart("Formed by amplitude", Axis("amplitude (V)"), y, series, said))
    else:
        found.append(histogram(voltage, "forming voltage (V)", "Where cells formed"))
    found.append(histogram(conductance[np.isfinite(voltage)], "conductance (µS)", "Conductance after forming"))
    return [each for each in found if each]


def array_map(run: Run) -> list[Chart]:
    assert run.measured is not None
    conductance, spread = (run.measured[name].values.astype(np.float64) * MICRO for name in ("conductance", "spread"))
    formed = conductance[np.isfinite(conductance) & (conductance >= PRISTINE_BELOW * MICRO)]
    found = [
        histogram(formed, "conductance (µS)", "Conductance of formed cells"),
        histogram(spread, "sd between repeats (µS)", "Spread between repeats, by cell"),
        _lines(conductance, "row"),
        _lines(conductance.T, "column"),
    ]
    return [each for each in found if each]


def _lines(values: np.ndarray, name: str) -> Chart | None:
    medians = estimators.known_median(values)
    known = np.flatnonzero(np.isfinite(medians))
    if len(known) < 2:
        return None
    middle = np.median(medians[known])
    ends = np.array([known[0], known[-1]], float)
    series = [
        Series("points", known.astype(float), medians[known], f"median of a {name}", colour=BLUE),
        Series("line", ends, np.array([middle, middle]), f"median of {name}s", colour="#000000", dashed=True),
    ]
    told = f"Medians of {len(known)} {name}s: from {medians[known].min():.4g} to {medians[known].max():.4g} µS."
    return Chart(f"Median of each {name}", Axis(name), Axis("conductance (µS)"), series, told)
