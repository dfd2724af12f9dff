"""Whether near cells of a map are more alike than far ones: Moran's I by distance, by Fourier transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Floats

_EDGES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0)
_LEAST = 8  # cells


@dataclass(frozen=True, slots=True)
class Correlogram:
    """Moran's I of pairs of cells further apart than one `distance` and not further than the next, (d,) each.

    distance: in cells, of which the first holds neighbours along rows and columns. null_low, null_high: where I is
    with the confidence asked for, were values strewn over the cells at random. pairs: of cells.
    """

    distance: Floats
    value: Floats
    null_low: Floats
    null_high: Floats
    pairs: NDArray[np.int64]


def correlogram(values: ArrayLike, *, without_lines: bool = False, confidence: float = CONFIDENCE) -> Correlogram:
    """Moran's I of (rows, cols) `values` up to half the shorter side (256 cells at most); NaN cells left out.

    I = n / S0 * sum w_ij z_i z_j / sum z_i^2 (Moran, Biometrika 37 (1950) 17), w_ij 1 for the pairs of a distance, and
    its mean and variance under random permutation (Cliff and Ord, Spatial Processes (1981), chapter 2), taken as
    normal. All sums over pairs are correlations of maps with themselves or with rings, so products of transforms.

    without_lines: `values` are what is left when means of rows and columns are taken out. Taking out the mean of m
    cells leaves any two of them correlated by -1 / (m - 1), which moves what is to be expected by as much. The variance
    is then a little too large at large distances, so the interval somewhat wide.
    """
    table = np.asarray(values, np.float64)
    known = np.isfinite(table)
    n, farthest = int(known.sum()), min(table.shape) // 2
    edges = np.array([each for each in _EDGES if each <= max(farthest, 1)])
    if n < _LEAST or float(np.nanvar(table)) == 0:
        missing = np.full(len(edges), np.nan)
        return Correlogram(edges, missing, missing, missing, np.zeros(len(edges), np.int64))
    z = np.where(known, table - table[known].mean(), 0.0)
    shape = tuple(fft.next_fast_len(size + int(edges[-1]) + 1, real=True) for size in table.shape)
    products, counts = (_with_itself(each, shape) for each in (z, known.astype(np.float64)))
    ring = _rings(shape, edges)
    s0, together = (_by_ring(ring, each, len(edges)) for each in (np.rint(counts), products))
    squares = np.array([_squared_neighbours(known, ring == number, shape) for number in range(len(edges))])
    mean = _expected(ring, counts, table.shape, len(edges)) if without_lines else np.full(len(edges), -1 / (n - 1))
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(_variance(z[known], s0, squares))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = n / s0 * together / np.sum(z**2)
    return Correlogram(edges, value, mean - half, mean + half, (s0 / 2).astype(np.int64))


def _with_itself(table: Floats, shape: tuple[int, ...]) -> Floats:
    """Sum of products of cells by the offset between them, offsets wrapped into `shape`."""
    spectrum = fft.rfft2(table, shape)
    found: Floats = fft.irfft2(np.abs(spectrum) ** 2, shape)
    return found


def _rings(shape: tuple[int, ...], edges: Floats) -> NDArray[np.intp]:
    """The number of the distance each offset belongs to; len(edges) for none."""
    rows, cols = (np.minimum(np.arange(size), size - np.arange(size)) for size in shape)
    distance = np.hypot(rows[:, None], cols[None, :])
    ring = np.searchsorted(edges, distance)
    ring[0, 0] = len(edges)
    return ring


def _by_ring(ring: NDArray[np.intp], values: Floats, distances: int) -> Floats:
    """Sums of `values` over the offsets of each distance."""
    return np.bincount(ring.ravel(), values.ravel(), distances + 1)[:distances].astype(np.float64)


def _squared_neighbours(known: NDArray[np.bool_], ring: NDArray[np.bool_], shape: tuple[int, ...]) -> float:
    """Sum over known cells of the square of how many known cells are in their ring."""
    spectrum = fft.rfft2(known.astype(np.float64), shape) * fft.rfft2(ring.astype(np.float64), shape)
    neighbours = fft.irfft2(spectrum, shape)[: known.shape[0], : known.shape[1]]
    return float(np.sum(np.where(known, neighbours, 0.0) ** 2))


def _variance(z: Floats, s0: Floats, squared_neighbours: Floats) -> Floats:
    """Of I under permutation; S1 = 2 S0 and S2 = 4 sum k_i^2 for symmetric weights of 0 and 1, k_i neighbours."""
    n = len(z)
    kurtosis = n * np.sum(z**4) / np.sum(z**2) ** 2
    s1, s2 = 2 * s0, 4 * squared_neighbours
    first = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * s0**2)
    second = kurtosis * ((n**2 - n) * s1 - 2 * n * s2 + 6 * s0**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        square = (first - second) / ((n - 1) * (n - 2) * (n - 3) * s0**2)
    variance: Floats = np.maximum(square - 1 / (n - 1) ** 2, 0.0)
    return variance


def _expected(ring: NDArray[np.intp], counts: Floats, shape: tuple[int, ...], distances: int) -> Floats:
    """Mean of I of independent values without the means of their lines."""
    along_row, along_col = -1 / (shape[1] - 1), -1 / (shape[0] - 1)
    of_offset = np.full(ring.shape, along_row * along_col)
    of_offset[0, :], of_offset[:, 0] = along_row, along_col
    weight, total = (_by_ring(ring, each, distances) for each in (counts * of_offset, counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected: Floats = weight / total
    return expected
