"""Cycling: both states with their spreads between cells and between cycles, how long a cycle's luck lasts, and wear.

A state is not its target: a pulse goes only part of the way, in some cells far from all. So the parameters are those of
simulated cells that, cycled with the same pulses, show the same quantiles (`simulated_moments`). The first cycles that
were read one by one are used; wear is looked for in all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.calibration.parameters import Z95, Base, Fit, Floats, Parameter, between, scalar
from labctl.analysis.calibration.simulated_moments import Matched, match
from labctl.analysis.calibration.switching import Cells, CycleNoise, Pulse, compliance_ratio, switched
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr

_FEWEST_CELLS, _FEWEST_CYCLES = 16, 20
_MOST_CYCLES = 300
_SIMULATED = 400  # cells at least
_ROUNDS = 200
_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
_SPREADS = (0.25, 0.5, 0.75)
_OPENS = 2.0  # ratio of the states below which a cell does not switch
_WEARS_OUT = 0.9  # of its life, at which a cell moves by a third of what it did
_STATES = {"set": "lrs", "reset": "hrs"}
_NAMES = (
    ("compliance_conductance", "S"),
    ("compliance_device_spread", "1"),
    ("compliance_cycle_spread", "1"),
    ("set_cycle_memory", "1"),
    ("floor_conductance", "S"),
    ("floor_device_spread", "1"),
    ("floor_cycle_spread", "1"),
    ("reset_cycle_memory", "1"),
)
_LOOSENESS = np.array([1.5, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0])
_TOLD = 0.5


@dataclass(frozen=True, slots=True)
class _Cycles:
    """states: (2, cells, cycles) S after SET and after RESET, every cycle read; pulses: of the two."""

    states: Floats
    pulses: tuple[Pulse, Pulse]


def fit(dataset: xr.Dataset, base: Base) -> Fit:
    """`compliance_*`, `floor_*`, `*_cycle_memory` and `endurance_*` of an endurance measurement.

    Raises RecordingError for fewer than 16 cells that switch or 20 cycles.
    """
    states = np.stack(
        [dataset["conductance"].sel(state=each).transpose("cell", "cycle").values for each in _STATES.values()]
    ).astype(np.float64)
    number = dataset["cycle"].values.astype(np.float64)
    even = int(np.count_nonzero(np.diff(number, prepend=number[0] - 1) == 1))
    first = min(even, _MOST_CYCLES)
    alive = _switches(states[:, :, :first])
    note = f"endurance: {int(alive.sum())} of {states.shape[1]} cells used; {int((~alive).sum())} do not switch"
    if alive.sum() < _FEWEST_CELLS or first < _FEWEST_CYCLES:
        raise RecordingError(f"{note}; {first} cycles in a row; a fit needs {_FEWEST_CELLS} and {_FEWEST_CYCLES}")
    pulses, notes = _given(dataset)
    cycles = _Cycles(states[:, alive, :first], pulses)
    return Fit(_states(cycles, base) | _wear(states[:, alive], number, base), (note, *notes))


def _switches(states: Floats) -> NDArray[np.bool_]:
    """(cells,) whose states are known, positive and mostly apart."""
    with np.errstate(invalid="ignore"):
        known = np.isfinite(states).all(axis=(0, 2)) & (np.nan_to_num(states).min(axis=(0, 2)) > 0)
        apart = np.nanmedian(np.where(states > 0, states, np.nan)[0], axis=1) > _OPENS * np.median(states[1], axis=1)
    switching: NDArray[np.bool_] = known & apart
    return switching


def _given(dataset: xr.Dataset) -> tuple[tuple[Pulse, Pulse], list[str]]:
    """The pulses of both halves of a cycle, and what of them had to be assumed."""
    usual = {"set": Pulse(2.2, 1e-7, 2.0), "reset": Pulse(2.6, 1e-7, 2.5)}
    found, assumed = [], []
    for name, pulse in usual.items():
        attrs = dataset.attrs
        known = {part: attrs.get(f"pulse_{part}_{name}") for part in ("amplitude", "width", "gate")}
        given = {part: float(value) for part, value in known.items() if value is not None}
        assumed += [f"{part} of {name}" for part in known if part not in given]
        found.append(replace(pulse, **given))
    note = [f"endurance: not in the run, taken as usual: {', '.join(assumed)}"] if assumed else []
    return (found[0], found[1]), note


# -- both states --------------------------------------------------------------------------------------------------


def _states(cycles: _Cycles, base: Base) -> dict[str, Parameter]:
    rng = np.random.default_rng(0)
    _, count, length = cycles.states.shape
    logs = np.log(cycles.states)
    seen = _statistics(logs)
    drawn = np.array([_statistics(logs[:, rng.integers(0, count, count)]) for _ in range(_ROUNDS)])
    simulated = max(_SIMULATED, count)
    noise = CycleNoise(2 * length, simulated, rng)
    traits = rng.standard_normal((6, simulated))
    start = _start(logs, cycles.pulses[0], base)

    def simulate(point: Floats) -> Floats:
        return _statistics(_cycled(point, cycles.pulses, length, base, traits, noise))

    found = match(simulate, seen, drawn, start, _LOOSENESS, count / simulated)
    return _parameters(found, count, length)


def _statistics(logs: Floats) -> Floats:
    """Of logarithms (2, cells, cycles): quantiles over cells of median and spread of each, and lag-1 correlation."""
    found = []
    for state in logs:
        middle = np.median(state, axis=1)
        away = state - middle[:, None]
        spread = np.log(np.maximum(np.median(np.abs(away), axis=1), 1e-6))
        core = np.clip(away, *np.quantile(away, [0.02, 0.98]))
        core = core - core.mean(axis=1, keepdims=True)
        correlation = float((core[:, 1:] * core[:, :-1]).sum() / max(float((core**2).sum()), 1e-30))
        found += [*np.quantile(middle, _LEVELS), *np.quantile(spread, _SPREADS), correlation]
    return np.array(found)


def _cycled(
    point: Floats, pulses: tuple[Pulse, Pulse], cycles: int, base: Base, traits: Floats, noise: CycleNoise
) -> Floats:
    """(2, cells, cycles) logarithms of the states of simulated cells."""
    compliance, device, cycle, floor, floor_device, floor_cycle = np.exp(point[[0, 1, 2, 4, 5, 6]])
    memories = 1 / (1 + np.exp(-point[[3, 7]]))
    cells = _cells(base, traits, device, floor, floor_device)
    top = min(compliance * compliance_ratio(base, pulses[0].gate), max(base.number("compliance_limit"), compliance))
    conductance = top * cells.ceiling
    states = np.empty((2, len(conductance), cycles))
    for turn in range(cycles):
        xi, lasting = noise.of(2 * turn, memories[0])
        target = np.maximum(top * cells.ceiling * np.exp(cycle * lasting), conductance)
        conductance = switched(conductance, target, cells.set_voltage, cells.abruptness, xi, pulses[0], base, "set")
        states[0, :, turn] = conductance
        xi, lasting = noise.of(2 * turn + 1, memories[1])
        target = np.minimum(cells.floor * np.exp(-floor_cycle * lasting), conductance)
        conductance = switched(conductance, target, cells.reset_voltage, cells.abruptness, xi, pulses[1], base, "reset")
        states[1, :, turn] = conductance
    return np.log(states)


def _cells(base: Base, traits: Floats, device: float, floor: float, floor_device: float) -> Cells:
    """Cells with the base's switching voltages."""
    from scipy.special import ndtr

    share, tail = base.number("slow_fraction"), base.number("slow_tail")
    even = ndtr(traits[5])
    slow = np.where(even < share, -tail * np.log(np.maximum(even / max(share, 1e-12), 1e-12)), 0.0)
    return Cells(
        set_voltage=base.number("set_voltage") + base.number("set_voltage_device_spread") * traits[0] + slow,
        reset_voltage=base.number("reset_voltage") + base.number("reset_voltage_device_spread") * traits[1] + slow,
        abruptness=np.exp(base.number("abruptness_device_spread") * traits[2]),
        ceiling=np.exp(device * traits[3]),
        floor=floor * np.exp(floor_device * traits[4]),
    )


