"""Trains of equal pulses: mean and spread of the step of conductance, against conductance.

The tables that a technology of small analog steps is described by. Each step is a difference of two readings, so read
noise widens it; it also makes neighbouring steps of a train go against each other, which is how it is told apart.
Steps of one cell are alike: intervals are those of so many cells (of trains, where there are few cells), not of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.calibration.parameters import (
    Z95,
    Base,
    Fit,
    Floats,
    Parameter,
    between,
    bootstrap,
    robust_spread,
    scalar,
)
from labctl.analysis.calibration.persistent_noise import is_measured, relative_variance, scaled_noise
from labctl.analysis.estimators import MAD_TO_SD
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr

_STEPS_A_LEVEL = 60
_MOST_LEVELS = 12
_FEWEST_STEPS = 60
_FEW_TRAINS, _NEIGHBOURS = 5, 31  # with fewer trains, the trend of steps is taken over so many pulses of each
_NOISY_LEVELS = 4
_NOISY = 0.25  # of the variance of steps, from which noise of a reading would bias the conductance before a step
_MORE_NOISE = 2.0  # times the variance of the base's, from which noise of the trains is more than the base's
_TRAIN = 0.01  # s: what changes within it is noise to a step
_ROUNDS = 200
_BIWEIGHT = 6.0  # robust standard deviations beyond which a step has no weight
_ABRUPT = 0.25  # of the range: cells whose largest step typically is more do not move in steps
_FEWEST_CELLS = 5  # with fewer, trains stand for cells, and no spread between cells is told
_ALIKE = 0.3  # standard deviation between trains of their mean step over the table's: with more, no table holds for all


def fit(dataset: xr.Dataset, base: Base) -> Fit:
    """`set_step_*`, `reset_step_*`, `step_*_voltage`, `step_width` and `compliance_device_spread`.

    Raises RecordingError where there are too few steps. Cells that jump through their range in a pulse or two, or that
    are all different, give no tables: the kinetic equations of the base describe them, and a note says so.
    """
    conductance = dataset["conductance"].transpose("cell", "train", "direction", "pulse").values.astype(np.float64)
    cells = int(np.isfinite(conductance).any(axis=(1, 2, 3)).sum())
    parameters: dict[str, Parameter] = {}
    notes: list[str] = []
    factors = []
    for place, direction in enumerate(str(each) for each in dataset["direction"].values):
        trains = conductance[:, :, place].reshape(-1, conductance.shape[-1])
        origin = _Origin(direction, cells, conductance.shape[1])
        found, note = _table(trains, origin)
        notes.append(note)
        if found:
            factors.append(_own_factors(conductance[:, :, place], found, direction))
            if cells >= _FEWEST_CELLS:
                within = _within_cells(conductance[:, :, place], found, factors[-1][0], origin)
                found[f"{direction}_step_spread"] = within
            parameters |= found
            volts = float(dataset.attrs.get(f"amplitude_{direction}", math.nan))
            parameters[f"step_{direction}_voltage"] = _given(volts, f"step_{direction}_voltage", "V", cells, base)
    if not all(f"{direction}_step_mean" in parameters for direction in ("set", "reset")):
        return Fit({}, tuple(notes))  # one direction by table and the other by equations would fit neither
    width = _given(float(dataset.attrs.get("width", math.nan)), "step_width", "s", cells, base)
    spread, note = _device_spread(factors, base)
    fitted = parameters | spread | _bounded_noise(conductance, base) | {"step_width": width}
    return Fit(fitted, (*notes, note))


@dataclass(frozen=True, slots=True)
class _Origin:
    """Of a direction's trains: how many cells they are of, and how many each cell has."""

    direction: str
    cells: int
    trains: int

    def clusters(self, train: NDArray[np.intp]) -> NDArray[np.intp]:
        """What each step of these trains stands for in an interval: its cell, of few cells its train."""
        return train // self.trains if self.cells >= _FEWEST_CELLS else train


def _own_factors(conductance: Floats, table: dict[str, Parameter], direction: str) -> tuple[Floats, Floats]:
    """(cells,) a cell's steps over the table's, and how far chance moves them; conductance (cells, trains, pulses)."""
    step, start = np.diff(conductance, axis=-1), conductance[..., :-1]
    return _ratios(start.reshape(len(start), -1), step.reshape(len(step), -1), table, direction)


