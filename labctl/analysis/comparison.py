"""Two runs of one kind of measurement against each other: quantile by quantile, each difference with its interval.

A run of a twin against the run it was made from, one chip against another, or the same chip on another day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.calibration import faults
from labctl.analysis.characterisation import Statistic, statistics_of
from labctl.analysis.measurements import a_run_of
from labctl.errors import UsageError
from labctl.units import format_quantity

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
ESCAPE = 0.025
"""Share of full scale beyond which a change counts as an escape."""

_ROUNDS = 200
_LEVELS = 5
_CELLS_A_LEVEL = 60
_STRETCHES = 20
_FEWEST = 5  # values, for a distribution to be spoken of
_QUARTERS = 4
_SAME_TIME = 0.15  # relative difference of two times that count as one
_SHARES = ("escape", "tail", "correlation", "success", "share")
"""Statistics whose differences are told as such, as they are shares already."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One statistic of both runs. what: of it, as in `10 s, 5 uS to 15 uS`. low, high: 95 % interval of the
    difference, second less first. cells: of the first and the second behind it.
    """

    statistic: str
    what: str
    unit: str
    first: float
    second: float
    low: float
    high: float
    cells: tuple[int, int]

    @property
    def is_within_error(self) -> bool:
        """Whether the two may well be the same."""
        return not (self.low > 0 or self.high < 0)

    @property
    def relative(self) -> float:
        """The difference over the first; NaN where that says nothing."""
        return (self.second - self.first) / abs(self.first) if self.first else math.nan

    @property
    def verdict(self) -> str:
        """`within error`, or by how much they differ."""
        if not (math.isfinite(self.first) and math.isfinite(self.second)):
            return "not known"
        if self.is_within_error:
            return "within error"
        if self.statistic.startswith(_SHARES) or not math.isfinite(self.relative):
            return f"differs by {self.second - self.first:+.3f}"
        if (abs(self.relative) > 3 or self.first < 0 or self.second < 0) and self.unit not in ("", "1"):
            difference = self.second - self.first
            return f"differs by {'+' if difference > 0 else ''}{format_quantity(difference, self.unit, 3)}"
        return f"differs by {_in_percent(self.relative)}"


def _in_percent(share: float) -> str:
    """With as many digits as it takes to be more than +0 %."""
    digits = 0 if abs(share) >= 0.01 else min(max(-math.floor(math.log10(abs(share) or 1)) - 2, 0), 4)
    return f"{share:+.{digits}%}"


def compare(first: xr.Dataset, second: xr.Dataset) -> list[Comparison]:
    """Everything that both measurements tell, second against first. Raises UsageError for two kinds."""
    kinds = [str(each.attrs["measurement"]) for each in (first, second)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"{a_run_of(kinds[0])} and {a_run_of(kinds[1])} cannot be compared: they measure different things"
        )
    if kinds[0] == "retention":
        found = list(_retention(first, second))
    elif kinds[0] == "pulse-response":
        found = list(_trains(first, second))
    elif kinds[0] in _SAMPLES:
        found = list(_distributions(_SAMPLES[kinds[0]](first), _SAMPLES[kinds[0]](second)))
    else:
        found = []
    return found or _statistics(statistics_of(first), statistics_of(second))


# -- retention: per level and time --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Changes:
    """level: (cells,) S as programmed. change: (cells, times) S since."""

    level: Floats
    change: Floats

    @classmethod
    def of(cls, dataset: xr.Dataset, times: Floats) -> _Changes:
        """Of cells without a fault, at those of its times that are nearest to `times`."""
        conductance = dataset["conductance"].transpose("cell", "time").values.astype(np.float64)
        own = dataset["time"].values.astype(np.float64)
        columns = [int(np.argmin(np.abs(own - time))) for time in times]
        target = dataset["target"].values.astype(np.float64) if "target" in dataset else None
        conductance = conductance[faults.of_states(conductance, target).usable]
        return cls(conductance[:, 0], conductance[:, columns] - conductance[:, :1])

    def among(self, cells: NDArray[np.bool_]) -> Floats:
        return self.change[cells]


def _retention(first: xr.Dataset, second: xr.Dataset) -> Iterator[Comparison]:
    times = _common_times(first, second)
    both = _Changes.of(first, times), _Changes.of(second, times)
    scale = float(np.quantile(both[0].level, 0.99))
    levels = _levels(both[0].level)
    labels = [format_quantity(time, "s", 3) for time in times]
    for low, high in levels:
        chosen = [each.among((each.level >= low) & (each.level < high)) for each in both]
        where = f"{_edge(low)} to {_edge(high)}"
        if min(len(each) for each in chosen) >= _CELLS_A_LEVEL / 4:
            yield from _rows(chosen, [f"{label}, {where}" for label in labels], _of_a_level, ["S"] * 10)
    everything = [each.change for each in both]
    yield from _rows(everything, labels, lambda change: _of_all(change, ESCAPE * scale), ["1", "1"])
    yield from _correlations(everything, labels)


def _common_times(first: xr.Dataset, second: xr.Dataset) -> Floats:
    """Times of the first that the second has too. Raises UsageError where there is none."""
    own, other = (each["time"].values.astype(np.float64) for each in (first, second))
    own, other = own[own > 0], other[other > 0]
    common = [time for time in own if len(other) and np.min(np.abs(other - time)) <= _SAME_TIME * time]
    if not common:
        raise UsageError("the two retention runs have no time in common")
    return np.array(common)


def _levels(level: Floats) -> list[tuple[float, float]]:
    """Bins of about equally many cells, open to either side."""
    count = min(max(len(level) // _CELLS_A_LEVEL, 1), _LEVELS)
    edges = np.unique(np.quantile(level, np.linspace(0, 1, count + 1)[1:-1]))
    ends = [-math.inf, *edges.tolist(), math.inf]
    return list(pairwise(ends))


def _edge(level: float) -> str:
    if math.isinf(level):
        return "lowest" if level < 0 else "highest"
    return format_quantity(level, "S", 3)


_LEVEL_STATISTICS = ("mean", "sd", "robust_sd", *(f"p{100 * each:g}" for each in PROBABILITIES))


def _of_a_level(change: Floats) -> dict[str, Floats]:
    """(times,) each, of changes (cells, times)."""
    quantiles = np.nanquantile(change, PROBABILITIES, axis=0)
    middle = np.nanmedian(change, axis=0)
    found = {
        "mean": np.nanmean(change, axis=0),
        "sd": np.nanstd(change, axis=0),
        "robust_sd": estimators.MAD_TO_SD * np.nanmedian(np.abs(change - middle), axis=0),
    }
    return found | {f"p{100 * each:g}": row for each, row in zip(PROBABILITIES, quantiles, strict=True)}


def _of_all(change: Floats, beyond: float) -> dict[str, Floats]:
    """Share of cells that changed by more than `beyond`, and of those beyond 3 standard deviations: (times,) each."""
    known = np.isfinite(change)
    count = np.maximum(known.sum(axis=0), 1)
    away = np.abs(np.where(known, change, 0))
    centred = np.abs(np.where(known, change - np.nanmean(change, axis=0), 0))
    escape = (away > beyond).sum(axis=0) / count
    tail = (centred > 3 * np.nanstd(change, axis=0)).sum(axis=0) / count
    return {"escape": escape, "tail_beyond_3_sd": tail}


def _rows(
    samples: list[Floats], labels: list[str], statistic: Callable[[Floats], Mapping[str, Floats]], units: list[str]
) -> Iterator[Comparison]:
    """One comparison a statistic and label, of (cells, labels) samples, with bootstrap intervals over cells."""
    values = [statistic(_enough(each)) for each in samples]
    drawn = [_drawn(_enough(each), statistic, seed) for seed, each in enumerate(samples)]
    for (name, one), unit in zip(values[0].items(), units, strict=True):
        difference = drawn[1][name] - drawn[0][name]
        low, high = np.nanquantile(difference, [0.025, 0.975], axis=0)
        for number, label in enumerate(labels):
            counts = [int(np.isfinite(each[:, number]).sum()) for each in samples]
            if min(counts) < 2:
                continue
            ends = float(low[number]), float(high[number])
            found = float(one[number]), float(values[1][name][number])
            yield Comparison(name, label, unit, *found, *ends, (counts[0], counts[1]))


def _enough(sample: Floats) -> Floats:
    """`sample` (cells, labels) with a 0 in columns that hold nothing, which are left out later."""
    empty = ~np.isfinite(sample).any(axis=0)
    return np.where(empty, 0.0, sample) if empty.any() else sample


def _drawn(sample: Floats, statistic: Callable[[Floats], Mapping[str, Floats]], seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    count = len(sample)
    rounds = []
    for _ in range(_ROUNDS):
        drawn = sample[rng.integers(0, count, count)]
        rounds.append(statistic(_enough(drawn)))
    return {name: np.array([each[name] for each in rounds]) for name in rounds[0]}


def _correlations(samples: list[Floats], labels: list[str]) -> Iterator[Comparison]:
    """Of a cell's change at every time and at the last."""
    last = samples[0].shape[1] - 1
    for number in range(last):
        found = [estimators.correlation(each[:, number], each[:, last]) for each in samples]
        yield _difference("correlation", f"{labels[number]} and {labels[last]}", "1", found[0], found[1])


