"""Charts of what an associative array computed: how often its sums are wrong, and where in a result."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis import estimators
from labctl.analysis.characterisation.computing import WAYS
from labctl.analysis.figures.computing import PPM
from labctl.analysis.report.charts.parts import BLUE, GREY, RED, Axis, Chart, Series, estimates, shades
from labctl.analysis.report.material import Run


def selftest(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    names = [str(each) for each in measured["kind"].values]
    of = measured["operations"].values
    found = [_wrong(names, measured["mismatches"].values, of, "operations", "kind")] if of.any() else []
    if "wrong_bits" in measured and (measured["wrong_bits"].values > 0).any():
        found.append(_bits(measured, names))
    return found


def inference(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    names = [str(each) for each in measured["layer_name"].values]
    wrong, of = (measured[f"layer_{name}"].values for name in ("sums_mismatched", "sums"))
    return [_wrong(names, wrong, of, "sums", "layer"), *_groups(measured)]


def _wrong(names: list[str], wrong: np.ndarray, of: np.ndarray, what: str, by: str) -> Chart:
    """Each share with its interval: where none was wrong, up to what it may be."""
    done = np.flatnonzero(of)
    found = [estimators.fraction(int(wrong[place]), int(of[place])) for place in done]
    points = [
        estimates([place + 1.0], [each], f"{place + 1} {names[place]}", colour, PPM)
        for place, each, colour in zip(done, found, shades(len(done)), strict=True)
    ]
    told = ", ".join(f"{names[place]} {int(wrong[place]):,} of {int(of[place]):,}" for place in done)
    title = f"Wrong {what}, of a million"
    if len(points) == 1:  # a legend of one is not shown
        by = f"{by}: {points[0].label}"
    return Chart(title, Axis(by), Axis("wrong, of a million", low=0.0), points, f"{told}.")


def _bits(measured: xr.Dataset, names: list[str]) -> Chart:
    counts, of = measured["wrong_bits"].values, np.maximum(measured["operations"].values, 1)
    bits = np.arange(counts.shape[1], dtype=np.float64)
    colours = shades(len(names))
    series = [
        Series("line", bits[row >= 0], row[row >= 0] / each * PPM, name, colour=colour)
        for name, row, each, colour in zip(names, counts, of, colours, strict=True)
    ]
    told = "How often each bit of a result was wrong, from the lowest; a wrong carry spoils those above it."
    return Chart("Wrong bits of results", Axis("bit of the result"), Axis("wrong, of a million", low=0.0), series, told)


def _groups(measured: xr.Dataset) -> list[Chart]:
    """How accuracy came together, group after group: of one there is no line."""
    samples = measured["samples"].values.astype(np.float64)
    if len(samples) < 2:
        return []
    series = []
    for way, colour in zip(WAYS, (RED, BLUE, GREY), strict=True):
        if f"right_{way}" not in measured:
            continue
        share = np.cumsum(measured[f"right_{way}"].values) / samples * 100
        series.append(Series("line", samples, share, WAYS[way], colour=colour, dashed=way != "chip"))
    told = f"Share of the images so far that are right: {series[0].y[-1]:.4g} % on the chip in the end."
    return [Chart("Accuracy so far", Axis("test images"), Axis("right (%)"), series, told)]
