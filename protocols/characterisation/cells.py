"""Which cells are measured: a region of the array, or an even sample of one, but for cells that are excluded."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np

from labctl.array import Cells, Geometry
from labctl.errors import SettingsError

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples are as even on a circle as any number's, however many are taken."""


class CellChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """rows, cols: the region, each as first and count, like `[64, 128]`. cells: how many of the region's cells, spread
    evenly over its rows and columns. exclude: (rows, cols) of the array, bool, cells that are never touched.

    The settings of a protocol derive from it, with their own default of `cells`.
    """

    rows: tuple[int, int] | Literal["all"] = "all"
    cols: tuple[int, int] | Literal["all"] = "all"
    cells: int | Literal["all"] = "all"
    exclude: np.ndarray | None = None


def chosen(settings: CellChoice, geometry: Geometry) -> Cells:
    """(n,) flat indices, strictly increasing. Raises SettingsError where the choice does not fit the array.

    A `cells` that is a default may be more than a small region has; then it is all of them. The next cells stand in
    for excluded ones, so that the others are the same whatever is excluded.
    """
    top, height = _span(settings.rows, geometry.rows, "rows")
    left, width = _span(settings.cols, geometry.cols, "cols")
    count = height * width if settings.cells == "all" else settings.cells
    if count < 1:
        raise SettingsError(f"$.cells: must be at least 1, not {count}")
    rows, cols = _spread(height, width, min(count, height * width))
    if settings.exclude is not None:
        allowed = ~_excluded(settings.exclude, geometry)[top : top + height, left : left + width]
        rows, cols = np.divmod(_among(allowed.ravel(), rows * width + cols), width)
    cells: Cells = ((top + rows) * geometry.cols + left + cols).astype(np.uint32)
    return cells


def _span(given: tuple[int, int] | Literal["all"], length: int, name: str) -> tuple[int, int]:
    if given == "all":
        return 0, length
    first, count = given
    if first < 0 or count < 1 or first + count > length:
        raise SettingsError(
            f"$.{name}: first {first} and count {count} are not within the array's {length} {name}, 0 to {length - 1}"
        )
    return first, count


def _excluded(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(rows, cols) bool."""
    shape = (geometry.rows, geometry.cols)
    if mask.shape != shape or mask.dtype != bool:
        raise SettingsError(f"$.exclude: must be booleans of shape {shape}, not {mask.dtype} of shape {mask.shape}")
    return mask


def _among(allowed: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) increasing places in `allowed` (bool): those `wanted` that it has, and as many more as it does not, each the
    next one free; all there are, where that is fewer."""
    if not allowed.any():
        raise SettingsError("$.exclude: all of the chosen cells are excluded: there is none to measure")
    kept = wanted[allowed[wanted]]
    free = allowed.copy()
    free[kept] = False
    spare = np.flatnonzero(free)
    lost = wanted[~allowed[wanted]]
    turn = np.arange(len(lost))
    place = np.maximum.accumulate(np.searchsorted(spare, lost) - turn) + turn
    taken = np.zeros(len(spare), bool)
    taken[place[place < len(spare)]] = True
    taken[np.flatnonzero(~taken)[: len(lost) - np.count_nonzero(taken)]] = True  # past the last: from the first on
    return np.sort(np.concatenate([kept, spare[taken]]))


def _spread(height: int, width: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count,) rows and columns of distinct cells, row by row.

    A row gets its even share; its cells are equally far apart, from a start that moves by the golden ratio from row
    to row, so that no column is preferred.
    """
    before = np.arange(height + 1) * count // height
    share = np.diff(before)
    rows = np.repeat(np.arange(height), share)
    start = (np.cumsum(share > 0) - 1) * _GOLDEN % 1.0
    turn = np.arange(count) - before[rows]
    return rows, ((turn + start[rows]) * width / share[rows]).astype(np.int64)
