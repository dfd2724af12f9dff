"""One named number of a characterisation, and how to name and make it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labctl.analysis.estimators import Estimate
from labctl.units import format_quantity


@dataclass(frozen=True, slots=True)
class Statistic:
    """name: the quantity, and in square brackets what it is of, as in `relaxation_sd[level=20 uS, time=1 s]`.

    value: in `unit` (SI; `1` for shares, counts and ratios). low, high: 95 % confidence interval; None: the sample
    gives no such bound. n: independent samples behind it. note: what a reader has to know besides.
    """

    name: str
    value: float
    unit: str
    low: float | None
    high: float | None
    n: int
    note: str = ""


def statistic(name: str, unit: str, estimate: Estimate, note: str = "", **of: str) -> Statistic:
    """`estimate` by its name; `of` says of what, as text."""
    low, high = (float(end) if np.isfinite(end) else None for end in (estimate.low, estimate.high))
    return Statistic(named(name, **of), float(estimate.value), unit, low, high, estimate.n, note)


def plain(name: str, unit: str, value: float, n: int, note: str = "", **of: str) -> Statistic:
    """A number without an interval: a count, or a property of the measurement itself."""
    return Statistic(named(name, **of), float(value), unit, None, None, n, note)


def named(name: str, **of: str) -> str:
    inside = ", ".join(f"{what}={which}" for what, which in of.items() if which)
    return f"{name}[{inside}]" if inside else name


def quantity(value: float, unit: str) -> str:
    """`value` as names have it: four digits and a prefix, as in `12.5 uS`."""
    return format_quantity(float(f"{value:.4g}"), unit)
