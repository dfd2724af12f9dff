"""Charts of programming to targets, of the step of its ramps, and of what the steps of any run say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labctl.analysis import estimators
from labctl.analysis.report.charts.parts import (
    BLUE,
    GREEN,
    GREY,
    MICRO,
    RED,
    Axis,
    Chart,
    Series,
    estimates,
    histogram,
    shades,
    some,
    survival,
)
from labctl.analysis.report.content import Density
from labctl.analysis.report.material import Run, flags_of
from labctl.analysis.report.words import spoken

if TYPE_CHECKING:
    import xarray as xr

_MOST_LEVELS = 24
_GRID = 64
_MANY = 3000


def programming(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    target, reached = (measured[name].values.astype(np.float64) * MICRO for name in ("target", "reached"))
    success, pulses = measured["success"].values, measured["pulses"].values
    error = reached - target
    found = [
        _against_target(target, reached),
        _errors(error, success),
        *_convergence(run.group("steps")),
        _pulses([("all targeted cells", pulses, BLUE), ("cells in window", pulses[success], GREEN)]),
        _verifies(run),
    ]
    return [each for each in found if each]


def step_size(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    volts = np.round(measured["step_voltage"].values.astype(np.float64), 6)
    steps = np.unique(volts)
    pulses = [measured["pulses"].values[volts == step] for step in steps]
    success = [measured["success"].values[volts == step] for step in steps]
    x = Axis("step of the amplitude (mV)", low=0.0)
    cost = [
        estimates(steps * 1e3, [estimators.mean(each) for each in pulses], "mean", BLUE),
        estimates(steps * 1e3, [estimators.median(each) for each in pulses], "median", GREEN),
        estimates(steps * 1e3, [estimators.quantile(each, 0.95) for each in pulses], "95 % within", RED),
    ]
    share = [estimators.fraction(int(each.sum()), len(each)) for each in success]
    told = "; ".join(f"{step * 1e3:.3g} mV: {each.value:.2%}" for step, each in zip(steps, share, strict=True))
    tails = [
        (f"{step * 1e3:.3g} mV", each, colour)
        for step, each, colour in zip(steps, pulses, shades(len(steps)), strict=True)
    ]
    found = [
        Chart(
            "Cost of a cell by step, 95 % intervals",
            x,
            Axis("pulses a cell", log=True),
            cost,
            "Pulses a cell by step of the amplitude.",
        ),
        Chart(
            "Success by step, 95 % intervals",
            x,
            Axis("cells in window (%)"),
            [estimates(steps * 1e3, share, "", BLUE, 100)],
            f"In window: {told}.",
        ),
        _pulses(tails),
    ]
    return [each for each in found if each]


def steps(run: Run) -> list[Chart]:
    """Every scalar of the steps that stand, over the steps."""
    table = run.group("steps")
    found = []
    for name, each in table.data_vars.items():
        if each.dims != ("step",) or each.dtype.kind not in "fiu" or flags_of(each) or name == "first_operation":
            continue
        values = np.where(run.recording.is_current, each.values.astype(np.float64), np.nan)
        if np.count_nonzero(np.isfinite(values)) < 2:
            continue
        unit = str(each.attrs.get("units", "1"))
        scale, shown = (MICRO, "µS") if unit == "S" else (1.0, unit)
        label = f"{spoken(str(name))} ({shown})" if shown not in ("", "1") else spoken(str(name))
        shown_steps = np.flatnonzero(np.isfinite(values))
        line = Series("line", shown_steps.astype(np.float64), values[shown_steps] * scale, "", colour=BLUE)
        told = f"{each.attrs.get('long_name', name)} over {len(values)} steps."
        found.append(
            Chart(str(each.attrs.get("long_name", spoken(str(name)))), Axis("step"), Axis(label), [line], told)
        )
    return found


def _against_target(target: np.ndarray, reached: np.ndarray) -> Chart | None:
    known = np.isfinite(target) & np.isfinite(reached)
    target, reached = target[known], reached[known]
    if not target.size:
        return None
    x, y = Axis("target (µS)"), Axis("reached (µS)")
    ends = np.array([target.min(), target.max()])
    ideal = Series("line", ends, ends, "reached = target", colour="#000000", dashed=True)
    levels = np.unique(np.round(target, 3))
    told = f"Reached against target, {target.size:,} cells; correlation {_correlation(target, reached)}."
    if len(levels) <= _MOST_LEVELS and len(target) >= 8 * len(levels):
        parts = [reached[np.round(target, 3) == level] for level in levels]
        low, middle, high = np.array([np.quantile(each, [0.05, 0.5, 0.95]) for each in parts]).T
        points = Series("points", levels, middle, "median, 5 to 95 % of a level", low, high, BLUE)
        return Chart("Reached by level", x, y, [ideal, points], told)
    if len(target) > _MANY:
        counts, x_edges, y_edges = np.histogram2d(target, reached, bins=_GRID)
        grid = Density(x_edges, y_edges, counts.T.astype(np.int64))
        return Chart("Reached against target (darker: more cells, logarithmic)", x, y, [ideal], told, grid)
    shown = some(len(target))
    points = Series("points", target[shown], reached[shown], "cells", colour=BLUE)
    return Chart("Reached against target", x, y, [ideal, points], told)


def _correlation(target: np.ndarray, reached: np.ndarray) -> str:
    if np.ptp(target) == 0 or np.ptp(reached) == 0:
        return "not defined"
    return f"{np.corrcoef(target, reached)[0, 1]:.4f}"


def _errors(error: np.ndarray, success: np.ndarray) -> Chart | None:
    inside = error[success & np.isfinite(error)]
    if not inside.size:
        return histogram(error, "reached − target (µS)", "Error")
    title = f"Error of cells in window: RMS {np.sqrt(np.mean(inside**2)):.3f} µS, mean {inside.mean():+.3f} µS"
    return histogram(inside, "reached − target (µS)", title)


def _convergence(table: xr.Dataset) -> list[Chart]:
    """Cells in window and RMS error as the pulses add up."""
    if not {"pulses", "in_window", "rms_error"} <= set(table):
        return []
    pulses = np.nan_to_num(table["pulses"].values.astype(np.float64))
    going = pulses > 0
    if np.count_nonzero(going) < 2:
        return []
    total, inside = np.cumsum(pulses)[going], table["in_window"].values.astype(np.float64)[going]
    error = table["rms_error"].values.astype(np.float64)[going] * MICRO
    x = Axis("SET and RESET pulses so far", low=0.0)
    told = f"Cells in window rise to {np.nanmax(inside):,.0f} over {total[-1]:,.0f} pulses."
    fell = (
        f"RMS error falls from {np.nanmax(error):.3g} to {error[-1]:.3g} µS."
        if np.isfinite(error).any()
        else "No errors known."
    )
    return [
        Chart(
            "Convergence: cells in window",
            x,
            Axis("cells in window", low=0.0),
            [Series("line", total, inside, "", colour=GREEN)],
            told,
        ),
        Chart(
            "Convergence: error",
            x,
            Axis("RMS error (µS)", low=0.0),
            [Series("line", total, error, "", colour=RED)],
            fell,
        ),
    ]


def _pulses(groups: list[tuple[str, np.ndarray, str]]) -> Chart | None:
    """How many cells took more pulses than so many: a long tail shows as a slow fall."""
    drawn = [made for label, values, colour in groups if (made := survival(values[values > 0], label, colour))]
    if not drawn:
        return None
    first = groups[0][1]
    within = f"99 % within {np.nanquantile(first, 0.99):.0f}, most {np.nanmax(first):.0f}"
    told = f"Pulses a cell: median {np.nanmedian(first):.0f}, {within}."
    x, y = Axis("pulses", log=True), Axis("cells that took more (%)", log=True, high=100.0)
    return Chart("Pulses a cell, of cells that were pulsed", x, y, drawn, told)


def _verifies(run: Run) -> Chart | None:
    """Of the later reads: how many of the cells read were still in window."""
    told = run.summary.summary.get("verifies")
    rows = [each for each in told if isinstance(each, dict) and each.get("cells")] if isinstance(told, list) else []
    if len(rows) < 2:
        return None
    share = [estimators.fraction(int(each["in_window"]), int(each["cells"])) for each in rows]
    after = [float(each["after_s"]) for each in rows]
    text = "; ".join(f"{each.value:.2%} after {time:g} s" for each, time in zip(share, after, strict=True))
    line = estimates(after, share, "", GREY, 100)
    return Chart(
        "Still in window when read again, before programming anew",
        Axis("time since programming (s)"),
        Axis("cells (%)"),
        [line],
        f"Still in window: {text}.",
    )
