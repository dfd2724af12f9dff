"""How far a nanowire has gone astray, told from two transverse reads of its guard domains.

The guard domains hold 1 1 1 1 0 0 0 0, again and again, and travel with the data. A transverse read gives the number
of ones among four neighbouring domains, a triangular wave of the position; a second one two domains further is in
quadrature to it. Together they tell the position modulo 8. One count off by one gives a pair that no position has: it
is taken for the nearest that one has, among equally near ones for that of the least displacement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PERIOD = 8
READS = 2
"""Transverse reads of a check."""

_HALF = PERIOD // 2
_PATTERN = np.arange(3 * PERIOD) % PERIOD < _HALF
_ALIGNED = 1  # where in the pattern a window begins where there is no displacement: no count is at an end of its range
_QUADRATURE = 2


def _counts() -> NDArray[np.int8]:
    """(8, 2) ones in both windows at displacements -4 to 3."""
    begins = _ALIGNED + np.arange(-_HALF, _HALF) + PERIOD
    windows = begins[:, np.newaxis, np.newaxis] + np.array([0, _QUADRATURE])[:, np.newaxis] + np.arange(_HALF)
    counts: NDArray[np.int8] = _PATTERN[windows].sum(axis=2).astype(np.int8)
    return counts


def _displacements(counts: NDArray[np.int8]) -> NDArray[np.int8]:
    """(5, 5) what each pair of counts is taken for."""
    levels = np.arange(_HALF + 1)
    pairs = np.stack(np.meshgrid(levels, levels, indexing="ij"), axis=-1)
    displacements = np.array(sorted(range(-_HALF, _HALF), key=abs), np.int8)
    distances = np.abs(pairs[:, :, np.newaxis] - counts[displacements + _HALF]).sum(axis=-1)
    taken: NDArray[np.int8] = displacements[distances.argmin(axis=-1)]
    return taken


COUNTS = _counts()
DISPLACEMENTS = _displacements(COUNTS)


def measured(offsets: NDArray[np.int8]) -> NDArray[np.int8]:
    """What a check without a misread takes `offsets` for: -4 to 3."""
    return (offsets + np.int8(_HALF) & np.int8(PERIOD - 1)) - np.int8(_HALF)


def misread(offsets: NDArray[np.int8], errors: NDArray[np.int8]) -> NDArray[np.int8]:
    """What a check takes `offsets` (n,) for where its reads are off by `errors` (n, 2); no count leaves its range."""
    counts = COUNTS[measured(offsets) + _HALF] + errors
    np.clip(counts, 0, _HALF, out=counts)
    taken: NDArray[np.int8] = DISPLACEMENTS[counts[:, 0], counts[:, 1]]
    return taken