# -- every other kind: distributions over cells -------------------------------------------------------------------


Quantities = Mapping[str, tuple[Floats, str]]
"""Of a measurement: name -> values (n,), unit."""


def _forming(dataset: xr.Dataset) -> Quantities:
    voltage = _values(dataset["forming_voltage"])
    return {
        "forming voltage": (voltage, "V"),
        "conductance after forming": (_values(dataset["conductance"])[np.isfinite(voltage)], "S"),
        "share formed": (np.isfinite(voltage).astype(np.float64), "1"),
    }


def _programming(dataset: xr.Dataset) -> Quantities:
    reached, target = _values(dataset["reached"]), _values(dataset["target"])
    return {
        "pulses": (_values(dataset["pulses"]), "1"),
        "success": (_values(dataset["success"]), "1"),
        "error": (reached - target, "S"),
    }


def _endurance(dataset: xr.Dataset) -> Quantities:
    found: dict[str, tuple[Floats, str]] = {}
    for state in ("lrs", "hrs"):
        values = dataset["conductance"].sel(state=state).transpose("cell", "cycle").values.astype(np.float64)
        logs = np.log10(np.where(values > 0, values, np.nan))
        found[f"{state} of a cell"] = (np.nanmedian(values, axis=1), "S")
        found[f"{state} decades cycle to cycle"] = (np.nanstd(logs, axis=1, ddof=1), "1")
    return found


