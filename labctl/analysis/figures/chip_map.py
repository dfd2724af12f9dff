"""The figure of a chip's record: one quantity of every cell, or what is wrong with it, over all runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from labctl.analysis.figures.array_map import DEFECT_COLOURS
from labctl.analysis.figures.panels import aspect_of, histogram, show_map
from labctl.chips import ChipRecord, Defect
from labctl.chips.maps import MapOf, values_of
from labctl.errors import UsageError

_SCALES = {"S": (1e6, "µS"), "V s": (1e6, "µV s")}
"""Units that are drawn as parts of them."""

_DEFECTS = [each for each in Defect if each is not Defect.GOOD]


def save_chip_map(record: ChipRecord, of: MapOf, output: Path) -> None:
    """Draw that map of the chip into `output` (PNG, SVG or PDF by its ending). Raises UsageError."""
    figure = _draw(record, of)
    FigureCanvasAgg(figure)
    try:
        figure.savefig(output, dpi=100)
    except (OSError, ValueError) as problem:
        raise UsageError(f"{output}: the map cannot be written: {problem}") from None


def _draw(record: ChipRecord, of: MapOf) -> Figure:
    values, label, unit = values_of(record, of)
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    figure.suptitle(f"chip {record.serial} · {label} · {len(record.runs)} runs", fontsize=12)
    if of == "defects":
        colours = ListedColormap(DEFECT_COLOURS[: len(_DEFECTS)])
        norm = BoundaryNorm(np.arange(len(_DEFECTS) + 1) - 0.5, len(_DEFECTS))
        left.imshow(values, interpolation="nearest", aspect=aspect_of(values.shape), cmap=colours, norm=norm)
        left.set(xlabel="column", ylabel="row")
        names = [each.name.lower().replace("_", " ") for each in _DEFECTS]
        counts = [np.count_nonzero(values == each) for each in _DEFECTS]
        bars = right.barh(names[1:], counts[1:], color=DEFECT_COLOURS[1 : len(_DEFECTS)])
        right.bar_label(bars, padding=4)
        right.set(xlabel="cells")
        right.margins(x=0.15)
        right.invert_yaxis()
        return figure
    scale, shown = _SCALES.get(unit, (1.0, unit))
    axis = label if shown in ("", "1") else f"{label} ({shown})"
    known = values[np.isfinite(values)] * scale
    low, high = np.quantile(known, [0.001, 0.999]) if known.size else (0.0, 1.0)
    show_map(left, values * scale, axis, vmin=low, vmax=high)
    histogram(right, (values * scale).ravel(), axis, "")
    return figure
