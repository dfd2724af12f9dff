"""One named number of a characterisation, and how to name and make it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from labctl.analysis.estimators import Estimate
from labctl.units import format_quantity

_PREFIXED = ("S", "V", "A", "s", "K", "Hz")
"""Units that are read with a prefix, as in `12 uS`."""


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


def shown(value: float, unit: str) -> str:
    """`value` of a statistic with its unit, four digits; a dash for what is not finite."""
    if not math.isfinite(value):
        return "-"
    if unit in _PREFIXED:
        return format_quantity(value, unit)
    return f"{value:.4g}" if unit in ("", "1") else f"{value:.4g} {unit}"


def interval(each: Statistic) -> str:
    """The 95 % interval of `each` as text, where it has one or one end of it."""
    low, high = ("" if end is None else shown(end, each.unit) for end in (each.low, each.high))
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"up to {high}" if high else ""
