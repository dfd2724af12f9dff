"""What a study is asked for besides runs: quantities as people write them, and the cell that is meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsIndex, TypeGuard

import numpy as np

from labctl.errors import UsageError
from labctl.recording.history import Cell
from labctl.units import parse_quantity


def quantity(name: str, value: str | float, unit: str) -> float:
    """The argument `name` in SI units of `unit`; it may be text. Raises UsageError for what is none."""
    try:
        return parse_quantity(value.item() if isinstance(value, np.generic) else value, unit)
    except ValueError as problem:
        raise UsageError(f"{name}: {problem}") from None


def quantities(name: str, values: Iterable[str | float], unit: str) -> list[float]:
    """Several of them."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UsageError(f"{name}: expected a list of quantities in {unit}, got {values!r}")
    return [quantity(name, each, unit) for each in values]


def cell_named(cell: object) -> Cell:
    """The cell as its index or its row and column, whole numbers. Raises UsageError for anything else."""
    if _is_whole(cell):
        return int(cell)
    if isinstance(cell, tuple) and len(cell) == 2 and all(_is_whole(each) for each in cell):
        return int(cell[0]), int(cell[1])
    raise UsageError(f"{cell!r} names no cell: it is an index from 0 to n-1, or (row, col)")


def _is_whole(value: object) -> TypeGuard[SupportsIndex]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
