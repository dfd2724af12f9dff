"""Estimates as variables of a Dataset: the value, and the ends of its interval beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labctl.analysis.estimators import CONFIDENCE, Estimate

Variables = dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]


def estimated(
    name: str, dims: tuple[str, ...], estimates: Estimate | Sequence[Estimate], units: str, long_name: str
) -> Variables:
    """NAME, NAME_low and NAME_high, of one estimate or of one along a dimension. An end that the sample does not give
    is infinite; all three are NaN where it says nothing.
    """
    each = [estimates] if isinstance(estimates, Estimate) else list(estimates)
    table = np.array([(one.value, one.low, one.high) for one in each], np.float64).reshape(-1, 3)
    value, low, high = table[0] if isinstance(estimates, Estimate) else table.T
    return bounded(name, dims, value, low, high, units=units, long_name=long_name)


def bounded(
    name: str, dims: tuple[str, ...], value: ArrayLike, low: ArrayLike, high: ArrayLike, *, units: str, long_name: str
) -> Variables:
    """As `estimated`, of arrays of values and ends."""
    ends = {f"{name}_low": (low, "lower"), f"{name}_high": (high, "upper")}
    found: Variables = {
        name: (dims, value, {"units": units, "long_name": long_name, "ancillary_variables": " ".join(ends)})
    }
    for each, (end, which) in ends.items():
        told = f"{which} end of the {CONFIDENCE:.0%} interval of the {long_name}"
        found[each] = (dims, end, {"units": units, "long_name": told})
    return found


def plain(name: str, dims: tuple[str, ...], values: ArrayLike, units: str, long_name: str) -> Variables:
    """One variable without an interval."""
    return {name: (dims, values, {"units": units, "long_name": long_name})}
