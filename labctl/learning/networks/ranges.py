"""Where the range of a quantised input ends: clipping a few large values is better than steps that reach them all."""

from __future__ import annotations

import math

CLIPS = {1: 1.22, 2: 1.95, 3: 2.47, 4: 2.90, 5: 3.27, 6: 3.61, 7: 3.92, 8: 4.21}
"""Per number of bits, the end of the range for rectified values of a normal distribution of deviation 1.

It is where the mean square error of rint(x / end (2^bits - 1)) end / (2^bits - 1), clipped, is least. It follows a
batch normalisation as it is, and depends on no batch.
"""


def clip_of_rectified(bits: int, mean_square: float) -> float:
    """The end of the range for rectified values of this mean square: of a normal distribution, half its variance."""
    return CLIPS[bits] * math.sqrt(2 * mean_square)
