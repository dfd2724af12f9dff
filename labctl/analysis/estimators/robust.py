"""The spread of the bulk of a sample, whatever its tails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, finite, nothing
from labctl.analysis.estimators.location import median

MAD_TO_SD = 1.4826022185056018
"""1 / 0.6744898: the standard deviation of a normal distribution over its median absolute deviation."""


def robust_spread(sample: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """1.4826 times the median absolute deviation from the median: the standard deviation, if it were normal.

    The interval is that of the median of the deviations, the centre taken as known, which for symmetric
    distributions costs nothing to first order: Hall and Welsh, Ann. Inst. Statist. Math. 37 (1985) 27.
    """
    values = finite(sample)
    if len(values) < 2:
        return nothing(len(values))
    found = median(np.abs(values - np.median(values)), confidence)
    low, high = max(found.low, 0.0) * MAD_TO_SD, found.high * MAD_TO_SD
    return replace(found, value=found.value * MAD_TO_SD, low=low, high=high)
