"""Relaxation after programming: memory and innovations of an autoregression over the measured times.

The change R_k of a cell's conductance from as programmed to the k-th time is modelled as

    R_k = memory_k R_(k-1) + I_k,  I_k of the quantiles measured at the cell's level.

The memories are those whose products come nearest to the regressions of every time on every earlier one. Cells that
have moved much go on moving much, up or down: with the probability `volatility` a cell's innovation has the rank of the
one before it, or the opposite one. The quantiles of I_k are those with which, all that taken together, the distribution
of R_k comes out as measured. Read noise is taken out, as a chip made of the fit adds its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.calibration import faults
from labctl.analysis.calibration.parameters import (
    Base,
    Fit,
    Floats,
    Parameter,
    between,
    bootstrap_half,
    robust_spread,
    scalar,
)
from labctl.analysis.calibration.persistent_noise import is_measured, relative_variance, scaled_noise
from labctl.analysis.calibration.quantile_functions import (
    PROBABILITIES,
    basis,
    fit_innovation,
    ranked,
    without_noise,
)
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr

_CELLS_A_LEVEL = 300
_MOST_LEVELS = 12
_FEWEST_CELLS = 60  # of a level at a time: below, its neighbours stand in
_READ_BY = 0.25  # of the cells have to be read at a time for it to count
_ROUNDS = 20  # of the bootstrap
_CLIPPED = 0.002  # of the changes at either end, so that no single cell decides a regression
_MEAN_SIZE = math.sqrt(2 / math.pi)  # of a standard normal
_NOISE_SHARE = 0.25  # of the variance of the first change, the most that read noise can plausibly be


@dataclass(frozen=True, slots=True)
class Changes:
    """What is fitted, of n cells at m times after programming, in so many levels.

    times: (m,) s. level: (n,) S as programmed. change: (n, m) S since, NaN where not read. group: (n,) the number of
    its level. levels: (levels,) S. noise: (levels, m) variance of read noise in a change, S**2.
    """

    times: Floats
    level: Floats
    change: Floats
    group: NDArray[np.intp]
    levels: Floats
    noise: Floats

    def resampled(self, cells: NDArray[np.intp]) -> Changes:
        return replace(self, level=self.level[cells], change=self.change[cells], group=self.group[cells])


def fit(dataset: xr.Dataset, base: Base) -> Fit:
    """`relaxation_*` of a retention measurement, and bounds of the read noise where `base` has more than it shows.

    Raises RecordingError where no time after programming was read of most cells, or fewer than 60 cells are usable.
    """
    conductance = dataset["conductance"].transpose("cell", "time").values.astype(np.float64)
    target = dataset["target"].values.astype(np.float64) if "target" in dataset else None
    found = faults.of_states(conductance, target)
    used = found.usable
    if used.sum() < _FEWEST_CELLS:
        raise RecordingError(f"{found.note('retention')}: a fit needs at least {_FEWEST_CELLS}")
    times, columns = _times(dataset["elapsed"].transpose("cell", "time").values[used], conductance[used])
    if not len(times):
        raise RecordingError("retention: the cells were not read after programming")
    level = conductance[used, 0]
    group, levels = _grouped(level, None if target is None else target[used])
    changes = Changes(
        times, level, conductance[used][:, columns] - level[:, None], group, levels, np.zeros((len(levels), len(times)))
    )
    quiet, bounds = _bounded_noise(changes, base)
    changes = replace(changes, noise=_noise(levels, times, quiet))
    temperature = float(dataset.attrs.get("temperature", math.nan))
    return Fit(
        _parameters(changes, temperature, "relaxation_volatility" in base.values) | bounds,
        (found.note("retention"), *_notes(changes)),
    )


def _times(elapsed: Floats, conductance: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Times (m,) s since programming at which enough cells were read, increasing, and their columns."""
    read = np.isfinite(conductance) & np.isfinite(elapsed)
    columns = [number for number in range(1, read.shape[1]) if read[:, number].mean() >= _READ_BY]
    middle = {number: float(np.median(elapsed[read[:, number], number])) for number in columns}
    chosen: list[int] = []
    for number in sorted(columns, key=middle.__getitem__):
        if middle[number] > (middle[chosen[-1]] * 1.001 if chosen else 0.0):
            chosen.append(number)
    return np.array([middle[number] for number in chosen]), np.array(chosen, np.intp)


