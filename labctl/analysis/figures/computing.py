"""The figures of what an associative array computed: arithmetic beside numpy's, a network beside software."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from labctl.analysis import estimators
from labctl.analysis.characterisation.computing import WAYS, counters
from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.figures import judgements
from labctl.analysis.figures.panels import BLUE, GREEN, GREY, RED, with_interval

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    Panel = Callable[[Axes, xr.Dataset], None]

_PANEL = (5.6, 4.6)  # inches
_DONE = ("searches", "writes", "shifts", "checks", "realignments", "loaded_columns", "read_columns")
"""Counters of what was done once each; the others are of how many columns or rows at a time."""
PPM = 1e6
_LETTERS = 48
"""Of names beside one another below a panel."""


def draw_selftest(measured: xr.Dataset) -> Figure:
    panels = [_wrong_by_kind, _seconds, _done] if measured["operations"].values.any() else [_done]
    if "wrong_bits" in measured and (measured["wrong_bits"].values > 0).any():
        panels.insert(1, _wrong_bits)
    return _drawn(panels, measured)


def draw_inference(measured: xr.Dataset) -> Figure:
    panels: list[Panel] = [_wrong_by_layer, _layer_seconds, _done]
    if "confusion" in measured:
        panels.insert(0, judgements.confusion)
    if measured.attrs["samples"]:
        panels.insert(0, _beside)
    if "layer_operations" in measured:
        panels.append(_additions)
    return _drawn(panels, measured)


def _drawn(panels: Sequence[Panel], measured: xr.Dataset) -> Figure:
    """In one row, or of many in two."""
    rows = 1 if len(panels) <= 4 else 2
    columns = -(-len(panels) // rows)
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        panel(axis, measured)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure


def _wrong_by_kind(axis: Axes, measured: xr.Dataset) -> None:
    wrong, of = measured["mismatches"].values, measured["operations"].values
    _shares(axis, measured["kind"].values, wrong, of)
    axis.set_title(f"{int(wrong.sum()):,} of {int(of.sum()):,} operations wrong")


def _wrong_by_layer(axis: Axes, measured: xr.Dataset) -> None:
    wrong, of = measured["layer_sums_mismatched"].values, measured["layer_sums"].values
    _shares(axis, measured["layer_name"].values, wrong, of)
    axis.set_title(f"{int(wrong.sum()):,} of {int(of.sum()):,} sums wrong")


def _shares(axis: Axes, names: np.ndarray, wrong: np.ndarray, of: np.ndarray) -> None:
    """Of each kind the share that is wrong, with what it may be at most where none was."""
    done = np.flatnonzero(of)
    found = [estimators.fraction(int(wrong[each]), int(of[each])) for each in done]
    with_interval(axis, done, found, PPM, color=RED if wrong.any() else BLUE, marker="o", linestyle="")
    _named(axis, names)
    axis.set(ylabel="wrong, of a million (95 % interval)")
    axis.set_ylim(bottom=0)
    axis.margins(x=0.1)


def _named(axis: Axes, names: np.ndarray) -> None:
    """Names below, upright where they would run into one another."""
    told = [str(each).replace("_", " ") for each in names]
    upright = sum(len(each) for each in told) > _LETTERS
    axis.set_xticks(range(len(told)), told, fontsize=9, rotation=90 if upright else 0)


def _wrong_bits(axis: Axes, measured: xr.Dataset) -> None:
    """Where in a result errors are: a wrong carry spoils all bits above it."""
    for name, row, of in zip(
        measured["kind"].values, measured["wrong_bits"].values, measured["operations"].values, strict=True
    ):
        if of and (row > 0).any():
            axis.plot(np.flatnonzero(row >= 0), row[row >= 0] / of * PPM, ".-", label=str(name))
    axis.set(xlabel="bit of the result, from the lowest", ylabel="wrong, of a million", title="wrong bits")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, -0.14), ncol=4, frameon=False)


def _seconds(axis: Axes, measured: xr.Dataset) -> None:
    programs = np.maximum(measured["operations"].values / measured.attrs["rows"], 1)
    seconds = measured["board_seconds"].values / programs
    axis.bar(range(len(seconds)), seconds * 1e6, color=BLUE)
    _named(axis, measured["kind"].values)
    axis.set(ylabel="time of the board (µs)", title=f"an operation of {measured.attrs['bits']} bits, all rows at once")


def _layer_seconds(axis: Axes, measured: xr.Dataset) -> None:
    seconds = measured["layer_board_seconds"].values
    axis.bar(range(len(seconds)), seconds * 1e3, color=BLUE)
    _named(axis, measured["layer_name"].values)
    axis.set(ylabel="time of the board (ms)", title="time of the layers' programs")


def _done(axis: Axes, measured: xr.Dataset) -> None:
    """What the array did, on a logarithmic scale, as it differs by orders of magnitude."""
    found = {name: value for name, value in counters(measured).items() if name in _DONE and value}
    names = list(reversed(found))
    axis.barh([name.replace("_", " ") for name in names], [found[name] for name in names], color=GREY)
    axis.set_xscale("log")
    for place, name in enumerate(names):
        axis.annotate(f" {found[name]:,}", (found[name], place), ha="left", va="center", fontsize=8)
    axis.margins(x=0.2)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(title="what the array did", xlabel="times")


def _additions(axis: Axes, measured: xr.Dataset) -> None:
    """Of each layer before and after common subexpressions are shared."""
    places = np.arange(measured.sizes["of_layer"])
    axis.bar(places - 0.2, measured["layer_operations_without_cse"].values, 0.4, color=GREY, label="without sharing")
    axis.bar(places + 0.2, measured["layer_operations"].values, 0.4, color=GREEN, label="as run")
    _named(axis, measured["layer_name"].values)
    axis.set(ylabel="additions and subtractions", title="additions of a layer")
    axis.legend(frameon=False, fontsize=9)


def _beside(axis: Axes, measured: xr.Dataset) -> None:
    ways = [
        (called, share_right(measured, float(measured.attrs[f"accuracy_{way}"])))
        for way, called in WAYS.items()
        if f"accuracy_{way}" in measured.attrs
    ]
    judgements.stacked(axis, ways, {WAYS["chip"]}, 100.0, 2)
    axis.set(xlabel="test images right (%)", title="beside software")
