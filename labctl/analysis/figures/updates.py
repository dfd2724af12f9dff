"""Panels of what updates did to the devices of a trained network: pulses, accumulators, conductances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from labctl.analysis.figures.network_cells import on_array
from labctl.analysis.figures.panels import BLUE, GREY, MICRO, note, show_map
from labctl.analysis.figures.training import MOST_NAMED, layer_colours

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

GRANULE = 1.0
"""What an accumulator is cut to pulses by, where they are counted in granules."""

_BINS = 60
_SHOWN = 0.9995  # of the devices, by what they conduct


def pulses_map(axis: Axes, measured: xr.Dataset) -> None:
    """Where the pulses went, as powers of ten; devices without one are white."""
    pulses = measured["pulses_set"].values.astype(float)
    values = on_array(measured, np.log10(np.where(pulses > 0, pulses, np.nan)), np.nan)
    show_map(axis, values, "SET pulses, powers of ten", cmap="cividis", vmin=0)


def pulses(axis: Axes, measured: xr.Dataset) -> None:
    _counts(axis, measured, "pulses_set", "SET pulses")


def resets(axis: Axes, measured: xr.Dataset) -> None:
    _counts(axis, measured, "pulses_reset", "RESET pulses")


def _counts(axis: Axes, measured: xr.Dataset, name: str, label: str) -> None:
    """How many devices of each layer had how many."""
    values, layer, names = measured[name].values, measured["layer"].values, measured["layer_name"].values
    edges, found = counted(values, layer, len(names))
    for each, counts, colour in zip(names, found, layer_colours(len(names)), strict=True):
        axis.stairs(counts, edges, color=colour, label=str(each) if len(names) <= MOST_NAMED else None)
    axis.set(yscale="log", ylim=(0.5, None), xlabel=f"{label} that a device was given", ylabel="devices")
    axis.set_title(f"{label}: mean {values.mean():.3g}, most {values.max():,}")
    axis.margins(x=0.02)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _named(axis, len(names))


def counted(values: np.ndarray, layer: np.ndarray, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges (bins + 1,) and how many devices of each layer (layers, bins) have so many as `values` says of each."""
    most = int(values.max())
    width = max(-(-(most + 1) // _BINS), 1)
    edges = np.arange(0, most + width + 1, width) - 0.5
    return edges, np.stack([np.histogram(values[layer == number], edges)[0] for number in range(layers)])


def chi(axis: Axes, measured: xr.Dataset) -> None:
    """Accumulators in the end; at -1 and 1 granule they turn into pulses."""
    edges = edges_of(measured["chi_bin"].values)
    names = measured["layer_name"].values
    for each, counts, colour in zip(names, measured["chi_histogram"].values, layer_colours(len(names)), strict=True):
        share = counts / max(int(counts.sum()), 1) * 100
        axis.stairs(share, edges, color=colour, label=str(each) if len(names) <= MOST_NAMED else None)
    for side in (-GRANULE, GRANULE):
        axis.axvline(side, color=GREY, linestyle=":")
    axis.set(yscale="log", xlabel="chi (granules)", ylabel="weights (%)", title="accumulators in the end")
    axis.set_xlim(min(edges[0], -GRANULE) - 0.08, max(edges[-1], GRANULE) + 0.08)
    _named(axis, len(names))


def conductance(axis: Axes, measured: xr.Dataset, layer: int | None) -> None:
    """Before and after training; of one layer, or of all of them together."""
    counts = measured["conductance_histogram"].values
    own = counts.sum(axis=1) if layer is None else counts[:, layer]
    centres = measured["conductance_bin"].values * MICRO
    edges = edges_of(centres)
    for moment, each, colour, filled in zip(("before", "after"), own, (GREY, BLUE), (True, False), strict=True):
        axis.stairs(each, edges, color=colour, fill=filled, alpha=0.45 if filled else 1, label=f"{moment} training")
    name = "all layers" if layer is None else str(measured["layer_name"].values[layer])
    axis.set(yscale="log", ylim=(0.5, None), xlabel="conductance (µS)", ylabel="devices", title=f"{name}: conductance")
    axis.set_xlim(max(edges[0], 0), edges[last_filled(own) + 1])
    axis.legend(frameon=False, fontsize=9)


def last_filled(counts: np.ndarray) -> int:
    """The last bin that is worth drawing of (moments, bins): beyond it are single devices."""
    total = counts.sum(axis=0)
    if not total.any():
        return len(total) - 1
    return int(np.searchsorted(np.cumsum(total), _SHOWN * total.sum()))


def edges_of(centres: np.ndarray) -> np.ndarray:
    """Of bins of one width with these centres."""
    width = float(centres[1] - centres[0]) if len(centres) > 1 else 1.0
    return np.append(centres - width / 2, centres[-1] + width / 2)


def _named(axis: Axes, count: int) -> None:
    if count <= MOST_NAMED:
        axis.legend(frameon=False, fontsize=9)
    else:
        note(axis, "dark: first layer, light: last", (0.3, 0.97))
