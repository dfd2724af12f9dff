"""Panels of the cells that a pruned network stands on: where, which of them are kept, how often switched, what they
conduct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.ticker import MaxNLocator

from labctl.analysis.characterisation.pruning import conductances, takes_turns
from labctl.analysis.figures.panels import BLUE, GREY, MICRO, RED, aspect_of, edges_between, note, show_map
from labctl.analysis.figures.training import MOST_NAMED, layer_colours

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

KEPT_COLOURS = {"pruned": "#f2c14e", "kept": "#3b3b58"}
GROUP_COLOURS = {"kept": BLUE, "pruned": RED, "never formed": GREY}
_BINS = 60
_BELOW = 4.5  # letters, from the picture to its legend: the axis has its name between them
_HATCHES = {"kept": "", "pruned": "////", "never formed": "...."}


def on_array(measured: xr.Dataset, values: np.ndarray, none: float) -> np.ndarray:
    """(rows, cols) the (cell,) `values` where they stand, and `none` elsewhere."""
    found = np.full(measured.attrs["rows"] * measured.attrs["cols"], none, np.result_type(values, type(none)))
    found[measured["cell"].values] = values
    return found.reshape(measured.attrs["rows"], measured.attrs["cols"])


def layers(axis: Axes, measured: xr.Dataset) -> None:
    names = [str(name) for name in measured["layer_name"].values]
    shown = on_array(measured, measured["layer"].values.astype(float), np.nan)
    counts = np.bincount(measured["layer"].values, minlength=len(names))
    labels = [f"{name}: {count:,}" for name, count in zip(names, counts, strict=True)]
    _flags(axis, shown, layer_colours(len(names)), labels if len(names) <= MOST_NAMED else [])
    first = "\nof the first tile that has one" if takes_turns(measured) else ""
    more = "" if len(names) <= MOST_NAMED else f"\n{len(names)} layers; dark: first, light: last"
    axis.set_title(f"layer of each cell{first}{more}")


def kept(axis: Axes, measured: xr.Dataset) -> None:
    values = measured["kept"].values
    shown = on_array(measured, np.where(values <= 1, values, np.nan), np.nan)
    counts = [int(np.count_nonzero(values == code)) for code in (0, 1)]
    labels = [f"{name}: {count:,} cells" for name, count in zip(KEPT_COLOURS, counts, strict=True)]
    _flags(axis, shown, list(KEPT_COLOURS.values()), labels)
    axis.set_title("edges kept")


def _flags(axis: Axes, shown: np.ndarray, colours: Sequence[Any], labels: list[str]) -> None:
    """Codes 0, 1, ... in their colours, NaN in white, with a legend below."""
    count = len(colours)
    axis.imshow(
        shown,
        interpolation="nearest",
        aspect=aspect_of(shown.shape),
        cmap=ListedColormap(colours),
        norm=BoundaryNorm(np.arange(count + 1) - 0.5, max(count, 2)),
    )
    for colour, label in zip(colours, labels, strict=False):
        axis.plot([], [], "s", color=colour, markeredgecolor="#666666", label=label)
    if labels:
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=_BELOW, ncol=3, frameon=False)
    axis.set(xlabel="column", ylabel="row")


def switches(axis: Axes, measured: xr.Dataset) -> None:
    values = on_array(measured, measured["switches"].values.astype(float), np.nan)
    show_map(axis, values, "times each cell was switched", vmin=0, cmap="cividis")


def conductance(axis: Axes, measured: xr.Dataset) -> None:
    values = on_array(measured, measured["conductance"].values.astype(float) * MICRO, np.nan)
    top = float(np.nanquantile(values, 0.999)) if np.isfinite(values).any() else None
    show_map(axis, values, "conductance, last reading (µS)", vmin=0, vmax=top)


def switches_of_cells(axis: Axes, measured: xr.Dataset) -> None:
    """How many cells were switched how often."""
    values = measured["switches"].values
    counts = np.bincount(values)
    axis.bar(np.arange(len(counts)), counts, width=0.85, color=BLUE)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(yscale="log", xlabel="RESETs and SETs", ylabel="cells", title="switches of a cell")
    note(axis, f"mean {values.mean():.3g}, most {values.max()}", (0.45, 0.97))


def distribution(axis: Axes, measured: xr.Dataset) -> None:
    """What all of them conduct: kept, pruned (their residue), never formed."""
    groups = [(name, values[np.isfinite(values)] * MICRO) for name, values in conductances(measured)[0].groups]
    together = np.concatenate([values for _, values in groups])
    if together.size:
        low, high = (float(each) for each in np.quantile(together, [0.001, 0.999]))
        edges = edges_between(together, low - 0.05 * (high - low), high + 0.05 * (high - low), _BINS)
        for name, values in groups:
            label = f"{name}: {len(values):,}"
            axis.hist(values, bins=edges, color=GROUP_COLOURS[name], alpha=0.55, hatch=_HATCHES[name], label=label)
    axis.set(yscale="log", xlabel="conductance (µS)", ylabel="cells", title="what cells of the network conduct")
    axis.legend(frameon=False, fontsize=9)


def by_layer(axis: Axes, measured: xr.Dataset) -> None:
    """The same by layer: quartiles, and 5 to 95 %."""
    found = conductances(measured)[1:]
    for shift, name in zip((-0.26, 0.0, 0.26), GROUP_COLOURS, strict=True):
        values = [dict(each.groups)[name] * MICRO for each in found]
        drawn = axis.boxplot(
            values,
            positions=np.arange(len(found)) + shift,
            widths=0.22,
            whis=(5, 95),
            sym="",
            manage_ticks=False,
            patch_artist=True,
            medianprops={"color": "black"},
        )
        for box in drawn["boxes"]:
            box.set(facecolor=GROUP_COLOURS[name], alpha=0.55, hatch=_HATCHES[name])
        axis.plot([], [], "s", color=GROUP_COLOURS[name], alpha=0.55, label=name)
    names = [each.layer for each in found]
    axis.set_xticks(np.arange(len(names)), names, rotation=90 if len(names) > MOST_NAMED else 0, fontsize=8)
    axis.set(ylabel="conductance (µS)", title="by layer: quartiles, 5 to 95 %")
    axis.margins(y=0.2)
    axis.legend(frameon=False, fontsize=9, ncol=3, loc="upper center")
