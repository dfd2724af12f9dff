"""The figure of a pruned network: its cells, its training, what it cost the cells, and how it was judged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from labctl.analysis.characterisation.pruning import takes_turns
from labctl.analysis.characterisation.segmentation import detections
from labctl.analysis.figures import accounts, judgements, network_cells, training

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    Panel = Callable[[Axes, xr.Dataset], None]

_COLUMNS = 4
_PANEL = (4.6, 4.1)  # inches
_PICTURES = 2


def draw(measured: xr.Dataset) -> Figure:
    """The figure of a `pruning` measurement; of segmentation, with pictures of the middle and of the worst result."""
    panels = _panels(measured)
    rows = -(-len(panels) // _COLUMNS)
    pictures = judgements.typical(measured)[:_PICTURES]
    whole = rows + len(pictures)
    figure = Figure(figsize=(_PANEL[0] * _COLUMNS, _PANEL[1] * whole), layout="constrained")
    axes = figure.subplots(whole, _COLUMNS)
    for axis, panel in zip(axes.flat, panels, strict=False):
        panel(axis, measured)
    for axis in axes.flat[len(panels) : rows * _COLUMNS]:
        axis.set_axis_off()
    for row, picture in zip(axes[rows:], pictures, strict=True):
        judgements.picture(row, measured, picture)
    return figure


def _panels(measured: xr.Dataset) -> list[Panel]:
    """What there is to draw: of a run that was broken off, less."""
    found: list[Panel] = [
        network_cells.layers,
        network_cells.kept,
        network_cells.switches,
        network_cells.conductance,
        training.edges,
    ]
    if "switched_of_layer" in measured:
        found += [training.switched, training.switches_per_cell]
    found += [network_cells.switches_of_cells, network_cells.distribution]
    if len(measured["layer_name"]) > 1 and not takes_turns(measured):
        found.append(network_cells.by_layer)
    if measured.sizes["epoch"]:
        found += [training.loss, training.accuracy]
    if "confusion" in measured:
        found.append(judgements.confusion)
    if (curve := detections(measured)) is not None:
        found.append(partial(judgements.precision_recall, found=curve))
        found.append(partial(judgements.operating_characteristic, found=curve))
    if "accuracy_software" in measured.attrs:
        found.append(judgements.beside)
    if "accuracy_after" in measured:
        found.append(judgements.rests)
    if "account" in measured.attrs:
        found += [accounts.components, accounts.machines]
    return found