def _grouped(level: Floats, target: Floats | None) -> tuple[NDArray[np.intp], Floats]:
    """The level number (n,) of every cell, and the median conductance of each, S, increasing.

    The targets themselves where they are few with enough cells each, else bins of about equally many cells.
    """
    most = min(max(len(level) // _CELLS_A_LEVEL, 1), _MOST_LEVELS)
    if target is not None and np.isfinite(target).all():
        targets, group = np.unique(target, return_inverse=True)
        if len(targets) <= most and np.bincount(group).min() >= _FEWEST_CELLS:
            return _ordered(level, group)
    edges = np.quantile(level, np.linspace(0, 1, most + 1)[1:-1])
    return _ordered(level, np.searchsorted(np.unique(edges), level, side="right"))


def _ordered(level: Floats, group: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
    """Groups in the order of their medians; those with the same median, or none, become one."""
    medians = {int(each): max(float(np.median(level[group == each])), 0.0) for each in np.unique(group)}
    levels = np.unique([float(f"{each:.4g}") for each in medians.values()])
    number = {each: int(np.argmin(np.abs(levels - middle))) for each, middle in medians.items()}
    return np.array([number[int(each)] for each in group], np.intp), levels


# -- read noise ---------------------------------------------------------------------------------------------------


def _noise(levels: Floats, times: Floats, base: Base) -> Floats:
    """(levels, m) S**2: what read noise adds to the variance of a change, of both its readings."""
    relative = np.array([relative_variance(base, faster_than=time) for time in times])
    noise: Floats = 2 * np.square(levels)[:, None] * relative + 2 * base.number("read_noise_floor") ** 2
    return noise


def _bounded_noise(changes: Changes, base: Base) -> tuple[Base, dict[str, Parameter]]:
    """The base with its read noise scaled down to what the first change leaves room for, and the new values.

    Noise that was measured stays as it is.
    """
    if is_measured(base):
        return base, {}
    noise = _noise(changes.levels, changes.times[:1], base)[:, 0]
    seen = [robust_spread(changes.change[changes.group == each, 0]) ** 2 for each in range(len(changes.levels))]
    known = np.isfinite(seen)
    if not known.any():
        return base, {}
    share = float(np.median(noise[known] / np.maximum(np.array(seen)[known], 1e-30)))
    if share <= _NOISE_SHARE:
        return base, {}
    source = (
        f"at most {_NOISE_SHARE:.0%} of the variance of the change in the first {changes.times[0]:.3g} s is read noise"
    )
    bounds = scaled_noise(base, math.sqrt(_NOISE_SHARE / share), source, len(changes.level))
    return base.with_fit(Fit(bounds)), bounds


# -- the fit ------------------------------------------------------------------------------------------------------


def _parameters(changes: Changes, temperature: float, volatile: bool) -> dict[str, Parameter]:
    rng = np.random.default_rng(0)
    fitted = Autoregression.of(changes, rng, volatile)
    cells = len(changes.level)
    rounds = [
        Autoregression.of(changes.resampled(rng.integers(0, cells, cells)), rng, volatile) for _ in range(_ROUNDS)
    ]
    memory, quantiles = fitted.memory, fitted.quantiles
    memory_half = bootstrap_half(np.array([each.memory for each in rounds]))
    half = bootstrap_half(np.array([each.quantiles for each in rounds]))
    source = f"change since programming of {cells} cells at {len(changes.times)} times and {len(changes.levels)} levels"
    goodness = _goodness(changes, fitted, rng)

    def table(value: Floats, unit: str, half: Floats | None = None, goodness: str = "") -> Parameter:
        low, high = (None, None) if half is None else (value - half, value + half)
        return Parameter(value, unit, source, cells, low, high, goodness)

    found = {
        "relaxation_times": table(changes.times, "s"),
        "relaxation_levels": table(changes.levels, "S"),
        "relaxation_probabilities": table(np.array(PROBABILITIES), "1"),
        "relaxation_quantiles": table(quantiles, "S", half, goodness),
        "relaxation_memory": table(memory, "1", memory_half),
    }
    if volatile:
        spread = bootstrap_half(np.array([each.volatility for each in rounds]))
        ends = max(fitted.volatility - float(spread), 0.0), min(fitted.volatility + float(spread), 1.0)
        found["relaxation_volatility"] = between(fitted.volatility, ends, "1", source, cells)
    if math.isfinite(temperature):
        found["relaxation_temperature"] = scalar(temperature, "K", "temperature of the retention run", cells)
    return found


@dataclass(frozen=True, slots=True)
class Autoregression:
    """memory: (m,), 0 first. volatility: 0 to 1. quantiles: (m, levels, q) S."""

    memory: Floats
    volatility: float
    quantiles: Floats

    @classmethod
    def of(cls, changes: Changes, rng: np.random.Generator, volatile: bool = True) -> Autoregression:
        """rng: pairs values at random within the fit. volatile: whether cells may differ in how much they move.

        Sizes of changes are ranks of noisy ones, so cells drawn from the fit seem less volatile than they are; the
        volatility is corrected by as much.
        """
        memory = _memory(changes)
        if not volatile:
            return cls._with(changes, memory, 0.0, rng)
        seen = _volatility(_scores(changes, memory), changes)
        first = cls._with(changes, memory, seen, rng)
        again = _redrawn(first, changes, rng)
        lost = seen - _volatility(_scores(again, memory), again)
        return cls._with(changes, memory, float(np.clip(seen + lost, 0.0, 0.95)), rng)

    @classmethod
    def _with(cls, changes: Changes, memory: Floats, volatility: float, rng: np.random.Generator) -> Autoregression:
        """The quantiles that go with that memory and volatility."""
        knots, scores = knot_scores(), _scores(changes, memory)
        quantiles = np.full((len(changes.times), len(changes.levels), len(knots)), np.nan)
        for time in range(len(changes.times)):
            for number in range(len(changes.levels)):
                before, after, kept = _pair(changes, scores, time, number)
                if len(after) >= min(_FEWEST_CELLS, len(changes.level)) / 2:
                    share = volatility if time else 0.0
                    quantiles[time, number] = fit_innovation(memory[time] * before, after, kept, share, knots, rng)
            _fill(quantiles[time], changes.levels)
        return cls(memory, volatility, quantiles)


def _redrawn(fitted: Autoregression, changes: Changes, rng: np.random.Generator) -> Changes:
    """As many cells with the fit's changes and the read noise of both readings, missing where the measured ones are."""
    drawn = np.empty_like(changes.change)
    for number in range(len(changes.levels)):
        cells = np.flatnonzero(changes.group == number)
        deviation = np.sqrt(changes.noise[number] / 2)
        common = rng.standard_normal((len(cells), 1))
        noise = deviation * (rng.standard_normal((len(cells), len(deviation))) - common)
        drawn[cells] = simulated(fitted, number, len(cells), rng) + noise
    drawn[~np.isfinite(changes.change)] = np.nan
    return replace(changes, change=drawn)


def _scores(changes: Changes, memory: Floats) -> Floats:
    """(n, m) normal scores of every cell's innovations within its level; NaN where it was not read."""
    scores = np.full_like(changes.change, np.nan)
    for time in range(len(changes.times)):
        before = np.nan_to_num(changes.change[:, time - 1]) if time else np.zeros(len(changes.level))
        innovation = changes.change[:, time] - memory[time] * before
        for number in range(len(changes.levels)):
            cells = np.flatnonzero((changes.group == number) & np.isfinite(innovation))
            scores[cells, time] = ranked(innovation[cells])
    return scores


def _volatility(scores: Floats, changes: Changes) -> float:
    """Correlation of the sizes of successive scores: of a share that keeps its size, and a rest that draws anew."""
    pairs = []
    for time in range(1, len(changes.times)):
        both = np.isfinite(scores[:, time]) & np.isfinite(scores[:, time - 1])
        sizes = np.abs(scores[both][:, [time - 1, time]])
        pairs.append(sizes - _MEAN_SIZE)
    if not pairs:
        return 0.0
    first, second = np.concatenate(pairs).T
    return float(np.clip((first * second).mean() / (1 - _MEAN_SIZE**2), 0.0, 0.95)) if len(first) else 0.0


def knot_scores() -> Floats:
    """The normal scores (q,) of PROBABILITIES."""
    from scipy.special import ndtri

    scores: Floats = ndtri(np.array(PROBABILITIES))
    return scores


def _pair(changes: Changes, scores: Floats, time: int, number: int) -> tuple[Floats, Floats, Floats]:
    """Changes at the time before `time` (0 before the first) and at it, and the scores of the innovations before, of
    the cells of a level that have all."""
    cells = changes.group == number
    after = changes.change[cells, time]
    before = changes.change[cells, time - 1] if time else np.zeros(len(after))
    kept = scores[cells, time - 1] if time else np.zeros(len(after))
    both = np.isfinite(before) & np.isfinite(after) & np.isfinite(kept)
    before, after = before[both], after[both]
    if time:
        before = without_noise(before, changes.noise[number, time - 1])
    return before, without_noise(after, changes.noise[number, time]), kept[both]


def _fill(quantiles: Floats, levels: Floats) -> None:
    """Levels with too few cells (NaN rows of (levels, q)) take what lies between their neighbours, in place."""
    known = np.isfinite(quantiles[:, 0])
    if not known.any():
        quantiles[:] = 0.0
    elif not known.all():
        for column in quantiles.T:
            column[~known] = np.interp(levels[~known], levels[known], column[known])


def _memory(changes: Changes) -> Floats:
    """(m,) with 0 first: products nearest to the slopes of every time on every earlier one, weighted by their cells.

    Second moments, not a robust line through the core: what a fit must keep is variances and correlations, and those
    are the tails'. Only the outermost changes are clipped, so that no single cell decides.
    """
    from scipy.optimize import least_squares

    count = len(changes.times)
    if count == 1:
        return np.zeros(1)
    low, high = np.nanquantile(changes.change, [_CLIPPED, 1 - _CLIPPED], axis=0)
    change = np.clip(changes.change, low, high)
    pairs = [(j, k) for j in range(count) for k in range(j + 1, count)]
    slopes = np.array([_slope(changes, change, j, k) for j, k in pairs])
    known = np.isfinite(slopes[:, 0])
    start = np.array([_slope(changes, change, k - 1, k)[0] for k in range(1, count)])

    def misses(memory: Floats) -> Floats:
        products = np.array([np.prod(memory[j:k]) for j, k in pairs])
        found: Floats = ((products - slopes[:, 0]) * np.sqrt(slopes[:, 1]))[known]
        return found

    start = np.clip(np.nan_to_num(start), -0.4, 1.4)
    if not known.any():
        return np.concatenate([[0.0], start])
    return np.concatenate([[0.0], least_squares(misses, start, bounds=(-0.5, 1.5)).x])


def _slope(changes: Changes, change: Floats, j: int, k: int) -> tuple[float, float]:
    """Slope of the change at time `k` on that at `j` within levels, without read noise; and how many cells it is of."""
    both = np.isfinite(change[:, j]) & np.isfinite(change[:, k])
    group, before, after = changes.group[both], change[both, j], change[both, k]
    counts = np.bincount(group, minlength=len(changes.levels))
    if not counts.any():
        return math.nan, 0.0
    divisor = np.maximum(counts, 1)
    before = before - (np.bincount(group, before, len(counts)) / divisor)[group]
    after = after - (np.bincount(group, after, len(counts)) / divisor)[group]
    noise = float((counts * changes.noise[:, j]).sum())
    variance = float((before**2).sum()) - noise
    if variance <= 0:
        return math.nan, 0.0
    return (float((before * after).sum()) - noise / 2) / variance, float(counts.sum())


def simulated(fitted: Autoregression, number: int, cells: int, rng: np.random.Generator) -> Floats:
    """(cells, m) S: changes of cells of the level `number`, drawn from the fit."""
    times = len(fitted.memory)
    drawn, score = np.zeros((cells, times)), rng.standard_normal(cells)
    last = np.zeros(cells)
    for time in range(times):
        if time:
            keeps = rng.random(cells) < fitted.volatility
            score = np.where(keeps, score * rng.choice([-1.0, 1.0], cells), rng.standard_normal(cells))
        last = fitted.memory[time] * last + basis(score, knot_scores()) @ fitted.quantiles[time, number]
        drawn[:, time] = last
    return drawn


def _goodness(changes: Changes, fitted: Autoregression, rng: np.random.Generator) -> str:
    """Median and largest Kolmogorov-Smirnov distance over levels and times, of cells drawn from the fit."""
    from scipy.stats import ks_2samp

    distances = []
    for number in range(len(changes.levels)):
        cells = changes.group == number
        drawn = simulated(fitted, number, max(int(cells.sum()), 4000), rng)
        for time in range(len(changes.times)):
            seen = changes.change[cells, time]
            seen = without_noise(seen[np.isfinite(seen)], changes.noise[number, time])
            if len(seen):
                distances.append(float(ks_2samp(drawn[:, time], seen, method="asymp").statistic))
    return f"KS {np.median(distances):.3f} (median over levels and times), {max(distances):.3f} (largest)"


def _notes(changes: Changes) -> tuple[str, ...]:
    """Times that many cells lack."""
    found = []
    for number, time in enumerate(changes.times):
        share = float(np.isfinite(changes.change[:, number]).mean())
        if share < 0.95:
            found.append(f"retention: only {share:.0%} of the cells were read at {time:.3g} s")
    return tuple(found)
