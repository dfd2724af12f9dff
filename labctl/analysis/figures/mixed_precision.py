"""The figure of a network trained on the array: how it learnt, what that did to the devices, what it makes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labctl.analysis.figures import accounts, generated, judgements, learning_curves, network_cells, updates
from labctl.analysis.figures.panels import aspect_of
from labctl.analysis.figures.training import MOST_NAMED

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    Panel = Callable[[Axes, xr.Dataset], None]

_COLUMNS = 4
_PANEL = (4.6, 4.1)  # inches
_HEIGHTS = {"panels": 1.0, "maps": 0.75, "below": 0.5}  # of a panel's


def draw(measured: xr.Dataset) -> Figure:
    """The figure of a `training` measurement; below, over all columns, maps and what the network makes.

    Each row is laid out for itself: long names in one would push all others aside.
    """
    panels, below = _panels(measured), _below(measured)
    rows = [("panels", panels[place : place + _COLUMNS]) for place in range(0, len(panels), _COLUMNS)]
    rows += [("maps", list(_MAPS)), *(("below", [panel]) for panel in below)]
    heights = [_HEIGHTS[kind] for kind, _ in rows]
    figure = Figure(figsize=(_PANEL[0] * _COLUMNS, _PANEL[1] * sum(heights)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (kind, row) in zip(parts, rows, strict=True):
        axes = part.subplots(1, _COLUMNS if kind == "panels" else len(row), squeeze=False)[0]
        for axis, panel in zip(axes, row, strict=False):
            panel(axis, measured)
        for axis in axes[len(row) :]:
            axis.set_axis_off()
    return figure


def _around_network(axis: Axes, measured: xr.Dataset, panel: Panel) -> None:
    """A map of the part of the array that the network stands on: it may be a corner of it."""
    panel(axis, measured)
    rows, cols = np.unravel_index(measured["cell"].values, (measured.attrs["rows"], measured.attrs["cols"]))
    top, bottom, left, right = (int(each) for each in (rows.min(), rows.max(), cols.min(), cols.max()))
    axis.set(xlim=(left - 0.5, right + 0.5), ylim=(bottom + 0.5, top - 0.5))
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_aspect(aspect_of((bottom - top + 1, right - left + 1)))


_MAPS: tuple[Panel, ...] = tuple(
    partial(_around_network, panel=panel)
    for panel in (network_cells.layers, updates.pulses_map, network_cells.conductance)
)


def _panels(measured: xr.Dataset) -> list[Panel]:
    """What there is to draw: of a run that was broken off, less."""
    found: list[Panel] = []
    if np.isfinite(measured["accuracy_board"].values).any():
        found.append(learning_curves.accuracy)
    if "baseline" in measured:
        found.append(learning_curves.beside)
    if "bits_per_char" in measured:
        found.append(learning_curves.bits)
    if measured.sizes["stretch"]:
        found += [learning_curves.loss, learning_curves.sparsity, learning_curves.pulses_so_far]
    found += [updates.pulses, updates.resets]
    if "chi_histogram" in measured:
        found.append(updates.chi)
    found += [partial(updates.conductance, layer=each) for each in histograms(measured)]
    if "accuracy_after" in measured:
        found += [learning_curves.drift, learning_curves.compensation]
    if "confusion" in measured:
        found.append(judgements.confusion)
    if "account" in measured.attrs:
        found += [accounts.components, accounts.machines]
    return found


def histograms(measured: xr.Dataset) -> list[int | None]:
    """Layers whose conductances are drawn each for itself; of many, all of them together."""
    if "conductance_histogram" not in measured:
        return []
    count = measured.sizes["of_layer"]
    return list(range(count)) if count <= MOST_NAMED else [None]


def _below(measured: xr.Dataset) -> list[Panel]:
    found: list[Panel] = [
        partial(generated.samples, name=name, told=text) for name, text in generated.SAMPLES.items() if name in measured
    ]
    if "sample" in measured.attrs:
        found.append(generated.text)
    return found
