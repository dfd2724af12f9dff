"""What every figure is drawn with: maps, histograms, bands, colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from labctl.analysis.estimators import Estimate

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

MICRO = 1e6
BLUE, RED, GREEN, GREY = "#4c72b0", "#d1495b", "#4c9f70", "#666666"
LEVEL_COLOURS = "viridis"
"""The colour map of what is ordered: levels, times."""

_BINS = 60
_MOST_STRETCHED = 4  # rows a column, or columns a row, beyond which cells are not drawn as squares
_ROUNDED = 1e-6  # of the range: as far apart as rounding alone puts equal values
_OFF_GRID = 0.2  # of a step
_ENOUGH = 2000  # points of a line


def group(tree: xr.DataTree, name: str) -> xr.Dataset:
    """One group of a run, as a Dataset."""
    return tree.children[name].to_dataset()


def show_map(axis: Axes, values: np.ndarray, title: str, **colours: Any) -> None:
    """`values` (rows, cols) as a picture of the array with its colour scale."""
    image = axis.imshow(
        values, interpolation="nearest", aspect=aspect_of(values.shape), **{"cmap": "viridis", **colours}
    )
    axis.figure.colorbar(image, ax=axis, shrink=0.85)
    axis.set(title=title, xlabel="column", ylabel="row")


def aspect_of(shape: tuple[int, ...]) -> Literal["equal", "auto"]:
    """Cells of a map of this `shape` (rows, cols) are squares, unless it were a strip then."""
    return "equal" if max(shape) <= _MOST_STRETCHED * min(shape) else "auto"


def histogram(axis: Axes, values: np.ndarray, label: str, title: str) -> None:
    """How `values` are distributed, but for the outermost one in a thousand on either side."""
    values = values[np.isfinite(values)]
    if values.size:
        low, high = np.quantile(values, [0.001, 0.999])
        pad = (high - low) * 0.05 or 0.5
        axis.hist(values, bins=edges_between(values, float(low - pad), float(high + pad), _BINS), color=BLUE)
    axis.set(xlabel=label, ylabel="cells", title=title)


def edges_between(values: np.ndarray, low: float, high: float, bins: int) -> list[float]:
    """Edges of about so many bins from `low` to `high`. Readings come in steps of the converter: there, bins are whole
    numbers of steps wide, since others hold now one step more and now one less, which looks like gaps."""
    step = _step_of(values[(values >= low) & (values <= high)].astype(np.float64))
    if not step:
        return [float(each) for each in np.linspace(low, high, bins + 1)]
    width = step * np.ceil((high - low) / bins / step)
    first = values[values >= low].min() - step / 2
    first -= width * np.ceil((first - low) / width)
    return [float(each) for each in np.arange(first, high + width, width)]


def _step_of(values: np.ndarray) -> float:
    """The step that all differences of `values` are whole numbers of; 0 where there is none."""
    gaps = np.diff(np.unique(values))
    gaps = gaps[gaps > _ROUNDED * gaps.sum()]
    if not gaps.size:
        return 0.0
    counts = np.rint(gaps / gaps.min())
    on_grid = np.abs(gaps / gaps.min() - counts).max() < _OFF_GRID
    return float(gaps.sum() / counts.sum()) if on_grid else 0.0


def band(axis: Axes, x: ArrayLike, values: np.ndarray, colour: Any, label: str) -> None:
    """The median of `values` (samples, x) as a line, in the range of 5 to 95 % of them; nothing of none."""
    if not values.size:
        return
    low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95], axis=0)
    axis.fill_between(np.asarray(x), low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(np.asarray(x), middle, color=colour, label=label)


def cumulative(axis: Axes, values: np.ndarray, colour: Any, label: str) -> None:
    """The share of `values` at or below each."""
    ordered = np.sort(values[np.isfinite(values)])
    if ordered.size:
        shown = thinned(ordered.size)
        axis.plot(ordered[shown], (shown + 0.5) / ordered.size, color=colour, label=label)


def thinned(count: int) -> np.ndarray:
    """Which of so many ordered values to draw: some thousand, and all of the highest."""
    if count <= _ENOUGH:
        return np.arange(count)
    evenly = np.linspace(0, count - 1, _ENOUGH // 2)
    tail = count - np.geomspace(1, count, _ENOUGH // 2)
    return np.unique(np.concatenate([evenly, tail]).astype(int))


def with_interval(axis: Axes, x: ArrayLike, estimates: list[Estimate], scale: float = 1.0, **style: Any) -> None:
    """Values with the bars of their 95 % intervals; an open end has none."""
    value, low, high = (
        np.array([getattr(each, name) for each in estimates]) * scale for name in ("value", "low", "high")
    )
    down, up = (np.where(np.isfinite(each), each, 0.0) for each in (value - low, high - value))
    axis.errorbar(np.asarray(x), value, yerr=[np.maximum(down, 0), np.maximum(up, 0)], capsize=2, **style)


def note(axis: Axes, text: str, place: tuple[float, float] = (0.03, 0.97)) -> None:
    """Text in the upper left of the panel, or where `place` says."""
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 2}
    axis.annotate(text, place, xycoords="axes fraction", va="top", fontsize=9, bbox=box)
