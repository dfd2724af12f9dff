"""How the cells of a run are when it is resumed, against how the run left them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import MemoryArray, Readout
from labctl.recording.past import Past

FACTOR = 3
"""A cell that reads so many times more or less than it did is not as the run left it."""

_NOISE_STEPS = 8
"""Steps of the converter within which two readings are not told apart by their ratio."""


@dataclass(frozen=True, slots=True)
class Reread:
    """How the cells of a run read when it was resumed.

    cells: that the run had read or pulsed. compared: of these, those it had pulsed, and read since; where there are
    none, those it had read. changed: of these, those that read `FACTOR` times more or less than then. median_change: of
    the others that conduct, relative; NaN where there are none.
    """

    cells: int
    compared: int
    changed: int
    median_change: float


def reread(array: MemoryArray, past: Past, check: Callable[[Reread], None]) -> Readout | None:
    """Every cell of the run `past` as it is now; None where it had not come to any. Raises what `check` does."""
    last = past.last_known()
    cells = np.flatnonzero(last.touched).astype(np.uint32)
    if not len(cells):
        return None
    readout = array.read(None if last.touched.all() else cells)
    before = last.code[cells]
    known = before != past.not_read
    pulsed = known & last.pulsed[cells]  # those it has not moved would say nothing of those it has
    check(compared(readout, before, pulsed if pulsed.any() else known))
    return readout


def compared(now: Readout, before: NDArray[Any], known: NDArray[np.bool_]) -> Reread:
    """`now` against (n,) codes `before`, which are `known` of some cells only."""
    new, old = now.conductance[0][known].astype(np.float64), now.scale.values(before)[known].astype(np.float64)
    least = _NOISE_STEPS * now.scale.step
    high, low = np.maximum(new, old), np.maximum(np.minimum(new, old), 0.0)
    changed = (high > least) & (high > FACTOR * low)
    conducting = ~changed & (old > least)
    change = np.abs(new[conducting] / old[conducting] - 1)
    median = float(np.median(change)) if len(change) else float("nan")
    return Reread(len(known), int(np.count_nonzero(known)), int(np.count_nonzero(changed)), median)
