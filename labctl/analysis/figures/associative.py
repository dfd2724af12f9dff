"""The figures of an associative chip: errors of shifts, margin of a search, yield, retention, positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from labctl.analysis import estimators
from labctl.analysis.characterisation.associative import Margin, flips, shift_errors, shift_errors_by_track, stride_of
from labctl.analysis.characterisation.statistic import quantity
from labctl.analysis.figures.panels import BLUE, GREEN, GREY, RED, note, with_interval

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_PANEL = (6.5, 4.3)  # inches
_COLUMNS = 2
MARGIN_POINTS = 400
"""Of a fitted curve."""

_RARE = 0.5  # of one in all that were tried: where nothing was seen, on a logarithmic axis


def draw(measured: xr.Dataset) -> Figure:
    """The figure of an `associative-characterisation` measurement: two panels a kind that was measured."""
    kinds = {
        "displaced": (_displaced, _by_track),
        "matching": (_swept, _tails),
        "sound_writes": (_written, _stuck),
        "flipped_bits": (_flipped, _rates),
    }
    rows = [panels for name, panels in kinds.items() if name in measured]
    figure = Figure(figsize=(_PANEL[0] * _COLUMNS, _PANEL[1] * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), _COLUMNS, squeeze=False)
    for row, panels in zip(axes, rows, strict=True):
        for axis, panel in zip(row, panels, strict=True):
            panel(axis, measured)
    return figure


def draw_alignment(measured: xr.Dataset) -> Figure:
    """The figure of an `associative-alignment` measurement."""
    figure = Figure(figsize=(_PANEL[0] * _COLUMNS, _PANEL[1]), layout="constrained")
    left, right = figure.subplots(1, _COLUMNS)
    offset = measured["offset"].values
    for shift, moment, colour in ((-0.2, "before", RED), (0.2, "after", BLUE)):
        left.bar(offset + shift, measured[moment].values.sum(axis=0), 0.4, color=colour, label=moment)
        astray = measured[moment].values[:, offset != 0].sum(axis=1)
        right.plot(measured["track"].values, astray, ".", color=colour, label=f"{moment}: {int(astray.sum()):,}")
    left.set_yscale("symlog", linthresh=1)
    left.set(xlabel="domains ahead of the head", ylabel="nanowires", title="positions of the nanowires", ylim=(0, None))
    right.set_yscale("symlog", linthresh=1)
    right.set(xlabel="track", ylabel="nanowires", title="nanowires astray, by track", ylim=(0, None))
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=9)
    return figure


# -- shift errors -----------------------------------------------------------------------------------------------------


def _displaced(axis: Axes, measured: xr.Dataset) -> None:
    """What was counted beside what the estimated rates give."""
    counts, stride = measured["displaced"].values.sum(axis=0), stride_of(measured)
    displacement = measured["displacement"].values
    for shift, row, colour, label in zip((-0.2, 0.2), counts, (BLUE, GREEN), ("up", "down"), strict=True):
        axis.bar(displacement + shift, row, 0.4, color=colour, label=f"{label}, {int(row.sum()):,} strides")
    both = shift_errors(measured)
    shares = estimators.ended_shares(both.over.value, both.under.value, stride, len(displacement))
    expected = shares * counts.sum() / len(counts)
    seen = expected > _RARE / 10
    axis.plot(displacement[seen], expected[seen], "D", color=RED, fillstyle="none", label="as the rates give")
    axis.set_yscale("log")
    axis.set(
        xlabel=f"domains too far after {stride} shifts",
        ylabel="strides of nanowires",
        title="where strides ended",
        ylim=(_RARE, None),
    )
    axis.legend(frameon=False, fontsize=9)


def _by_track(axis: Axes, measured: xr.Dataset) -> None:
    both, by_track = shift_errors(measured), shift_errors_by_track(measured)
    place = np.arange(len(by_track))
    for shift, found, whole, colour, label in (
        (-0.1, [each.over for each in by_track], both.over, BLUE, "too far"),
        (0.1, [each.under for each in by_track], both.under, RED, "too short"),
    ):
        with_interval(axis, place + shift, found, color=colour, marker="o", linestyle="", label=label)
        axis.axhline(whole.value, color=colour, linewidth=0.8)
    axis.set_xticks(place, [str(each) for each in measured["track"].values])
    axis.set(xlabel="track", ylabel="of shifts by one domain", title="shift errors of nanowires (95 %)", ylim=(0, None))
    axis.legend(frameon=False, fontsize=9)


# -- search margin ----------------------------------------------------------------------------------------------------


def _swept(axis: Axes, measured: xr.Dataset) -> None:
    margin = Margin.of(measured)
    fine = np.linspace(margin.threshold[0], margin.threshold[-1], MARGIN_POINTS)
    for found, colour, label in ((margin.misses, RED, "false misses"), (margin.matches, BLUE, "false matches")):
        axis.plot(margin.threshold, [each.value for each in found], "o", markersize=4, color=colour, label=label)
    if margin.is_known:
        axis.plot(fine, margin.match.above(fine), color=RED, linewidth=0.8)
        axis.plot(fine, margin.mismatch.below(fine), color=BLUE, linewidth=0.8)
    axis.set(
        xlabel="sense threshold (one mismatch: 1)",
        ylabel="share of rows",
        title="rows sensed wrong",
        ylim=(0, None),
    )
    axis.legend(frameon=False, fontsize=9)


def _tails(axis: Axes, measured: xr.Dataset) -> None:
    """The same with a logarithmic axis, on which the fits go on to where nothing was seen."""
    margin = Margin.of(measured)
    fine = np.linspace(margin.threshold[0], margin.threshold[-1], MARGIN_POINTS)
    for found, colour in ((margin.misses, RED), (margin.matches, BLUE)):
        seen = [place for place, each in enumerate(found) if each.value > 0]
        with_interval(
            axis,
            margin.threshold[seen],
            [found[place] for place in seen],
            color=colour,
            marker="o",
            markersize=4,
            linestyle="",
        )
    if margin.is_known:
        curves = [margin.match.above(fine), margin.mismatch.below(fine)]
        for curve, colour in zip(curves, (RED, BLUE), strict=True):
            axis.plot(fine, curve, color=colour, linewidth=0.8)
        axis.axvline(margin.best, color=GREY, linestyle=":")
        least = margin.wrong(margin.best)
        axis.set_ylim(max(least / 30, 1e-30), 2)
        told = (
            f"best threshold {margin.best:.3f}: {least:.2g} expected\nmargin {margin.sigmas:.3g} of the sum of both sd"
        )
        note(axis, told, (0.28, 0.97))
    axis.set_yscale("log")
    axis.set(xlabel="sense threshold (one mismatch: 1)", ylabel="share of rows", title="and on to what is rare")


# -- yield ------------------------------------------------------------------------------------------------------------


def _written(axis: Axes, measured: xr.Dataset) -> None:
    """Share of writes and reads that went wrong; where none did, the upper end of the interval alone."""
    ways = zip(*(measured[name].values for name in ("way", "failed_writes", "sound_writes")), strict=True)
    found = [(f"written, {way}", estimators.fraction(int(failed), int(of))) for way, failed, of in ways]
    bits, misread = measured["read_bits"].values.tolist()
    found.append(("read", estimators.fraction(misread, bits)))
    for place, (_, each) in enumerate(found):
        if each.value:
            with_interval(axis, [place], [each], color=BLUE, marker="o", linestyle="")
        else:
            axis.plot(place, each.high, "v", color=BLUE)
            axis.annotate("none seen: below", (place, each.high), (0, 8), textcoords="offset points", ha="center")
    axis.set_yscale("log")
    axis.set_xticks(range(len(found)), [name for name, _ in found])
    axis.set_xlim(-0.5, len(found) - 0.5)
    axis.margins(y=0.3)
    axis.set(ylabel="of bits", title="errors of writes and reads (95 %)")


def _stuck(axis: Axes, measured: xr.Dataset) -> None:
    stuck, cells = measured["stuck"].values, measured["cells"].values
    axis.bar(np.arange(len(stuck)), stuck, color=GREY)
    taken = estimators.fraction(int(cells.sum() - stuck.sum()), int(cells.sum()))
    note(axis, f"yield {taken.value:.6%} of {taken.n:,} cells")
    axis.set(xlabel="column measured", ylabel="cells", title="cells that hold one bit only")
    axis.set_ylim(0, max(1.0, 1.3 * float(stuck.max())))


# -- retention --------------------------------------------------------------------------------------------------------


def _flipped(axis: Axes, measured: xr.Dataset) -> None:
    found = [(time, share) for time, share, _ in flips(measured)]
    _over_time(axis, found, "of bits", "bits that are not what they were (95 %)")


def _rates(axis: Axes, measured: xr.Dataset) -> None:
    found = [(time, rate) for time, _, rate in flips(measured)]
    _over_time(axis, found, "flips of a cell (1/s)", "rate of flips, by each read (95 %)")
    time, rate = found[-1]
    note(axis, f"{rate.value:.3g} per s after {quantity(time, 's')}, {rate.low:.3g} to {rate.high:.3g}", (0.3, 0.97))


def _over_time(axis: Axes, found: list[tuple[float, estimators.Estimate]], label: str, title: str) -> None:
    """Where nothing was seen, the upper end of the interval."""
    seen = [(time, each) for time, each in found if each.value > 0]
    if seen:
        with_interval(
            axis, [time for time, _ in seen], [each for _, each in seen], color=BLUE, marker="o", linestyle=""
        )
    none = [(time, each.high) for time, each in found if not each.value]
    if none:
        axis.plot(*np.array(none).T, "v", color=GREY, label="none seen: below")
        axis.legend(frameon=False, fontsize=9)
    axis.set(xscale="log", yscale="log", xlabel="since first read (s)", ylabel=label, title=title)
