"""Means and medians of what is known, where NaN stands for what is not."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from labctl.analysis.estimators.estimate import Floats


def known_median(values: ArrayLike, axis: int | None = -1) -> Floats:
    """Medians along `axis` without NaN; NaN where there is nothing else."""
    table = np.asarray(values, np.float64)
    if table.size and not np.isnan(table).any():
        return np.asarray(np.median(table, axis=axis))  # several times as quick
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns of what is all NaN
        found: Floats = np.asarray(np.nanmedian(table, axis=axis))
    return found


def known_mean(values: ArrayLike, axis: int | None = -1) -> Floats:
    """Means along `axis` without NaN; NaN where there is nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found: Floats = np.asarray(np.nanmean(np.asarray(values, np.float64), axis=axis))
    return found
