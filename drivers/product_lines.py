"""Lines that a product names, checked before anything is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry
from labctl.drivers.batches import whole


def checked_lines(
    geometry: Geometry, lines: dict[str, NDArray[Any]], across: str, inputs_on_columns: bool = False
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint16]]:
    """The lines "plus" and "minus", (inputs,) each, and those named `across`, as u16; on rows and columns, or the other
    way round.

    Raises ValueError where they are none, or a line is named twice.
    """
    along, crossing = ("column", "row") if inputs_on_columns else ("row", "column")
    plus, minus, crossed = (whole(lines[name], np.uint16, f"{name} lines") for name in ("plus", "minus", across))
    if not 0 < len(plus) == len(minus):
        raise ValueError(f"an input has a + and a - {along}: not {len(plus)} and {len(minus)} of them")
    if not len(crossed):
        raise ValueError(f"a product has at least one {crossing}")
    counts = {"row": geometry.rows, "column": geometry.cols}
    for name, named in ((along, np.concatenate([plus, minus])), (crossing, crossed)):
        if named.max() >= counts[name]:
            raise ValueError(f"{name} {named.max()} is not on the array of {geometry.rows} x {geometry.cols} cells")
        times = np.bincount(named)
        if times.max() > 1:
            raise ValueError(f"{name} {times.argmax()} is named twice")
    return plus, minus, crossed
