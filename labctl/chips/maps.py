"""The maps of a chip's record that people ask for by name."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labctl.chips.record import ChipRecord

MapOf = Literal["defects", "pulses", "dose", "conductance", "forming_voltage", "excluded"]

MAPS: dict[MapOf, tuple[str, str]] = {
    "defects": ("what is wrong with the cell", ""),
    "pulses": ("pulses", "1"),
    "dose": ("dose", "V s"),
    "conductance": ("conductance at the last reading", "S"),
    "forming_voltage": ("forming voltage", "V"),
    "excluded": ("cells that protocols leave alone", ""),
}
"""Name to what it is, and its unit."""


def values_of(record: ChipRecord, of: MapOf) -> tuple[NDArray[np.float64], str, str]:
    """(rows, cols), NaN where nothing is known; what it is, and its unit. Defects are codes of `Defect`."""
    values: NDArray[np.float64] = getattr(record, of).astype(np.float64).reshape(record.rows, record.cols)
    return values, *MAPS[of]