def _start(logs: Floats, pulse: Pulse, base: Base) -> Floats:
    def log(name: str, otherwise: float) -> float:
        return math.log(base.number(name) or otherwise)

    def logit(name: str) -> float:
        share = min(max(base.number(name), 0.02), 0.98)
        return math.log(share / (1 - share))

    high, low = np.median(logs, axis=(1, 2))
    return np.array(
        [
            high - math.log(compliance_ratio(base, pulse.gate)),
            log("compliance_device_spread", 0.1),
            log("compliance_cycle_spread", 0.1),
            logit("set_cycle_memory"),
            low - 0.3,
            log("floor_device_spread", 0.3),
            log("floor_cycle_spread", 0.3),
            logit("reset_cycle_memory"),
        ]
    )


def _parameters(found: Matched, cells: int, cycles: int) -> dict[str, Parameter]:
    goodness = f"mean squared miss {found.misfit:.2g} of quantiles of both states"
    result = {}
    for number, (name, unit) in enumerate(_NAMES):
        at, half = found.point[number], found.half[number]
        turn = _logistic if name.endswith("memory") else math.exp
        told = found.told[number] >= _TOLD
        source = f"both states of {cells} cells x {cycles} cycles" + ("" if told else "; hardly told by this run")
        tag = "calibrated" if told else "assumed"
        result[name] = between(turn(at), (turn(at - half), turn(at + half)), unit, source, cells, goodness, tag)
    return result


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