def _within_cells(conductance: Floats, table: dict[str, Parameter], ratio: Floats, origin: _Origin) -> Parameter:
    """The table of the spread from pulse to pulse without what cells differ by: a twin's cells differ of themselves.

    conductance: (cells, trains, pulses) S. ratio: (cells,) of a cell's steps over the table's.
    """
    trains = conductance.reshape(-1, conductance.shape[-1])
    step, start = np.diff(trains, axis=1), trains[:, :-1]
    own = np.repeat(np.nan_to_num(ratio, nan=1.0) - 1, origin.trains)[:, None]
    name = f"{origin.direction}_step"
    expected = np.interp(np.nan_to_num(start), table[f"{name}_levels"].value, table[f"{name}_mean"].value)
    known = np.isfinite(step) & np.isfinite(start)
    rest, train = (step - own * expected)[known], np.nonzero(known)[0]
    found, _ = _levels(start[known], rest, _noise_variance(step), train, origin)
    return found[f"{name}_spread"]


def _device_spread(factors: list[tuple[Floats, Floats]], base: Base) -> tuple[dict[str, Parameter], str]:
    """The spread between cells of the factor that both directions' steps have, and a sentence on it."""
    name = "compliance_device_spread"
    both = np.array([ratio for ratio, _ in factors])
    known = np.isfinite(both).all(axis=0) & (both > 0).all(axis=0)
    cells = int(known.sum())
    if cells < _FEWEST_CELLS:
        return {}, f"pulse-response: {cells} cells do not tell how their steps differ: {name} stays {base.name}'s"
    if name in base.measured:
        return {}, f"pulse-response: {name}, by which the steps of cells differ, is that of the other runs"
    chance = np.hypot.reduce([scatter[known] for _, scatter in factors]) / len(factors)
    seen = np.log(both[:, known]).mean(axis=0)

    def spread(drawn: NDArray[np.intp]) -> float:
        return math.sqrt(max(float(np.var(seen[drawn], ddof=1)) - float(np.mean(chance[drawn] ** 2)), 0.0))

    value, rounds = spread(np.arange(cells)), bootstrap(spread, cells, _ROUNDS)
    low, high = np.quantile(rounds, [0.025, 0.975])
    source = f"spread between {cells} cells of the logarithm of their steps over the table's"
    found = between(value, (min(float(low), value), max(float(high), value)), "1", source, cells)
    return {name: found}, f"pulse-response: steps differ by {value:.1%} between cells: {name}"


def _bounded_noise(conductance: Floats, base: Base) -> dict[str, Parameter]:
    """The base's read noise scaled to what neighbouring steps show of it, unless it was measured."""
    known = conductance[np.isfinite(conductance)]
    ways = [np.diff(conductance[:, :, way].reshape(-1, conductance.shape[-1]), axis=1) for way in range(2)]
    least = [(0.1 * robust_spread(step[np.isfinite(step)])) ** 2 for step in ways]
    seen = float(np.mean([max(_noise_variance(step), low) for step, low in zip(ways, least, strict=True)]))
    level = float(np.median(known))
    usual = relative_variance(base, faster_than=_TRAIN) * level**2 + base.number("read_noise_floor") ** 2
    if is_measured(base) or not usual or (usual <= seen and seen < _MORE_NOISE * usual):
        return {}
    source = f"neighbouring steps of a train show noise of {math.sqrt(seen):.2g} S at {level:.3g} S"
    if seen > usual:
        relative = math.sqrt(seen) / level  # a floor raised as well would drown pristine cells
        return {"read_noise": scalar(relative, "1", source, conductance.shape[0], tag="bounded")}
    return scaled_noise(base, math.sqrt(seen / usual), source, conductance.shape[0])


def _given(value: float, name: str, unit: str, cells: int, base: Base) -> Parameter:
    """What the pulses of the trains were; the base's where the run does not say one for all."""
    if math.isfinite(value):
        return scalar(value, unit, "pulses of the trains", cells)
    return scalar(base.number(name), unit, f"not in the run; {base.name}'s", cells, tag="assumed")


def _table(trains: Floats, origin: _Origin) -> tuple[dict[str, Parameter], str]:
    """The three tables of one direction, of trains (n, pulses) S, and a sentence on what they are of."""
    direction = origin.direction
    step = np.diff(trains, axis=1)
    start = trains[:, :-1]
    known = np.asarray(np.isfinite(step) & np.isfinite(start))
    if known.sum() < _FEWEST_STEPS:
        raise RecordingError(f"pulse-response: {int(known.sum())} {direction} steps; a fit needs {_FEWEST_STEPS}")
    span = float(np.ptp(np.quantile(trains[np.isfinite(trains)], [0.02, 0.98])))
    read = np.any(known, axis=1, keepdims=True)
    largest = np.nanmedian(np.nanmax(np.abs(np.where(read, step, 0.0)), axis=1))
    largest -= math.sqrt(2 * _noise_variance(step)) * math.sqrt(2 * math.log(step.shape[1]))  # what noise alone makes
    if largest > _ABRUPT * span:
        return {}, (
            f"pulse-response: {direction} cells make {largest / span:.0%} of their range in one pulse: no table of "
            "analog steps, switching stays that of the base"
        )
    noise = _noise_variance(step)
    train = np.nonzero(known)[0]
    if len(trains) < _FEW_TRAINS and noise > _NOISY * robust_spread(step[known]) ** 2:
        whole = _smoothed(trains)  # else a reading that noise made low would stand before a step that noise makes high
        start = whole[:, :-1]
        trend, spread = np.diff(whole, axis=1)[known], _wandering(trains)
        found, note = _noisy_levels(start[known], trend, spread, noise, train, origin)
    else:
        found, note = _levels(start[known], step[known], noise, train, origin)
    apart = _between_trains(start, step, found, direction)
    if apart > _ALIKE:
        return {}, (
            f"pulse-response: the mean steps of {direction} trains differ by {apart:.0%} at the same conductance: no "
            "table of analog steps holds for all cells, switching stays that of the base"
        )
    return found, note


