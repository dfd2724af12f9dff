"""Panels of how a network learnt on the array: beside other ways, what it cost so far, and what drift takes from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import EngFormatter

from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.training import BOARD, update_sparsity, ways, what_is_right
from labctl.analysis.figures.judgements import stacked
from labctl.analysis.figures.panels import BLUE, GREEN, GREY, RED, with_interval
from labctl.analysis.figures.training import MOST_NAMED, along_epochs, layer_colours

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

WAY_COLOURS = (RED, "#000000", BLUE, GREEN, "#e07a1f")
"""Of the board, and of the others in the order that a run has them."""


EARLIEST = 1e-3
"""s, where 0 stands on a logarithmic axis."""


def accuracy(axis: Axes, measured: xr.Dataset) -> None:
    """After each epoch, on the board and beside; the board's last with its interval."""
    epoch, found = measured["epoch"].values, ways(measured)
    for way, colour in zip(found, way_colours(len(found)), strict=True):
        own = way.name == BOARD
        style: dict[str, Any] = {
            "marker": "D" if own else ".",
            "linestyle": "-" if own else "--",
            "zorder": 3 if own else 2,
        }
        if np.isfinite(way.curve).any():
            axis.plot(epoch, way.curve * 100, color=colour, markersize=4, label=way.name, **style)
        if own:
            with_interval(axis, epoch[-1:], [way.final], 100, color=colour, linestyle="")
    axis.set(ylabel=f"{what_is_right(measured)} (%)", title="accuracy")
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    along_epochs(axis, "epoch")


def way_colours(count: int) -> list[str]:
    return [*WAY_COLOURS[:count], *([GREY] * (count - len(WAY_COLOURS)))]


def beside(axis: Axes, measured: xr.Dataset) -> None:
    """What each reached in the end."""
    stacked(axis, [(way.name, way.final) for way in ways(measured)], {BOARD}, 100.0, 2)
    axis.set(xlabel=f"{what_is_right(measured)} (%)", title="in the end, beside other ways")


def bits(axis: Axes, measured: xr.Dataset) -> None:
    """Of text: what a character still takes."""
    axis.plot(measured["epoch"].values, measured["bits_per_char"].values, "D-", color=RED, markersize=4, label=BOARD)
    in_float = measured.attrs.get("bits_per_char_float")
    if in_float is not None:
        axis.axhline(in_float, color="black", linestyle="--", label="in float32, in the end")
    axis.set(ylabel="bits a character", title="test text")
    axis.legend(frameon=False, fontsize=8)
    along_epochs(axis, "epoch")


def loss(axis: Axes, measured: xr.Dataset) -> None:
    known = np.isfinite(measured["stretch_loss"].values)
    axis.plot(measured["images"].values[known], measured["stretch_loss"].values[known], color=BLUE)
    axis.set(ylabel="mean loss of the epoch so far", title="loss while learning", ylim=(0, None))
    _samples(axis)


def sparsity(axis: Axes, measured: xr.Dataset) -> None:
    """Of the weights, in each batch, those that had a pulse: few."""
    share = 1 - measured["stretch_sparsity"].values
    known = np.isfinite(share)
    axis.plot(measured["images"].values[known], np.where(share > 0, share, np.nan)[known] * 100, color=BLUE)
    told = update_sparsity(measured)
    axis.set(ylabel="weights with a pulse, a batch (%)", yscale="log")
    axis.set_title("update sparsity" + ("" if told is None else f": {told * 100:.6g} % without"))
    _samples(axis)


def pulses_so_far(axis: Axes, measured: xr.Dataset) -> None:
    """What training has cost, a device."""
    images, devices = measured["images"].values, measured.sizes["cell"]
    for name, colour, style in (("pulses", BLUE, "-"), ("resets", RED, "--")):
        total = np.nancumsum(measured[f"stretch_{name}"].values) / devices
        label = f"{'SET' if name == 'pulses' else 'RESET'}: {total[-1] if len(total) else 0:.3g} in the end"
        axis.plot(images, np.where(total > 0, total, np.nan), style, color=colour, label=label)
    axis.set(ylabel="pulses a device", title="pulses so far, mean over devices", yscale="log")
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    _samples(axis)


def drift(axis: Axes, measured: xr.Dataset) -> None:
    """Accuracy over time with nothing done, with one factor a layer against drift and without."""
    time = measured["rest"].values
    for name, label, colour, mark in (
        ("compensated", "with drift compensation", BLUE, "D"),
        ("after", "without", RED, "o"),
    ):
        found = [share_right(measured, float(each)) for each in measured[f"accuracy_{name}"].values]
        with_interval(axis, np.maximum(time, EARLIEST), found, 100, color=colour, marker=mark, label=label)
    axis.set(
        xscale="log",
        xlabel="time after training (s)",
        ylabel=f"{what_is_right(measured)} (%)",
        title="accuracy over drift",
    )
    axis.margins(y=0.15)
    axis.legend(frameon=False, fontsize=9, loc="best")


def compensation(axis: Axes, measured: xr.Dataset) -> None:
    """The factor of each layer."""
    names, time = measured["layer_name"].values, np.maximum(measured["rest"].values, EARLIEST)
    for name, column, colour in zip(names, measured["compensation"].values.T, layer_colours(len(names)), strict=True):
        axis.plot(time, column, ".-", color=colour, label=str(name) if len(names) <= MOST_NAMED else None)
    axis.set(xscale="log", xlabel="time after training (s)", ylabel="factor", title="compensation of drift")
    if len(names) <= MOST_NAMED:
        axis.legend(frameon=False, fontsize=9)


def _samples(axis: Axes) -> None:
    axis.set(xlabel="samples seen")
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
