"""Weights of -1, 0 and 1 from real ones.

Per output (a row of the matrix): delta = 0.7 mean|W|, t = sign(W) where |W| > delta and else 0; alpha = sum(W t) /
sum(t^2) is the factor that makes alpha t nearest to W. F. Li et al., "Ternary weight networks", arXiv 1605.04711, who
take delta and alpha per layer: per output they cost nothing more, as alpha goes into the scale that follows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

DELTA = 0.7
"""The threshold over the mean of |W|."""

NORMAL_SPARSITY = math.erf(DELTA / math.sqrt(math.pi))
"""Share of zeros that this makes of normal weights: P(|W| < DELTA mean|W|), and mean|W| = sqrt(2 / pi) deviations."""


def ternarised(weights: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """(outputs, ...) real weights as ternary ones of the same shape, and the factors alpha, (outputs,)."""
    rows = np.asarray(weights, np.float64).reshape(len(weights), -1)
    size = np.abs(rows)
    kept = size > DELTA * size.mean(axis=1, keepdims=True)
    ternary = np.where(kept, np.sign(rows), 0).astype(np.int8).reshape(np.shape(weights))
    alpha = (size * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)
    return ternary, alpha
