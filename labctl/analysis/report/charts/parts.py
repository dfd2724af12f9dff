"""What charts are made of: histograms, bands, shares, estimates with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike, NDArray

from labctl.analysis.estimators import Estimate
from labctl.analysis.figures.panels import BLUE, GREEN, GREY, LEVEL_COLOURS, MICRO, RED, edges_between, thinned
from labctl.analysis.report.content import Axis, Chart, Series

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "MICRO",
    "RED",
    "Axis",
    "Chart",
    "Series",
    "above_zero",
    "band",
    "cumulative",
    "estimates",
    "histogram",
    "shades",
    "some",
    "survival",
]

Floats = NDArray[np.float64]
_BINS = 60
_MOST_POINTS = 1500


def shades(count: int) -> list[str]:
    """So many colours in order, as levels and times have them."""
    return [to_hex(each) for each in mpl.colormaps[LEVEL_COLOURS](np.linspace(0, 0.85, max(count, 1)))]


def above_zero(values: np.ndarray) -> np.ndarray:
    """Without zeros, which have no logarithm."""
    return np.where(values > 0, values, np.nan)


def histogram(values: ArrayLike, x: str, title: str, *, colour: str = BLUE, y: str = "cells") -> Chart | None:
    """Of all but the outermost in a thousand on either side; None of nothing."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return None
    low, high = (float(each) for each in np.quantile(known, [0.001, 0.999]))
    pad = (high - low) * 0.05 or abs(high) / 20 or 0.5
    counts, edges = np.histogram(known, edges_between(known, low - pad, high + pad, _BINS))
    outside = known.size - int(counts.sum())
    span = f"from {known.min():.4g} to {known.max():.4g}"
    told = f"Histogram of {x}: {known.size:,} {y}, median {np.median(known):.4g}, {span}."
    bars = Series("bars", edges, counts.astype(np.float64), "", colour=colour)
    note = f" ({outside:,} beyond)" if outside else ""
    return Chart(title, Axis(f"{x}{note}"), Axis(y, low=0.0), [bars], told)


def band(x: ArrayLike, values: Floats, label: str, colour: str) -> Series:
    """The median of `values` (samples, x), in the range of 5 to 95 % of them; where any is known."""
    there = np.isfinite(values).any(axis=0)
    low, middle, high = np.nanquantile(values[:, there], [0.05, 0.5, 0.95], axis=0)
    return Series("area", np.asarray(x, np.float64)[there], middle, label, low, high, colour)


def estimates(x: ArrayLike, found: Sequence[Estimate], label: str, colour: str, scale: float = 1.0) -> Series:
    """Estimates with their intervals."""
    value, low, high = (np.array([getattr(each, name) for each in found]) * scale for name in ("value", "low", "high"))
    return Series("line", np.asarray(x, np.float64), value, label, low, high, colour)


def cumulative(values: ArrayLike, label: str, colour: str) -> Series | None:
    """The share of `values` at or below each, in per cent."""
    ordered = np.sort(np.asarray(values, np.float64)[np.isfinite(values)])
    if not ordered.size:
        return None
    shown = thinned(ordered.size)
    return Series("line", ordered[shown], (shown + 0.5) / ordered.size * 100, label, colour=colour)


def survival(values: ArrayLike, label: str, colour: str) -> Series | None:
    """The share of whole numbers `values` that are above each there is, in per cent."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return None
    found, counts = np.unique(known, return_counts=True)
    return Series("steps", found, (1 - counts.cumsum() / known.size) * 100, label, colour=colour)


def some(rows: int) -> NDArray[np.intp]:
    """Which of so many to draw as points: all, or an even choice that is the same each time."""
    if rows <= _MOST_POINTS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).permutation(rows)[:_MOST_POINTS])