def _read_noise(dataset: xr.Dataset) -> Quantities:
    values = dataset["conductance"].transpose("cell", "sample").values.astype(np.float64)
    level = np.nanmean(values, axis=1)
    relative = values / np.where(level > 0, level, np.nan)[:, None]
    steps = np.diff(relative, axis=1)
    return {
        "relative sd": (np.nanstd(relative, axis=1), "1"),
        "relative sd of neighbours": (np.nanstd(steps, axis=1) / math.sqrt(2), "1"),
    }


def _iv(dataset: xr.Dataset) -> Quantities:
    values = dataset["conductance"].transpose("cell", "voltage").values.astype(np.float64)
    volts = dataset["voltage"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            f"conductance at {volts[-1]:g} V over that at {volts[0]:g} V": (values[:, -1] / values[:, 0], "1"),
            f"conductance at {volts[-1]:g} V": (values[:, -1], "S"),
        }


def _map(dataset: xr.Dataset) -> Quantities:
    return {"conductance": (_values(dataset["conductance"]), "S")}


def _values(values: xr.DataArray) -> Floats:
    found: Floats = values.values.astype(np.float64).ravel()
    return found


_SAMPLES: dict[str, Callable[[xr.Dataset], Quantities]] = {
    "forming": _forming,
    "forming-density": _forming,
    "programming": _programming,
    "endurance": _endurance,
    "read-noise": _read_noise,
    "iv": _iv,
    "map": _map,
}


def _distributions(first: Quantities, second: Quantities) -> Iterator[Comparison]:
    """Mean, standard deviation and quantiles of every quantity of both; shares of what is only yes or no."""
    for name in (each for each in first if each in second):
        (one, unit), (other, _) = first[name], second[name]
        one, other = one[np.isfinite(one)], other[np.isfinite(other)]
        if min(len(one), len(other)) < _FEWEST:
            continue
        if np.isin(one, (0.0, 1.0)).all() and np.isin(other, (0.0, 1.0)).all():
            shares = [estimators.fraction(int(each.sum()), len(each)) for each in (one, other)]
            yield _difference("share", name, unit, shares[0], shares[1])
            continue
        yield _difference("mean", name, unit, estimators.mean(one), estimators.mean(other))
        deviations = [estimators.standard_deviation(each) for each in (one, other)]
        yield _difference("sd", name, unit, deviations[0], deviations[1])
        yield from _quantiles(name, unit, one, other)


def _trains(first: xr.Dataset, second: xr.Dataset) -> Iterator[Comparison]:
    """Steps of conductance of either direction, where they begin in each quarter of the first run's conductances."""
    for direction in ("set", "reset"):
        starts, steps, clusters = zip(*(_steps(each, direction) for each in (first, second)), strict=True)
        shares = np.linspace(0, 1, _QUARTERS + 1)
        edges: list[float] = np.unique(np.quantile(starts[0], shares)).tolist() if len(starts[0]) else []
        for low, high in pairwise(edges):
            inside = [(start >= low) & (start <= high) for start in starts]
            name = f"{direction} step at {_edge(low)} to {_edge(high)}"
            parts = zip(steps, clusters, inside, strict=True)
            yield from _clustered(name, [(step[chosen], cluster[chosen]) for step, cluster, chosen in parts])