def _between_trains(start: Floats, step: Floats, table: dict[str, Parameter], direction: str) -> float:
    """Standard deviation between trains of their steps over what the table says; what chance makes is taken out."""
    ratio, scatter = _ratios(start, step, table, direction)
    used = np.isfinite(ratio)
    if used.sum() <= 2:
        return 0.0
    return math.sqrt(max(robust_spread(ratio[used]) ** 2 - float(np.median(scatter[used])) ** 2, 0.0))


def _ratios(start: Floats, step: Floats, table: dict[str, Parameter], direction: str) -> tuple[Floats, Floats]:
    """(n,) steps of each row over what the table says, and the standard deviation that chance gives that; NaN where
    there are none."""
    levels, mean, spread = (table[f"{direction}_step_{name}"].value for name in ("levels", "mean", "spread"))
    known = np.isfinite(start) & np.isfinite(step)
    expected = np.where(known, np.interp(np.nan_to_num(start), levels, mean), 0.0)
    total = expected.sum(axis=1)
    total[total == 0] = np.nan
    chance = np.where(known, np.interp(np.nan_to_num(start), levels, spread), 0.0)
    return np.where(known, step, 0.0).sum(axis=1) / total, np.sqrt((chance**2).sum(axis=1)) / np.abs(total)


def _noise_variance(step: Floats) -> float:
    """Variance of one reading, S**2: two neighbouring steps share a reading, with opposite signs. 0 at least."""
    first, second = step[:, :-1], step[:, 1:]
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < _FEWEST_STEPS:
        return 0.0
    trend = _trend(step)
    product = ((first - trend[:, :-1]) * (second - trend[:, 1:]))[both]
    return max(-float(np.mean(np.clip(product, *np.quantile(product, [0.01, 0.99])))), 0.0)


