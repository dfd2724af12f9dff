"""What the step of the programming ramp trades: pulses against success.

The cells are divided at random into as many equal subsets as there are steps, with the same mix of windows in each;
every subset is programmed by write-verify with its own step, one after another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from labctl.array import Capability, Cells, Geometry, MemoryArray, Operation, Scale
from labctl.errors import SettingsError
from labctl.protocols import forming
from labctl.protocols.characterisation.cells import chosen
from labctl.protocols.characterisation.formed import FormedChoice, with_forming
from labctl.protocols.characterisation.programmed import begun, programmable_cells
from labctl.protocols.programming import OUTCOME, PROGRESS, Programming
from labctl.protocols.ramps import Ramp
from labctl.protocols.windows import lowest_landing
from labctl.protocols.write_verify_settings import CellOutcome, Confirm, WriteVerifySettings
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Second, Siemens, Volt, format_quantity


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ramp but for its step: from `start` to `stop` in V, of pulses of `width` s with `gate` V."""

    start: Volt
    stop: Volt
    width: Second
    gate: Volt

    def __post_init__(self) -> None:
        self.ramp(Volt(1.0))

    def ramp(self, step: Volt) -> Ramp:
        return Ramp(start=self.start, stop=self.stop, step=step, width=self.width, gate=self.gate)


