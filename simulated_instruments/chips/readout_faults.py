"""What can be wrong with a readout as a whole: a converter that only saturates, columns whose readings never change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ReadoutFaults:
    """None at first. They change what is read, never a cell."""

    def __init__(self) -> None:
        self._saturated = 0
        self._stuck: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._saturated or self._stuck)

    def saturate(self, on: bool) -> None:
        """Every reading is the highest code, until switched off as often as on."""
        self._saturated += 1 if on else -1

    def stick(self, columns: Iterable[int], code: int) -> None:
        """Readings of `columns` are `code`."""
        self._stuck |= dict.fromkeys(columns, code)

    def loosen(self, columns: Iterable[int]) -> None:
        """`columns` read as they should again."""
        for column in columns:
            self._stuck.pop(column, None)

    def apply(self, codes: NDArray[Any], columns: NDArray[Any], top: int) -> None:
        """Change `codes` in place. columns: of each code, broadcast. top: the converter's highest code."""
        for column, code in self._stuck.items():
            codes[np.broadcast_to(columns == column, codes.shape)] = code
        if self._saturated:
            codes[...] = top
