"""Panels of how training a pruned network went: loss, accuracy, edges that flipped, cells that were switched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.figures.panels import BLUE, GREY, LEVEL_COLOURS, RED, note, with_interval

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

MOST_NAMED = 8
"""Layers that have names beside their colours; of more, the first is dark and the last is light."""


def layer_colours(count: int) -> Any:
    """In the order of the layers."""
    return mpl.colormaps[LEVEL_COLOURS](np.linspace(0, 0.85, max(count, 1)))


def loss(axis: Axes, measured: xr.Dataset) -> None:
    axis.plot(measured["epoch"].values, measured["loss"].values, ".-", color=BLUE)
    axis.set(ylabel="mean cross entropy", title="loss of each epoch's batches", ylim=(0, None))
    along_epochs(axis, "epoch")


def accuracy(axis: Axes, measured: xr.Dataset) -> None:
    """While learning, by the last readings, and in the end on the board."""
    epoch = measured["epoch"].values
    while_learning = measured["accuracy_train"].values * 100
    if np.isfinite(while_learning).any():
        axis.plot(epoch, while_learning, "--", color=GREY, label="training samples, while learning")
    axis.plot(epoch, measured["accuracy_software"].values * 100, ".-", color=BLUE, label="test samples, in software")
    on_board = measured.attrs.get("accuracy_board")
    if on_board is not None:
        estimate = share_right(measured, on_board)
        with_interval(axis, epoch[-1:], [estimate], 100, color=RED, marker="D", linestyle="", label="on the board")
    axis.set(ylabel="accuracy (%)", title="accuracy")
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    along_epochs(axis, "epoch")


def edges(axis: Axes, measured: xr.Dataset) -> None:
    """Flipped at each synchronisation, and held back by hysteresis."""
    at = measured["synchronised_at"].values
    for name, style, colour in (("pruned", "v-", RED), ("reinstated", "^--", BLUE), ("held", "o:", GREY)):
        label = "held by hysteresis" if name == "held" else name
        filled = "none" if name == "reinstated" else "full"
        values = measured[f"edges_{name}"].values
        axis.plot(at, values, style, color=colour, markersize=6, fillstyle=filled, label=label)
    axis.set_yscale("symlog", linthresh=1)
    axis.set(ylabel="edges", title="edges that flipped at a synchronisation", ylim=(0, None))
    axis.legend(frameon=False, fontsize=9)
    along_epochs(axis, "epochs of training")


def switched(axis: Axes, measured: xr.Dataset) -> None:
    """Cells switched each time, as a share of their layer."""
    share = measured["switched_of_layer"].values / cells_of_layers(measured) * 100
    verifying = measured["verifying"].values
    _by_layer(axis, measured.isel(synchronisation=~verifying), share[~verifying])
    at, colours = measured["synchronised_at"].values[verifying], layer_colours(share.shape[1])
    for column, colour in zip(share[verifying].T, colours, strict=True):
        axis.plot(at, column, "D", color=colour, markersize=6, fillstyle="none")
    axis.set_yscale("symlog", linthresh=0.1)
    told = "\nat 0: masks by chance" + ("; diamonds: verified after rest" if verifying.any() else "")
    axis.set(ylabel="of the layer's cells (%)", ylim=(0, None))
    axis.set_title(f"cells switched at a synchronisation{told}", fontsize=10)


def switches_per_cell(axis: Axes, measured: xr.Dataset) -> None:
    """What endurance it has cost: added up, over the cells of each layer."""
    counts, cells = measured["switched_of_layer"].values, cells_of_layers(measured)
    _by_layer(axis, measured, np.cumsum(counts, axis=0) / cells)
    total = np.cumsum(counts.sum(axis=1)) / cells.sum()
    axis.plot(measured["synchronised_at"].values, total, "k--", label=f"all: {total[-1]:.3g} in the end")
    axis.set(ylabel="RESETs and SETs a cell", ylim=(0, None), title="switches a cell so far")
    axis.legend(frameon=False, fontsize=9)


def cells_of_layers(measured: xr.Dataset) -> np.ndarray:
    """(layers,) how many there are."""
    return np.bincount(measured["layer"].values, minlength=measured.sizes["of_layer"])


def _by_layer(axis: Axes, measured: xr.Dataset, values: np.ndarray) -> None:
    """(synchronisations, layers) `values`, a line a layer."""
    names = measured["layer_name"].values
    at = measured["synchronised_at"].values
    for name, column, colour in zip(names, values.T, layer_colours(len(names)), strict=True):
        axis.plot(at, column, ".-", color=colour, label=name if len(names) <= MOST_NAMED else None)
    if len(names) <= MOST_NAMED:
        axis.legend(frameon=False, fontsize=9)
    else:
        note(axis, "dark: first layer, light: last", (0.3, 0.97))
    along_epochs(axis, "epochs of training")


def along_epochs(axis: Axes, label: str) -> None:
    """Whole numbers on the axis, also where there is one only."""
    low, high = axis.dataLim.intervalx
    if np.isfinite(low) and high - low < 1:  # of one epoch there is no line
        axis.set_xlim(low - 0.5, high + 0.5)
    axis.set_xlabel(label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