# -- wear ---------------------------------------------------------------------------------------------------------


def _wear(states: Floats, number: Floats, base: Base) -> dict[str, Parameter]:
    """Life in pulses: lognormal, by maximum likelihood, cells that still switch at the end being censored."""
    from scipy.optimize import minimize
    from scipy.special import log_ndtr

    cells = states.shape[1]
    with np.errstate(invalid="ignore"):
        shut = ~(states[0] > _OPENS * states[1])
    ended = shut[:, -1] & shut[:, -min(3, shut.shape[1]) :].all(axis=1)
    last_open = np.where(shut, 0, number).max(axis=1)
    pulses = 2 * np.where(ended, np.maximum(last_open, 1), number[-1]) / _WEARS_OUT
    failed = int(ended.sum())
    spread = base.number("endurance_device_spread") or 0.5
    if failed < 5:
        return _outlived(pulses, failed, cells, spread, base)
    logs = np.log(pulses)

    def misfit(point: Floats) -> float:
        score = (logs - point[0]) / np.exp(point[1])
        return -float(np.where(ended, -(score**2) / 2 - point[1], log_ndtr(-score)).sum())

    at = minimize(misfit, [logs.max(), math.log(spread)], method="Nelder-Mead").x
    half = Z95 * math.exp(at[1]) / math.sqrt(failed)
    source = f"{failed} of {cells} cells wore out in {number[-1]:.0f} cycles"
    relative = 1.96 / math.sqrt(2 * failed)
    width = math.exp(at[1])
    return {
        "endurance_pulses": between(
            math.exp(at[0]), (math.exp(at[0] - half), math.exp(at[0] + half)), "1", source, cells
        ),
        "endurance_device_spread": between(
            width, (width * math.exp(-relative), width * math.exp(relative)), "1", source, cells
        ),
    }


def _outlived(pulses: Floats, failed: int, cells: int, spread: float, base: Base) -> dict[str, Parameter]:
    """Where hardly a cell wore out: nothing, unless the base's would have."""
    from scipy.special import ndtri

    share = max(failed, 0.5) / cells
    least = float(pulses.max()) * math.exp(-spread * float(ndtri(share)))
    if least <= base.number("endurance_pulses"):
        return {}
    source = f"{failed} of {cells} cells wore out in {pulses.max():.3g} pulses: at least so many"
    return {"endurance_pulses": scalar(least, "1", source, cells, tag="bounded")}
