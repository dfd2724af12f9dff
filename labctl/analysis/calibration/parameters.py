"""What a fit gives: parameters of a cell model with their intervals and cells, and what was left out and why."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.estimators import MAD_TO_SD, fraction
from labctl.errors import UsageError

Floats = NDArray[np.float64]

Z95 = 1.959963984540054
"""Half the width of a normal distribution's middle 95 %, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: value, and low and high of its 95 % interval, same shape each (scalars are 0-d).

    unit: of all three. source: where it comes from, in words. cells: behind it. tag: `calibrated`, fitted to the data;
    `bounded`, the most or least that they allow; `assumed`, where they only suggest it.
    """

    value: Floats
    unit: str
    source: str
    cells: int
    low: Floats | None = None
    high: Floats | None = None
    goodness: str = ""
    tag: str = "calibrated"


@dataclass(frozen=True, slots=True)
class Fit:
    """Parameters by name, and sentences for the person: excluded cells, what could not be fitted."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Base:
    """What gives every parameter that a fit does not: name -> value (number or nested lists).

    kind: of cell. measured: parameters that an earlier fit of the same chip has found.
    """

    name: str
    values: Mapping[str, Any]
    measured: frozenset[str] = frozenset()
    kind: str = "1T1R RRAM"

    @classmethod
    def load(cls, name: str) -> Base:
        """The set `name` of labctl's own. Raises UsageError that lists those there are."""
        folder = files("labctl.data") / "cells"
        known = sorted(each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml"))
        if name not in known:
            raise UsageError(f"--base {name}: no such set of cell parameters; there are: {', '.join(known)}")
        tables = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
        header = tables.pop("chip")
        below = cls.load(header["base"]).values if "base" in header else {}
        values = {key: table["value"] for key, table in tables.items()}
        return cls(name, {**below, **values}, kind=header["kind"])

    def number(self, name: str) -> float:
        """A scalar parameter; 0 where this set has no such effect."""
        return float(self.values.get(name, 0.0))

    def with_fit(self, fit: Fit) -> Base:
        """The base for fits that come after `fit`."""
        found = {name: each.value for name, each in fit.parameters.items()}
        return replace(self, values={**self.values, **found}, measured=self.measured | found.keys())


def between(
    value: float,
    interval: tuple[float, float],
    unit: str,
    source: str,
    cells: int,
    goodness: str = "",
    tag: str = "calibrated",
) -> Parameter:
    """A number with its interval."""
    low, high = (np.asarray(end, np.float64) for end in interval)
    return Parameter(np.asarray(value, np.float64), unit, source, cells, low, high, goodness, tag)


def scalar(
    value: float,
    unit: str,
    source: str,
    cells: int,
    half: float = math.nan,
    goodness: str = "",
    tag: str = "calibrated",
) -> Parameter:
    """A number known to +- half; without an interval where that is not known."""
    if math.isfinite(half):
        return between(value, (value - half, value + half), unit, source, cells, goodness, tag)
    return Parameter(np.asarray(value, np.float64), unit, source, cells, goodness=goodness, tag=tag)


def factor(
    value: float, half: float, unit: str, source: str, cells: int, goodness: str = "", tag: str = "calibrated"
) -> Parameter:
    """A positive number whose logarithm is known to +- half."""
    if math.isfinite(half):
        ends = value * math.exp(-half), value * math.exp(half)
        return between(value, ends, unit, source, cells, goodness, tag)
    return scalar(value, unit, source, cells, goodness=goodness, tag=tag)


def robust_spread(values: Floats) -> float:
    """Standard deviation of the normal core of `values` (n,), by the median absolute deviation; NaN of none."""
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan
    return float(MAD_TO_SD * np.median(np.abs(values - np.median(values))))


def share(count: int, total: int, source: str) -> Parameter:
    """A probability of which `count` of `total` cells were seen."""
    found = fraction(count, total)
    return between(found.value, (found.low, found.high), "1", source, total)


def bootstrap(statistic: Callable[[NDArray[np.intp]], Any], count: int, rounds: int, seed: int = 0) -> Floats:
    """(rounds, ...) values of `statistic(indices)` of `count` cells drawn anew with replacement."""
    rng = np.random.default_rng(seed)
    return np.array([statistic(rng.integers(0, count, count)) for _ in range(rounds)], np.float64)


def bootstrap_half(samples: Floats) -> Floats:
    """Half the width of the 95 % interval, (...), from (rounds, ...) bootstrap values, taken as normal.

    With few rounds the standard deviation is known far better than a quantile of 2.5 %.
    """
    half: Floats = Z95 * np.std(samples, axis=0, ddof=1)
    return half
