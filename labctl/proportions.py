"""The confidence interval of a proportion that was counted."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson_interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of `count` of `n` (at least 1) independent ones; it holds near 0 and 1 too.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; Brown, Cai and DasGupta, Stat. Sci. 16 (2001) 101.
    """
    share = count / n
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    weight = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / weight
    half = z * sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / weight
    return (centre - half if count else 0.0, centre + half if count < n else 1.0)