def _clustered(name: str, samples: list[tuple[Floats, NDArray[np.intp]]]) -> Iterator[Comparison]:
    """Mean, standard deviation and quantiles of values, S, with intervals by drawing anew the clusters they are of."""
    counts = [len(np.unique(cluster)) for _, cluster in samples]
    if min(counts) < 2 or min(len(values) for values, _ in samples) < _FEWEST:
        return
    drawn = [_drawn_clusters(*sample, seed) for seed, sample in enumerate(samples)]
    labels = ("mean", "sd", *(f"p{100 * each:g}" for each in PROBABILITIES))
    found = [_of_weighted(np.sort(values), np.ones(len(values))) for values, _ in samples]
    low, high = np.quantile(drawn[1] - drawn[0], [0.025, 0.975], axis=0)
    for number, label in enumerate(labels):
        first, second = float(found[0][number]), float(found[1][number])
        ends = float(low[number]), float(high[number])
        yield Comparison(label, name, "S", first, second, *ends, (counts[0], counts[1]))


def _drawn_clusters(values: Floats, cluster: NDArray[np.intp], seed: int) -> Floats:
    """(rounds, statistics) of values whose clusters count as often as each was drawn."""
    rng = np.random.default_rng(seed)
    order = np.argsort(values)
    clusters, place = np.unique(cluster[order], return_inverse=True)
    even = np.full(len(clusters), 1 / len(clusters))
    return np.array([_of_weighted(values[order], rng.multinomial(len(even), even)[place]) for _ in range(_ROUNDS)])


def _of_weighted(values: Floats, weight: NDArray[np.float64 | np.int64]) -> Floats:
    """Mean, standard deviation and quantiles of sorted values (n,) that count `weight` (n,) times."""
    total = weight.sum()
    mean = float(values @ weight) / total
    deviation = math.sqrt(float((values - mean) ** 2 @ weight) / total)
    place = np.searchsorted(np.cumsum(weight), np.array(PROBABILITIES) * total)
    return np.array([mean, deviation, *values[np.minimum(place, len(values) - 1)]])


def _steps(dataset: xr.Dataset, direction: str) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Conductance before every pulse, and its change by it, S; and what is independent: (n,) each.

    That is its cell, of few cells its train, of a single train one of so many stretches of it.
    """
    values = dataset["conductance"].sel(direction=direction).transpose("cell", "train", "pulse").values
    trains = values.astype(np.float64)
    start, step = trains[..., :-1], np.diff(trains, axis=-1)
    known = np.isfinite(start) & np.isfinite(step)
    cell, train, pulse = np.nonzero(known)
    apart = cell
    if len(np.unique(apart)) < _FEWEST:
        apart = cell * trains.shape[1] + train
    if len(np.unique(apart)) < 2:
        apart = pulse * _STRETCHES // trains.shape[2]
    return start[known], step[known], apart


def _quantiles(name: str, unit: str, one: Floats, other: Floats) -> Iterator[Comparison]:
    differences = estimators.quantile_differences(one, other, PROBABILITIES)
    for probability, difference in zip(PROBABILITIES, differences, strict=True):
        first, second = (float(np.quantile(each, probability)) for each in (one, other))
        counts = len(one), len(other)
        yield Comparison(f"p{100 * probability:g}", name, unit, first, second, difference.low, difference.high, counts)


# -- the fallback: statistics with intervals ----------------------------------------------------------------------


def _statistics(first: list[Statistic], second: list[Statistic]) -> list[Comparison]:
    """Every statistic that both have by the same name and with intervals."""
    others = {each.name: each for each in second}
    found = []
    for one in first:
        other = others.get(one.name)
        if other is None or None in (one.low, one.high, other.low, other.high):
            continue
        name, _, what = one.name.partition("[")
        found.append(
            _difference(
                name,
                what.rstrip("]"),
                one.unit,
                estimators.Estimate(one.value, one.low or 0.0, one.high or 0.0, one.n),
                estimators.Estimate(other.value, other.low or 0.0, other.high or 0.0, other.n),
            )
        )
    return found


def _difference(name: str, what: str, unit: str, first: estimators.Estimate, second: estimators.Estimate) -> Comparison:
    """Two independent estimates; the interval of their difference from the ends of both (Newcombe, 1998)."""
    value = second.value - first.value
    low = value - math.hypot(second.value - second.low, first.high - first.value)
    high = value + math.hypot(second.high - second.value, first.value - first.low)
    return Comparison(name, what, unit, first.value, second.value, low, high, (first.n, second.n))
