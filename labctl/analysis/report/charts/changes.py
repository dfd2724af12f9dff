"""Charts of current against voltage, and of trains of equal pulses."""

from __future__ import annotations

import numpy as np

from labctl.analysis import estimators
from labctl.analysis.characterisation.pulse_response import changes_of, levels
from labctl.analysis.characterisation.statistic import named
from labctl.analysis.characterisation.statistic import quantity as said
from labctl.analysis.characterisation.sweeps import fit_currents
from labctl.analysis.report.charts.parts import (
    BLUE,
    MICRO,
    RED,
    Axis,
    Chart,
    Series,
    band,
    histogram,
    some,
)
from labctl.analysis.report.material import Run

_DIRECTIONS = (("set", BLUE), ("reset", RED))
_FEW = 4  # voltages, fewer of which tell no curve


def iv(run: Run) -> list[Chart]:
    assert run.measured is not None
    voltage, current = run.measured["voltage"].values, run.measured["current"].values.astype(np.float64)
    span = f"{len(voltage)} voltages from {voltage.min():.3g} to {voltage.max():.3g} V"
    told = f"Current of {len(current):,} cells at {span}."
    curve = band(voltage, current * MICRO, "median, 5 to 95 % of cells", BLUE)
    found: list[Chart | None] = [
        Chart(
            "Current against read voltage: median, 5 to 95 % of cells",
            Axis("read voltage (V)"),
            Axis("current (µA)"),
            [curve],
            told,
        )
    ]
    if len(voltage) >= _FEW:
        fit = fit_currents(voltage, current)
        found += [
            _nonlinearity(fit.conductance * MICRO, fit.nonlinearity),
            histogram(fit.offset * MICRO, "offset current (µA)", "Current extrapolated to 0 V"),
        ]
    return [each for each in found if each]


def _nonlinearity(conductance: np.ndarray, nonlinearity: np.ndarray) -> Chart | None:
    known = np.isfinite(nonlinearity) & (conductance > 0)
    x, y = conductance[known], nonlinearity[known]
    if not x.size:
        return None
    shown = some(len(x))
    low, high = np.quantile(y, [0.02, 0.98])
    pad = 0.2 * (high - low) or 1.0
    middle = estimators.median(y)
    ends = np.array([x.min(), x.max()])
    series = [
        Series("points", x[shown], y[shown], "cells", colour=BLUE),
        Series("line", ends, np.array([middle.value] * 2), "median", colour="#000000", dashed=True),
    ]
    axis = Axis("a (1/V²)", low=float(min(low - pad, 0)), high=float(high + pad))
    interval = f"95 % interval {middle.low:.3g} to {middle.high:.3g}"
    told = f"Nonlinearity a of {x.size:,} cells: median {middle.value:.3g}, {interval}."
    return Chart("a in I = I₀ + G V (1 + a V²)", Axis("conductance at small voltage (µS)"), axis, series, told)


def pulse_response(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    conductance = measured["conductance"].values.astype(np.float64) * MICRO
    ramps, steps, points = [], [], []
    for way, (direction, colour) in enumerate(_DIRECTIONS):
        trains = conductance[:, :, way].reshape(-1, conductance.shape[-1])
        if np.isfinite(trains).any():
            ramps.append(band(np.arange(trains.shape[1]), trains, direction.upper(), colour))
        changes = changes_of(measured, direction)
        shown = some(len(changes.start))
        points.append(
            Series(
                "points",
                changes.start[shown] * MICRO,
                changes.change[shown] * MICRO,
                f"{direction.upper()} pulses",
                colour=colour,
            )
        )
        steps.append(_mean_changes(run, direction, [level for level, _ in levels(changes)], colour))
    told = f"Trains of {conductance.shape[-1] - 1} pulses on {len(conductance):,} cells: median and 5 to 95 %."
    changed = np.abs(np.concatenate([each.y for each in points]))
    reach = float(np.quantile(changed, 0.995)) if changed.size else 1.0
    y = Axis("change by one pulse (µS)", low=-reach, high=reach)
    return [
        Chart("Trains: median, 5 to 95 %", Axis("pulse of the train"), Axis("conductance (µS)", low=0.0), ramps, told),
        Chart(
            "Mean change by where a pulse starts",
            Axis("conductance before (µS)"),
            Axis("mean change by one pulse (µS)"),
            steps,
            "Mean change by one pulse, by conductance before.",
        ),
        Chart(
            "Single pulses",
            Axis("conductance before (µS)"),
            y,
            points,
            "Change by single pulses against the conductance before.",
        ),
    ]


def _mean_changes(run: Run, direction: str, starts: list[float], colour: str) -> Series:
    """With the intervals of the statistics, which know that pulses of one cell are not independent."""
    names = [named("step_mean", direction=direction, level=said(level, "S")) for level in starts]
    found = [(level, each) for level, name in zip(starts, names, strict=True) if (each := run.find(name))]
    values, low, high = (
        np.array([np.nan if part is None else part for part in parts], np.float64) * MICRO
        for parts in (
            [each.value for _, each in found],
            [each.low for _, each in found],
            [each.high for _, each in found],
        )
    )
    where = np.array([level for level, _ in found]) * MICRO
    return Series("line", where, values, direction.upper(), low, high, colour)
