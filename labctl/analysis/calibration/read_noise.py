"""Repeated reads: white, 1/f and telegraph parts of the noise, and how they spread over cells.

Each cell gives its structure function, half the mean squared difference of relative readings so far apart in time: flat
for white noise, rising with the logarithm for 1/f noise, in one place for a telegraph cell. The parameters are those
of cells whose structure functions have the same quantiles (`simulated_moments`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.calibration.parameters import Base, Fit, Floats, Parameter, between
from labctl.analysis.calibration.persistent_noise import DECADES, TIME_CONSTANTS
from labctl.analysis.calibration.simulated_moments import Matched, match
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr

_FEWEST_CELLS, _FEWEST_SAMPLES = 4, 200
_MOST_CELLS, _BLOCK = 256, 2048
_COPIES = 3  # simulated cells for a measured one
_QUANTILES = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
_LARGEST = (0.25, 0.5, 0.75, 0.95)
_ROUNDS = 200
_BENDS = 8  # of the course that is taken out
_SETTLING = 8  # one part in so many of the record, the first, is left out: cells relax most while it is taken
_CONDUCTS = 10.0  # times the noise floor: what reads less has no relative noise
_SIGNS = 1 << 20
_NAMES = ("read_noise", "read_noise_device_spread", "flicker_noise", "flicker_device_spread", "flicker_excess")
_TELEGRAPH = ("telegraph_fraction", "telegraph_noise", "telegraph_device_spread")
_LOOSENESS = np.array([2.0, 0.7, 2.0, 0.7, 0.15, 1.5, 1.0, 0.5])
_TOLD = 0.5  # of a parameter decided by the data, for it to be called calibrated


@dataclass(frozen=True, slots=True)
class _Record:
    """relative: (cells, samples) readings over their cell's mean. time: (samples,) s. level: (cells,) S.

    pairs: for each lag, which samples to take the difference of, (2, n).
    """

    relative: Floats
    time: Floats
    level: Floats
    pairs: tuple[NDArray[np.intp], ...]


def fit(dataset: xr.Dataset, base: Base) -> Fit:
    """`read_noise*`, `flicker_*` and `telegraph_*`. Raises RecordingError for fewer than 4 cells or 200 samples."""
    record, note = _record(dataset, base)
    cells = len(record.level)
    functions = _structure(record.relative, record.pairs)
    seen = _statistics(functions)
    rng = np.random.default_rng(0)
    drawn = np.array([_statistics(functions[rng.integers(0, cells, cells)]) for _ in range(_ROUNDS)])
    start = _start(base, functions)
    draws = _Draws.of(record, rng)

    def simulate(point: Floats) -> Floats:
        return _statistics(_structure(_simulated(point, record, draws, base), record.pairs))

    found = match(simulate, seen, drawn, start, _LOOSENESS, 1 / _COPIES)
    span = float(record.time[-1] - record.time[0])
    source = f"{dataset.sizes['sample']} reads in {span:.3g} s"
    goodness = f"mean squared miss {found.misfit:.2g} of {len(seen)} quantiles of structure functions"
    return Fit(_parameters(found, source, cells, goodness), (note,))


def _record(dataset: xr.Dataset, base: Base) -> tuple[_Record, str]:
    """The readings to be used, and which were not."""
    conductance = dataset["conductance"].transpose("cell", "sample").values.astype(np.float64)
    time = dataset["time"].values.astype(np.float64)
    whole = np.isfinite(conductance).all(axis=1)
    level = np.where(whole, np.nan_to_num(conductance).mean(axis=1), 0.0)
    used = whole & (level > _CONDUCTS * base.number("read_noise_floor"))
    note = (
        f"read-noise: {int(used.sum())} of {len(used)} cells used; {int((~whole).sum())} with saturated readings, "
        f"{int((whole & ~used).sum())} that hardly conduct"
    )
    if used.sum() < _FEWEST_CELLS or len(time) < _FEWEST_SAMPLES:
        raise RecordingError(
            f"{note}; {len(time)} samples; a fit needs {_FEWEST_CELLS} cells and {_FEWEST_SAMPLES} samples"
        )
    chosen = np.flatnonzero(used)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), _MOST_CELLS)).astype(np.intp)]
    time, conductance = time[len(time) // _SETTLING :], conductance[:, len(time) // _SETTLING :]
    samples, pairs = _pairs(len(time))
    relative = conductance[chosen][:, samples] / level[chosen][:, None]
    return _Record(_levelled(relative, time[samples]), time[samples], level[chosen], pairs), note


def _levelled(relative: Floats, time: Floats) -> Floats:
    """Readings (cells, samples) without their course in the logarithm of time: cells relax while they are read."""
    since = np.log(np.maximum(time, 1e-9))
    knots = np.linspace(since[0], since[-1], _BENDS + 1)
    terms = np.stack([np.interp(since, knots, hat) for hat in np.eye(len(knots))], axis=1)
    levelled: Floats = relative - (relative @ np.linalg.pinv(terms).T) @ terms.T
    return levelled


def _pairs(count: int) -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], ...]]:
    """Samples to keep of `count` (a whole beginning and a comb over all), and pairs of them at lags of powers of 4."""
    begin = np.arange(min(count, _BLOCK))
    stride = max(count // _BLOCK, 1)
    comb = np.arange(0, count, stride)
    samples = np.unique(np.concatenate([begin, comb]))
    pairs = []
    for lags, rows in ((4 ** np.arange(10), begin), (stride * 4 ** np.arange(10), comb)):
        for lag in lags:
            first = rows[rows + lag <= rows[-1]]
            beyond = rows is comb and lag <= len(begin) / 6
            if beyond or lag > (rows[-1] + 1) / 6:
                continue
            pairs.append(np.searchsorted(samples, np.stack([first, first + lag])))
    return samples, tuple(pairs)


def _structure(relative: Floats, pairs: tuple[NDArray[np.intp], ...]) -> Floats:
    """(cells, lags) half the mean squared difference."""
    columns = [0.5 * np.mean((relative[:, later] - relative[:, first]) ** 2, axis=1) for first, later in pairs]
    return np.stack(columns, axis=1)


def _statistics(functions: Floats) -> Floats:
    """Logarithms of quantiles over cells of each lag, and quantiles of how much of its rise a cell has in one place."""
    logs = np.log(np.maximum(functions, 1e-14))
    rises = np.diff(functions, axis=1)
    largest = rises.max(axis=1) / functions[:, -1] if rises.shape[1] else np.zeros(len(functions))
    return np.concatenate([np.quantile(logs, _QUANTILES, axis=0).ravel(), np.quantile(largest, _LARGEST)])


@dataclass(frozen=True, slots=True)
class _Draws:
    """Random numbers of the simulated cells, the same in every simulation."""

    traits: Floats  # (8, cells)
    white: Floats  # (cells, samples)
    states: NDArray[np.int8]  # (time constants, cells, samples)
    level: Floats  # (cells,) S

    @classmethod
    def of(cls, record: _Record, rng: np.random.Generator) -> _Draws:
        count = len(record.level) * _COPIES
        signs = rng.choice(np.array([-1, 1], np.int8), _SIGNS)
        place = rng.integers(0, _SIGNS, count)
        states = []
        for constant in TIME_CONSTANTS:
            tick = np.floor(record.time / constant + rng.random(count)[:, None]).astype(np.int64)
            place = (place * 31 + 17) % _SIGNS
            states.append(signs[(tick * 2_654_435_761 % _SIGNS + place[:, None]) % _SIGNS])
        traits = np.concatenate([rng.standard_normal((4, count)), rng.random((4, count))])
        white = rng.standard_normal((count, len(record.time)))
        return cls(traits, white, np.array(states), np.tile(record.level, _COPIES))


def _simulated(point: Floats, record: _Record, draws: _Draws, base: Base) -> Floats:
    """(cells, samples) relative readings of cells with the parameters of `point`."""
    noise, noise_spread, flicker, flicker_spread = np.exp(point[:4])
    excess, share, step, step_spread = point[4], 1 / (1 + np.exp(-point[5])), np.exp(point[6]), np.exp(point[7])
    normal, even = draws.traits[:4], draws.traits[4:]
    white = np.hypot(noise * np.exp(noise_spread * normal[0]), base.number("read_noise_floor") / draws.level)
    amplitude = flicker * math.sqrt(DECADES) * np.exp(flicker_spread * normal[1])
    amplitudes = np.multiply.outer(TIME_CONSTANTS ** (excess / 2), amplitude)
    low, high = base.number("telegraph_fastest"), base.number("telegraph_slowest")
    able = np.flatnonzero((low <= TIME_CONSTANTS) & (high >= TIME_CONSTANTS))
    if len(able):
        cells = np.arange(len(amplitude))
        which = able[(even[1] * len(able)).astype(np.intp)]
        weight = 1 / (1 + np.exp(-(share - even[0]) / 0.02))  # a cell fades in, so that statistics change smoothly
        amplitudes[which, cells] += weight * step * np.exp(step_spread * normal[2])
    readings = white[:, None] * draws.white
    for size, state in zip(amplitudes, draws.states, strict=True):
        readings += size[:, None] * state
    return _levelled(readings, record.time)


def _start(base: Base, functions: Floats) -> Floats:
    """The base's parameters, brought to about the size of what is seen."""

    def log(name: str, otherwise: float) -> float:
        return math.log(base.number(name) or otherwise)

    share = min(max(base.number("telegraph_fraction"), 0.01), 0.9)
    first, last = np.sqrt(np.median(functions[:, [0, -1]], axis=0))
    rise = math.sqrt(max(last**2 - first**2, (0.05 * first) ** 2))
    lags = max(functions.shape[1] * math.log10(4) / DECADES, 1.0)
    return np.array(
        [
            math.log(max(first, 1e-6)),
            log("read_noise_device_spread", 0.3),
            math.log(max(rise / math.sqrt(lags * DECADES), 1e-6)),
            log("flicker_device_spread", 0.3),
            base.number("flicker_excess"),
            math.log(share / (1 - share)),
            log("telegraph_noise", 0.01),
            log("telegraph_device_spread", 0.5),
        ]
    )


def _parameters(found: Matched, source: str, cells: int, goodness: str) -> dict[str, Parameter]:
    """Back from logarithms and logits; what the data left open is called assumed."""

    def logistic(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    back = [math.exp, math.exp, math.exp, math.exp, float, logistic, math.exp, math.exp]
    result = {}
    for name, turn, at, half, told in zip(_NAMES + _TELEGRAPH, back, found.point, found.half, found.told, strict=True):
        open_ = told < _TOLD
        text = f"{source}; near the base's, as this run hardly tells" if open_ else source
        ends = turn(at - half), turn(at + half)
        result[name] = between(turn(at), ends, "1", text, cells, goodness, "assumed" if open_ else "calibrated")
    return result
