"""Charts of what an associative chip is like: shift errors, margin of a search, retention; positions of nanowires."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis.characterisation.associative import Margin, flips, shift_errors, shift_errors_by_track
from labctl.analysis.figures.associative import MARGIN_POINTS
from labctl.analysis.report.charts.parts import BLUE, RED, Axis, Chart, Series, above_zero, estimates
from labctl.analysis.report.material import Run


def characterisation(run: Run) -> list[Chart]:
    assert run.measured is not None
    parts = {"displaced": _shifts, "matching": _margin, "flipped_bits": _retention}
    return [chart for name, part in parts.items() if name in run.measured for chart in part(run.measured)]


def alignment(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    offset = measured["offset"].values.astype(np.float64)
    edges = np.append(offset - 0.5, offset[-1] + 0.5)
    series = [
        Series("bars", edges, above_zero(measured[moment].values.sum(axis=0).astype(np.float64)), moment, colour=colour)
        for moment, colour in (("before", RED), ("after", BLUE))
    ]
    astray = [int(measured[moment].values[:, offset != 0].sum()) for moment in ("before", "after")]
    told = f"{astray[0]:,} nanowires astray before, {astray[1]:,} after."
    return [
        Chart(
            "Positions of the nanowires", Axis("domains ahead of the head"), Axis("nanowires", log=True), series, told
        )
    ]


def _shifts(measured: xr.Dataset) -> list[Chart]:
    both, by_track = shift_errors(measured), shift_errors_by_track(measured)
    track = measured["track"].values.astype(np.float64)
    series = [
        estimates(track, [each.over for each in by_track], "too far", BLUE),
        estimates(track, [each.under for each in by_track], "too short", RED),
    ]
    shares = [f"{each.value:.3g} ({each.low:.3g} to {each.high:.3g})" for each in (both.over, both.under)]
    told = f"Of single shifts of a nanowire {shares[0]} go one domain too far, {shares[1]} stay one short."
    return [Chart("Shift errors by track", Axis("track"), Axis("of shifts by one domain", low=0.0), series, told)]


def _margin(measured: xr.Dataset) -> list[Chart]:
    margin = Margin.of(measured)
    series = []
    fine = np.linspace(margin.threshold[0], margin.threshold[-1], MARGIN_POINTS)
    kinds = (("false misses", margin.misses, RED), ("false matches", margin.matches, BLUE))
    for label, found, colour in kinds:
        shares = above_zero(np.array([each.value for each in found]))
        series.append(Series("points", margin.threshold, shares, label, colour=colour))
    told = "Share of rows sensed wrong at each threshold."
    if margin.is_known:
        for curve, colour in ((margin.match.above(fine), RED), (margin.mismatch.below(fine), BLUE)):
            series.append(Series("line", fine, above_zero(curve), "", colour=colour))
        told += f" Fewest at {margin.best:.3f}, where {margin.wrong(margin.best):.2g} are expected."
    return [Chart("Rows sensed wrong", Axis("sense threshold"), Axis("share of rows", log=True), series, told)]


def _retention(measured: xr.Dataset) -> list[Chart]:
    found = flips(measured)
    time = np.array([time for time, *_ in found])
    series = [estimates(time, [share for _, share, _ in found], "", BLUE)]
    rate = found[-1][2]
    told = f"A cell flips {rate.value:.3g} times a second ({rate.low:.3g} to {rate.high:.3g})."
    x = Axis("since first read (s)", log=True)
    return [Chart("Bits that are not what they were", x, Axis("of bits", low=0.0), series, told)]
