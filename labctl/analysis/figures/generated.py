"""Panels of what a trained network makes: pictures side by side, and text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SAMPLES = {"samples": "generated on the board", "samples_float": "generated in float32"}
"""Pictures that a run may have, and what they are."""

_COLUMNS, _ROWS = 12, 3
_WIDE, _LINES = 200, 6  # characters


def samples(axis: Axes, measured: xr.Dataset, name: str, told: str) -> None:
    """The first of the pictures called `name`, in rows."""
    shown = first(measured, name)
    axis.imshow(montage(shown), cmap="gray", interpolation="nearest")
    axis.set(title=f"{told}: the first {len(shown)} of {len(measured[name]):,}", xticks=[], yticks=[])


def first(measured: xr.Dataset, name: str) -> np.ndarray:
    """(n, y, x) those that are shown."""
    shown: np.ndarray = measured[name].values[: _COLUMNS * _ROWS]
    return shown


def montage(pictures: np.ndarray, columns: int = _COLUMNS) -> np.ndarray:
    """(n, y, x) pictures as one, with a gap between; NaN where there is none."""
    count, height, width = pictures.shape
    rows = -(-count // columns)
    found = np.full((rows * (height + 1) - 1, min(columns, count) * (width + 1) - 1), np.nan)
    for place, each in enumerate(pictures):
        y, x = place // columns * (height + 1), place % columns * (width + 1)
        found[y : y + height, x : x + width] = each
    return found


def text(axis: Axes, measured: xr.Dataset) -> None:
    """What the network writes, in lines of one width."""
    axis.set_axis_off()
    axis.set_title("text that the network writes on the board", loc="left")
    lines = wrapped(str(measured.attrs["sample"]))
    axis.text(0, 0.95, lines, family="monospace", fontsize=9, va="top", parse_math=False)


def wrapped(sample: str, wide: int = _WIDE, lines: int = _LINES) -> str:
    """So many lines of it at most."""
    found = [part for line in printable(sample).splitlines() for part in (textwrap.wrap(line, wide) or [""])]
    return "\n".join([*found[:lines], "…"] if len(found) > lines else found)


def printable(sample: str) -> str:
    """With a point for what cannot be printed."""
    return "".join(each if each.isprintable() or each == "\n" else "·" for each in sample)