class StepSizeSettings(FormedChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """steps: of both ramps, V. windows: lowest and highest conductance of each, S; for open ones see `window_low` and
    `window_high` of write_verify. The rest is as there.
    """

    cells: int | Literal["all"] = 2048
    steps: tuple[Volt, ...] = (Volt(0.005), Volt(0.035), Volt(0.095), Volt(0.185))
    windows: tuple[tuple[Siemens, Siemens], ...] = (
        (Siemens(0.0), Siemens(4e-6)),
        (Siemens(9e-6), Siemens(11e-6)),
        (Siemens(19e-6), Siemens(21e-6)),
        (Siemens(36e-6), Siemens(60e-6)),
    )
    aim: float = 0.8
    set: Span = Span(start=Volt(1.2), stop=Volt(2.5), width=Second(1e-7), gate=Volt(2.2))
    reset: Span = Span(start=Volt(1.4), stop=Volt(3.0), width=Second(1e-7), gate=Volt(2.5))
    confirm: Confirm = Confirm()
    max_pulses: int = 1000
    max_reversals: int = 30
    hold: int = 5

    def __post_init__(self) -> None:
        if not self.steps or any(not step > 0 for step in self.steps) or len(set(self.steps)) < len(self.steps):
            raise ValueError("steps must be one or more different voltages above 0 V")
        if not self.windows or any(not 0 <= low < high for low, high in self.windows):
            raise ValueError("windows must be one or more pairs of a lower and a higher conductance")
        one = Geometry(1, 1, "")
        self.write_verify(self.steps[0], one, np.zeros(1, np.uint32), np.zeros(1, np.intp))  # checks the rest

    def write_verify(self, step: Volt, geometry: Geometry, cells: Cells, level: np.ndarray) -> WriteVerifySettings:
        """Programming of `cells` (n,) to the windows numbered `level` (n,) with ramps of `step`."""
        low, high = np.array(self.windows, np.float32).T
        maps = [np.full(geometry.cells, np.nan, np.float32) for _ in range(3)]
        for each, values in zip(maps, (low, high, self.targets), strict=True):
            each[cells] = values[level]
        wanted = np.zeros(geometry.cells, bool)
        wanted[cells] = True
        shape = (geometry.rows, geometry.cols)
        window_low, window_high, target = (each.reshape(shape) for each in maps)
        return WriteVerifySettings(
            target=target,
            cells=wanted.reshape(shape),
            window_low=window_low,
            window_high=window_high,
            aim=self.aim,
            set=self.set.ramp(step),
            reset=self.reset.ramp(step),
            confirm=self.confirm,
            max_pulses=self.max_pulses,
            max_reversals=self.max_reversals,
            hold=self.hold,
            form=self.form,
        )

    @property
    def targets(self) -> np.ndarray:
        """(windows,) S, their middles."""
        middles: np.ndarray = np.array(self.windows).mean(axis=1).astype(np.float32)
        return middles


@dataclass(slots=True)
class _Found:
    """(cells,) of everything that is recorded of a cell: what it was to be, and what programming left of it."""

    step_voltage: np.ndarray
    target: np.ndarray
    reached: np.ndarray
    pulses: np.ndarray
    outcome: np.ndarray

    @classmethod
    def nothing(cls, cells: int) -> _Found:
        step_voltage, target, reached = (np.full(cells, np.nan, np.float32) for _ in range(3))
        outcome = np.full(cells, CellOutcome.NOT_TARGETED, np.uint8)
        return cls(step_voltage, target, reached, np.zeros(cells, np.uint16), outcome)

    def take(self, programming: Programming, cells: Cells) -> None:
        self.reached[cells] = programming.conductance()[cells]
        self.pulses[cells] = programming.pulses[cells]
        self.outcome[cells] = programming.outcome[cells]

    def maps(self, geometry: Geometry) -> dict[str, np.ndarray]:
        found = {
            "step_voltage": self.step_voltage,
            "target": self.target,
            "reached": self.reached,
            "pulses_per_cell": self.pulses,
            "outcome": self.outcome,
        }
        return {name: values.reshape(geometry.rows, geometry.cols) for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class _Subset:
    """cells: (n,) flat indices, increasing. level: (n,) the number of each one's window."""

    step: Volt
    cells: Cells
    level: np.ndarray


def _steps(array: MemoryArray, settings: StepSizeSettings, rng: np.random.Generator) -> Steps:
    cells = yield from programmable_cells(array, settings, chosen(settings, array.geometry))
    found = _Found.nothing(array.geometry.cells)
    subsets = _divided(cells, settings, rng)
    for subset in subsets:
        found.step_voltage[subset.cells] = subset.step
        found.target[subset.cells] = settings.targets[subset.level]
        found.outcome[subset.cells] = CellOutcome.UNFINISHED
    try:
        yield Step("divide", {}, found.maps(array.geometry))
        for subset in subsets:
            yield from _programmed(array, settings, subset, found)
            yield Step("program", {"step_voltage": subset.step}, found.maps(array.geometry))
    except StopRequested:
        pass  # the maps say which cells are unfinished
    with contextlib.suppress(StopRequested):
        yield Step("done", {}, found.maps(array.geometry))
    return _summary(subsets, found)


def _divided(cells: Cells, settings: StepSizeSettings, rng: np.random.Generator) -> list[_Subset]:
    """In a random order of the cells the steps take turns, and the windows once every step has had one of the last."""
    order = rng.permutation(cells)
    every = len(settings.steps)
    subsets = []
    for number, step in enumerate(settings.steps):
        mine = order[number::every]
        sorting = np.argsort(mine)
        subsets.append(_Subset(step, mine[sorting], sorting % len(settings.windows)))
    return subsets


def _programmed(
    array: MemoryArray, settings: StepSizeSettings, subset: _Subset, found: _Found
) -> Generator[Step, None, None]:
    if not len(subset.cells):
        return
    engine = settings.write_verify(subset.step, array.geometry, subset.cells, subset.level)
    programming = begun(array, engine, subset.cells)
    programming.labels = {"step_voltage": subset.step}
    try:
        yield from programming.program(programming.unfinished(), "program")
    finally:
        found.take(programming, subset.cells)


def _summary(subsets: list[_Subset], found: _Found) -> dict[str, Any]:
    return {
        "cells": sum(len(subset.cells) for subset in subsets),
        "steps": [
            {
                "step_volts": float(subset.step),
                "cells": len(subset.cells),
                "fraction_in_window": _share(found.outcome[subset.cells] == CellOutcome.IN_WINDOW),
                "mean_pulses": float(found.pulses[subset.cells].mean()) if len(subset.cells) else None,
            }
            for subset in subsets
        ],
    }


def _share(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: StepSizeSettings) -> Cost:
    """The bound: every cell spends its whole budget, each pulse landing and being confirmed."""
    cells = chosen(settings, geometry)
    _check_windows(settings, adc)
    ramps = {Operation.SET: (settings.set, "set"), Operation.RESET: (settings.reset, "reset")}
    peaks = {
        operation: max(float(dac.values(span.ramp(step).codes(dac, name).max())) for step in settings.steps)
        for operation, (span, name) in ramps.items()
    }
    reads = 2 + settings.max_pulses * (1 + settings.confirm.reads)
    cost = Cost(
        max_pulses=len(cells) * settings.max_pulses,
        max_reads=len(cells) * reads,
        amplitudes=peaks,
        gates={operation: span.gate for operation, (span, _) in ramps.items()},
        widths={operation: span.width for operation, (span, _) in ramps.items()},
        max_pulses_per_cell=settings.max_pulses,
    )
    return with_forming(cost, geometry, dac, settings)


def _check_windows(settings: StepSizeSettings, adc: Scale) -> None:
    """Raises SettingsError for windows that cells of this board cannot be in."""
    most = adc.offset + adc.step * (adc.top - 1)
    landing = lowest_landing(settings.form.formed_at)
    for (low, high), target in zip(settings.windows, settings.targets, strict=True):
        window = f"$.windows: {format_quantity(low, 'S')} to {format_quantity(high, 'S')}"
        if low > most:
            raise SettingsError(f"{window} is above what the board can read, {format_quantity(most, 'S')}")
        if target < settings.form.formed_at:
            raise SettingsError(f"{window} has its middle below form.formed_at, where a cell counts as pristine")
        if target + settings.aim * (high - target) < landing + adc.step or high - low < 2 * adc.step / settings.aim:
            raise SettingsError(f"{window} is too narrow to land in, or too near to where a cell counts as pristine")


step_size = Procedure(
    name="step_size",
    title="Programming with ramps of several steps",
    settings=StepSizeSettings,
    phases=(*forming.PHASES, "divide", "program", "done"),
    variables=(
        *forming.VARIABLES,
        *PROGRESS,
        Variable("step_voltage", "step of the ramps", unit="V"),
        Variable("step_voltage", "step of the cell's ramps", ("row", "col"), unit="V"),
        Variable("target", "middle of the cell's window", ("row", "col"), unit="S"),
        Variable("reached", "conductance at the cell's last verify", ("row", "col"), unit="S"),
        Variable("pulses_per_cell", "SET and RESET pulses the cell got", ("row", "col"), "u2"),
        OUTCOME,
    ),
    needs=Capability.PULSE | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="step-size",
)
