"""Which cells are measured: a region of the array, or an even sample of one."""

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
    evenly over its rows and columns.

    The settings of a protocol derive from it, with their own default of `cells`.
    """

    rows: tuple[int, int] | Literal["all"] = "all"
    cols: tuple[int, int] | Literal["all"] = "all"
    cells: int | Literal["all"] = "all"


def chosen(settings: CellChoice, geometry: Geometry) -> Cells:
    """(n,) flat indices, strictly increasing. Raises SettingsError where the choice does not fit the array.

    A `cells` that is a default may be more than a small region has; then it is all of them.
    """
    top, height = _span(settings.rows, geometry.rows, "rows")
    left, width = _span(settings.cols, geometry.cols, "cols")
    count = height * width if settings.cells == "all" else settings.cells
    if count < 1:
        raise SettingsError(f"$.cells: must be at least 1, not {count}")
    rows, cols = _spread(height, width, min(count, height * width))
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
