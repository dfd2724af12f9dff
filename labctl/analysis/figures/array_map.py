"""The figure of a map: the array, its distribution, its lines, and defective cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from labctl.analysis import estimators
from labctl.analysis.characterisation.arrays import DEFECTS, PRISTINE_BELOW, classes
from labctl.analysis.figures.panels import BLUE, MICRO, RED, aspect_of, histogram, note, show_map

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_REACH = 10  # robust standard deviations of the medians that are shown
DEFECT_COLOURS = ("#f2f2f2", "#3b3b58", "#5b8fd9", "#d1495b", "#f2c14e", "#000000")


def draw(measured: xr.Dataset) -> Figure:
    """The figure of a `map` measurement; of a region, that part of the array."""
    figure = Figure(figsize=(16, 8.6), layout="constrained")
    axes = figure.subplots(2, 3)
    kind = classes(measured)
    rows, cols = (np.flatnonzero((kind >= 0).any(axis=axis)) for axis in (1, 0))
    part = measured.isel(row=slice(rows[0], rows[-1] + 1), col=slice(cols[0], cols[-1] + 1))
    kind = kind[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    extent = (cols[0] - 0.5, cols[-1] + 0.5, rows[-1] + 0.5, rows[0] - 0.5)
    conductance, spread = (part[name].values.astype(np.float64) * MICRO for name in ("conductance", "spread"))
    known = conductance[np.isfinite(conductance)]
    limits = np.quantile(known, [0.001, 0.999]) if known.size else (0.0, 1.0)
    show_map(axes[0, 0], conductance, "conductance (µS)", vmin=limits[0], vmax=limits[1], extent=extent)
    _defects(axes[0, 1], kind, extent)
    if np.isfinite(spread).any():
        top = float(np.nanquantile(spread, 0.99))
        show_map(axes[0, 2], spread, "sd between repeats (µS)", vmin=0, vmax=top, extent=extent)
    else:
        axes[0, 2].set_axis_off()
        note(axes[0, 2], "read once: no spread between repeats")
    histogram(axes[1, 0], conductance.ravel(), "conductance (µS)", _told(known))
    axes[1, 0].title.set_fontsize(10)
    for axis, values, name, first in (
        (axes[1, 1], conductance, "row", rows[0]),
        (axes[1, 2], conductance.T, "column", cols[0]),
    ):
        _line_medians(axis, values, name, int(first))
    return figure


def _told(known: np.ndarray) -> str:
    """What the table says too: of formed cells."""
    formed = known[known >= PRISTINE_BELOW * MICRO]
    if not formed.size:
        return f"{known.size:,} cells, none formed"
    middle, width = estimators.median(formed).value, estimators.robust_spread(formed).value
    of = f"{formed.size:,} of {known.size:,} cells are formed"
    return f"{of}:\ntheir median {middle:.4g}, robust spread {width:.3g} µS"


def _defects(axis: Axes, kind: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    norm = BoundaryNorm(np.arange(len(DEFECTS) + 1) - 0.5, len(DEFECTS))
    shown = np.ma.masked_less(kind, 0)
    axis.imshow(
        shown,
        interpolation="nearest",
        aspect=aspect_of(kind.shape),
        cmap=ListedColormap(DEFECT_COLOURS),
        norm=norm,
        extent=extent,
    )
    for code, (name, colour) in enumerate(zip(DEFECTS, DEFECT_COLOURS, strict=True)):
        count = int(np.count_nonzero(kind == code))
        axis.plot([], [], "s", color=colour, markeredgecolor="#666666", label=f"{name}: {count:,}")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, -0.12), ncol=3, frameon=False)
    axis.set(title="defects", xlabel="column", ylabel="row")


def _line_medians(axis: Axes, values: np.ndarray, name: str, first: int) -> None:
    """The median of each row or column; one far from all the others stands at the edge, as a triangle."""
    medians = estimators.known_median(values)
    middle = float(estimators.known_median(medians))
    reach = _REACH * estimators.robust_spread(medians).value or abs(middle) / 10 or 1.0
    low, high = middle - reach, middle + reach
    place = first + np.arange(len(medians))
    axis.plot(place, np.where((medians >= low) & (medians <= high), medians, np.nan), ".", color=BLUE, markersize=3)
    for off, edge, marker in ((medians < low, low, "v"), (medians > high, high, "^")):
        axis.plot(place[off], np.full(np.count_nonzero(off), edge), marker, color=RED)
    axis.axhline(middle, color=RED, linewidth=1)
    axis.set_ylim(low - 0.05 * reach, high + 0.05 * reach)
    axis.set(xlabel=name, ylabel="conductance (µS)", title=f"median of each {name}")
