"""Trains of equal pulses: mean and spread of the step of conductance, against conductance.

The tables that a technology of small analog steps is described by. Each step is a difference of two readings, so read
noise widens it; it also makes neighbouring steps of a train go against each other, which is how it is told apart.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from labctl.analysis.calibration.parameters import Z95, Base, Fit, Floats, Parameter, robust_spread, scalar
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
_BIWEIGHT = 6.0  # robust standard deviations beyond which a step has no weight
_ABRUPT = 0.25  # of the range: cells whose largest step typically is more do not move in steps
_ALIKE = 0.3  # standard deviation between trains of their mean step over the table's: with more, no table holds for all


def fit(dataset: xr.Dataset, base: Base) -> Fit:
    """`set_step_*`, `reset_step_*`, `step_*_voltage` and `step_width`.

    Raises RecordingError where there are too few steps. Cells that jump through their range in a pulse or two, or that
    are all different, give no tables: the kinetic equations of the base describe them, and a note says so.
    """
    conductance = dataset["conductance"].transpose("cell", "train", "direction", "pulse").values.astype(np.float64)
    cells = conductance.shape[0]
    parameters: dict[str, Parameter] = {}
    notes: list[str] = []
    for place, direction in enumerate(str(each) for each in dataset["direction"].values):
        trains = conductance[:, :, place].reshape(-1, conductance.shape[-1])
        found, note = _table(trains, direction)
        notes.append(note)
        if found:
            parameters |= found
            volts = float(dataset.attrs.get(f"amplitude_{direction}", math.nan))
            parameters[f"step_{direction}_voltage"] = _given(volts, f"step_{direction}_voltage", "V", cells, base)
    if not all(f"{direction}_step_mean" in parameters for direction in ("set", "reset")):
        return Fit({}, tuple(notes))  # one direction by table and the other by equations would fit neither
    width = _given(float(dataset.attrs.get("width", math.nan)), "step_width", "s", cells, base)
    return Fit(parameters | _bounded_noise(conductance, base) | {"step_width": width}, tuple(notes))


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


def _table(trains: Floats, direction: str) -> tuple[dict[str, Parameter], str]:
    """The three tables of one direction, of trains (n, pulses) S, and a sentence on what they are of."""
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
    noise, count = _noise_variance(step), int(known.any(axis=1).sum())
    if len(trains) < _FEW_TRAINS and noise > _NOISY * robust_spread(step[known]) ** 2:
        whole = _smoothed(trains)  # else a reading that noise made low would stand before a step that noise makes high
        start = whole[:, :-1]
        trend, spread = np.diff(whole, axis=1)[known], _wandering(trains)
        found, note = _noisy_levels(start[known], trend, spread, noise, direction, count)
    else:
        found, note = _levels(start[known], step[known], noise, direction, count)
    apart = _between_trains(start, step, found, direction)
    if apart > _ALIKE:
        return {}, (
            f"pulse-response: the mean steps of {direction} trains differ by {apart:.0%} at the same conductance: no "
            "table of analog steps holds for all cells, switching stays that of the base"
        )
    return found, note


def _between_trains(start: Floats, step: Floats, table: dict[str, Parameter], direction: str) -> float:
    """Standard deviation between trains of their steps over what the table says; what chance makes is taken out."""
    levels, mean, spread = (table[f"{direction}_step_{name}"].value for name in ("levels", "mean", "spread"))
    known = np.isfinite(start) & np.isfinite(step)
    expected = np.where(known, np.interp(np.nan_to_num(start), levels, mean), 0.0)
    totals = np.abs(expected.sum(axis=1))
    used = totals > 0
    ratio = np.where(known, step, 0.0).sum(axis=1)[used] / expected.sum(axis=1)[used]
    chance = np.where(known, np.interp(np.nan_to_num(start), levels, spread), 0.0)
    scatter = np.sqrt((chance**2).sum(axis=1))[used] / totals[used]
    return math.sqrt(max(robust_spread(ratio) ** 2 - float(np.median(scatter)) ** 2, 0.0)) if used.sum() > 2 else 0.0


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


def _levels(start: Floats, step: Floats, noise: float, direction: str, trains: int) -> tuple[dict[str, Parameter], str]:
    count = min(max(len(step) // _STEPS_A_LEVEL, 1), _MOST_LEVELS)
    edges = np.unique(np.quantile(start, np.linspace(0, 1, count + 1)[1:-1]))
    group = np.searchsorted(edges, start, side="right")
    rows = []
    for number in range(len(edges) + 1):
        here = step[group == number]
        if len(here) < 10:
            continue
        mean, error, dropped = _biweight(here)
        spread = math.sqrt(max(_robust_sd(here, mean) ** 2 - 2 * noise, 0.0))
        sureness = Z95 * max(spread, robust_spread(here)) * math.sqrt(0.8 / len(here))
        rows.append((float(np.median(start[group == number])), mean, spread, error, sureness, dropped))
    table = np.array(sorted(rows)).T
    apart = np.concatenate([[True], np.diff(table[0]) > 1e-4 * np.abs(table[0, 1:])])
    levels, mean, spread, error, sureness, dropped = table[:, apart]
    source = f"{len(step)} steps of {trains} {direction.upper()} trains"
    goodness = f"robust mean; read noise of {math.sqrt(noise):.2g} S taken out of the spread"
    name = f"{direction}_step"
    found = {
        f"{name}_levels": Parameter(levels, "S", source, trains),
        f"{name}_mean": Parameter(mean, "S", source, trains, mean - error, mean + error),
        f"{name}_spread": Parameter(
            spread, "S", source, trains, np.maximum(spread - sureness, 0), spread + sureness, goodness
        ),
    }
    return found, f"pulse-response: {len(step)} {direction} steps, {int(dropped.sum())} of them beyond 6 robust sd"


def _noisy_levels(
    start: Floats, trend: Floats, spread: float, noise: float, direction: str, trains: int
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
    source = f"{len(trend)} steps of {trains} {direction.upper()} trains, smoothed over {_NEIGHBOURS} pulses"
    goodness = f"read noise of {math.sqrt(noise):.2g} S, more than a step"
    name = f"{direction}_step"
    found = {
        f"{name}_levels": Parameter(levels, "S", source, trains),
        f"{name}_mean": Parameter(mean, "S", source, trains, mean - error, mean + error, goodness),
        f"{name}_spread": Parameter(np.full(len(levels), spread), "S", f"{source}; one for all levels", trains),
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


def _biweight(values: Floats) -> tuple[float, float, float]:
    """Tukey's biweight mean, half its 95 % interval, and how many values had no weight."""
    middle, scale = float(np.median(values)), max(robust_spread(values), 1e-15)
    for _ in range(10):
        weight = np.clip(1 - ((values - middle) / (_BIWEIGHT * scale)) ** 2, 0, None) ** 2
        middle = float((weight * values).sum() / weight.sum())
    error = Z95 * math.sqrt(float((weight**2 * (values - middle) ** 2).sum())) / float(weight.sum())
    return middle, error, float(np.count_nonzero(weight == 0))


def _robust_sd(values: Floats, middle: float) -> float:
    """Standard deviation without the values beyond 6 robust standard deviations."""
    away = np.abs(values - middle)
    kept = away <= _BIWEIGHT * MAD_TO_SD * max(float(np.median(away)), 1e-15)
    return float(np.sqrt(np.mean(away[kept] ** 2)))