def _trend(step: Floats) -> Floats:
    """What steps (trains, pulses) go by as a train proceeds: their mean over trains, of few trains over neighbours."""
    if len(step) < _FEW_TRAINS:
        return _smoothed(step)
    known = np.isfinite(step)
    mean = np.where(known, step, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.broadcast_to(mean, step.shape)


def _smoothed(trains: Floats) -> Floats:
    """(trains, pulses) averaged over neighbouring pulses."""
    window = np.ones(min(_NEIGHBOURS, trains.shape[1]))
    known = np.isfinite(trains)
    total = np.array([np.convolve(row, window, "same") for row in np.where(known, trains, 0.0)])
    count = np.array([np.convolve(row, window, "same") for row in known.astype(np.float64)])
    return np.asarray(total / np.maximum(count, 1))


def _levels(
    start: Floats, step: Floats, noise: float, train: NDArray[np.intp], origin: _Origin
) -> tuple[dict[str, Parameter], str]:
    cluster, direction = origin.clusters(train), origin.direction
    count = min(max(len(step) // _STEPS_A_LEVEL, 1), _MOST_LEVELS)
    edges = np.unique(np.quantile(start, np.linspace(0, 1, count + 1)[1:-1]))
    group = np.searchsorted(edges, start, side="right")
    rows = []
    for number in range(len(edges) + 1):
        here = step[group == number]
        if len(here) < 10:
            continue
        mean, error, dropped = _biweight(here, cluster[group == number])
        spread = math.sqrt(max(_robust_sd(here, mean) ** 2 - 2 * noise, 0.0))
        sureness = Z95 * max(spread, robust_spread(here)) * math.sqrt(0.8 / len(here))
        sureness = max(sureness, _error_of_sd(here, mean, cluster[group == number]))
        rows.append((float(np.median(start[group == number])), mean, spread, error, sureness, dropped))
    table = np.array(sorted(rows)).T
    apart = np.concatenate([[True], np.diff(table[0]) > 1e-4 * np.abs(table[0, 1:])])
    levels, mean, spread, error, sureness, dropped = table[:, apart]
    source = f"{len(step)} steps of {len(np.unique(train))} {direction.upper()} trains"
    goodness = f"robust mean; read noise of {math.sqrt(noise):.2g} S taken out of the spread"
    name = f"{direction}_step"
    found = {
        f"{name}_levels": Parameter(levels, "S", source, origin.cells),
        f"{name}_mean": Parameter(mean, "S", source, origin.cells, mean - error, mean + error),
        f"{name}_spread": Parameter(
            spread, "S", source, origin.cells, np.maximum(spread - sureness, 0), spread + sureness, goodness
        ),
    }
    return found, f"pulse-response: {len(step)} {direction} steps, {int(dropped.sum())} of them beyond 6 robust sd"


def _noisy_levels(
    start: Floats, trend: Floats, spread: float, noise: float, train: NDArray[np.intp], origin: _Origin
) -> tuple[dict[str, Parameter], str]:
    """The tables where noise hides the single step: means of the smoothed train, and one spread for all levels."""
    edges = np.unique(np.quantile(start, np.linspace(0, 1, _NOISY_LEVELS + 1)[1:-1]))
    group = np.searchsorted(edges, start, side="right")
    rows = []
    for number in range(len(edges) + 1):
        here = trend[group == number]
        error = Z95 * math.sqrt(2 * noise * _NEIGHBOURS) / len(here)  # noise of the ends of its windows
        rows.append((float(np.median(start[group == number])), float(here.mean()), error))
    levels, mean, error = np.array(rows).T
    direction = origin.direction
    trains = f"{len(np.unique(train))} {direction.upper()} trains"
    source = f"{len(trend)} steps of {trains}, smoothed over {_NEIGHBOURS} pulses"
    goodness = f"read noise of {math.sqrt(noise):.2g} S, more than a step"
    name = f"{direction}_step"
    found = {
        f"{name}_levels": Parameter(levels, "S", source, origin.cells),
        f"{name}_mean": Parameter(mean, "S", source, origin.cells, mean - error, mean + error, goodness),
        f"{name}_spread": Parameter(np.full(len(levels), spread), "S", f"{source}; one for all levels", origin.cells),
    }
    return found, f"pulse-response: {len(trend)} {direction} steps, hidden by noise: smoothed over {_NEIGHBOURS} pulses"


def _wandering(trains: Floats) -> float:
    """Standard deviation of a step, S, by how changes over many pulses scatter more than over one: noise does not add
    up, steps do."""
    structure = []
    for pulses in (1, _NEIGHBOURS):
        change = trains[:, pulses:] - trains[:, :-pulses]
        rest = change - _smoothed(change)
        structure.append(float(np.nanvar(rest)))
    return math.sqrt(max(structure[1] - structure[0], 0.0) / (_NEIGHBOURS - 1))


def _biweight(values: Floats, cluster: NDArray[np.intp]) -> tuple[float, float, float]:
    """Tukey's biweight mean, half its 95 % interval, and how many values had no weight.

    cluster: (n,) which values go together; the error is that of the sums over each (Liang and Zeger, Biometrika 73
    (1986) 13).
    """
    middle, scale = float(np.median(values)), max(robust_spread(values), 1e-15)
    for _ in range(10):
        weight = np.clip(1 - ((values - middle) / (_BIWEIGHT * scale)) ** 2, 0, None) ** 2
        middle = float((weight * values).sum() / weight.sum())
    error = Z95 * _clustered(weight * (values - middle), cluster) / float(weight.sum())
    return middle, error, float(np.count_nonzero(weight == 0))


def _clustered(scores: Floats, cluster: NDArray[np.intp]) -> float:
    """Standard error of the sum of `scores` (n,), independent from one cluster to the next; of one cluster, each."""
    clusters, place = np.unique(cluster, return_inverse=True)
    if len(clusters) < 2:
        return float(np.sqrt((scores**2).sum()))
    sums = np.bincount(place, scores)
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)))


def _error_of_sd(values: Floats, middle: float, cluster: NDArray[np.intp]) -> float:
    """Half the 95 % interval of `_robust_sd`."""
    away = (values - middle) ** 2
    kept = away <= (_BIWEIGHT * MAD_TO_SD) ** 2 * max(float(np.median(away)), 1e-30)
    variance = float(away[kept].mean())
    error = _clustered(away[kept] - variance, cluster[kept]) / int(kept.sum())
    return Z95 * error / (2 * math.sqrt(max(variance, 1e-30)))


def _robust_sd(values: Floats, middle: float) -> float:
    """Standard deviation without the values beyond 6 robust standard deviations."""
    away = np.abs(values - middle)
    kept = away <= _BIWEIGHT * MAD_TO_SD * max(float(np.median(away)), 1e-15)
    return float(np.sqrt(np.mean(away[kept] ** 2)))
