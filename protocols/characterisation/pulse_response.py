"""How far identical pulses move a cell: trains of SET pulses, then of RESET pulses, each verified.

Every train begins from the same end: a RESET ramp that nothing is read in takes the cells there. After the last train
the cells get its SET pulses once more: what is left below `form.formed_at` would be formed anew by the next run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, Literal

import numpy as np

from labctl.array import Capability, Cells, Geometry, MemoryArray, Operation, Scale
from labctl.protocols import forming
from labctl.protocols.characterisation.cells import chosen
from labctl.protocols.characterisation.formed import FormedChoice, formed_cells, with_forming
from labctl.protocols.characterisation.pulses import Pulse
from labctl.protocols.ramps import Ramp, batch
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Second, Volt


class PulseResponseSettings(FormedChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """trains: how often. pulses: of each polarity in a train, `set` and `reset`. prepare: RESET pulses before a train;
    the train begins where the cells are without it.
    """

    cells: int | Literal["all"] = 64
    trains: int = 3
    pulses: int = 50
    set: Pulse = Pulse(amplitude=Volt(1.4), width=Second(1e-7), gate=Volt(2.0))
    reset: Pulse = Pulse(amplitude=Volt(1.7), width=Second(1e-7), gate=Volt(2.5))
    prepare: Ramp | None = Ramp(start=Volt(1.4), stop=Volt(3.0), step=Volt(0.1), width=Second(1e-7), gate=Volt(2.5))

    def __post_init__(self) -> None:
        for name in ("trains", "pulses"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def _steps(array: MemoryArray, settings: PulseResponseSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    cells = yield from formed_cells(array, settings, chosen(settings, array.geometry))
    medians: dict[str, list[float]] = {"set": [], "reset": []}
    with contextlib.suppress(StopRequested):
        for train in range(settings.trains):
            yield from _prepared(array, settings, cells, train)
            for phase in ("set", "reset"):
                medians[phase] = yield from _train(array, settings, cells, train, phase)
        array.pulse(*[settings.set.batch(Operation.SET, cells, array.dac)] * settings.pulses)
        yield Step("restore")
    return _summary(settings, cells, medians)


def _prepared(
    array: MemoryArray, settings: PulseResponseSettings, cells: Cells, train: int
) -> Generator[Step, None, None]:
    """The whole ramp in one exchange; nothing is read."""
    if settings.prepare is None:
        return
    ramp = settings.prepare
    codes = ramp.codes(array.dac, "prepare")
    array.pulse(*(batch(Operation.RESET, ramp, cells, np.full(len(cells), code, np.uint16)) for code in codes))
    yield Step("prepare", {"train": train})


def _train(
    array: MemoryArray, settings: PulseResponseSettings, cells: Cells, train: int, phase: str
) -> Generator[Step, None, list[float]]:
    """A read, then pulse after pulse; returns the median conductance at each, S."""
    operation, pulse = _polarity(settings, phase)
    given, volts = pulse.batch(operation, cells, array.dac), pulse.volts(array.dac, phase)
    done = (2 * train + (phase == "reset")) * settings.pulses
    medians = []
    for number in range(settings.pulses + 1):
        (readout,) = array.pulse_and_verify(given) if number else (array.read(cells),)
        medians.append(float(np.median(readout.conductance)))
        values = {"train": train, "pulse": number, "amplitude": volts, "conductance": medians[-1]}
        yield Step(phase, values, progress=(done + number, 2 * settings.trains * settings.pulses))
    return medians


def _polarity(settings: PulseResponseSettings, phase: str) -> tuple[Operation, Pulse]:
    return (Operation.SET, settings.set) if phase == "set" else (Operation.RESET, settings.reset)


def _summary(settings: PulseResponseSettings, cells: Cells, medians: dict[str, list[float]]) -> dict[str, Any]:
    """The medians over cells at both ends of the last whole train of each polarity."""
    ends = {
        f"{phase}_{end}_siemens": found[place] if found else float("nan")
        for phase, found in medians.items()
        for end, place in (("first", 0), ("last", -1))
    }
    return {"cells": len(cells), "trains": settings.trains, "pulses": settings.pulses, **ends}


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: PulseResponseSettings) -> Cost:  # noqa: ARG001
    cells = len(chosen(settings, geometry))
    a_cell = (2 * settings.trains + 1) * settings.pulses
    peaks = {Operation.SET: settings.set.volts(dac, "set"), Operation.RESET: settings.reset.volts(dac, "reset")}
    gates = {Operation.SET: settings.set.gate, Operation.RESET: settings.reset.gate}
    widths = {Operation.SET: settings.set.width, Operation.RESET: settings.reset.width}
    if settings.prepare is not None:
        ramp = settings.prepare
        a_cell += settings.trains * ramp.steps
        peaks[Operation.RESET] = max(peaks[Operation.RESET], float(dac.values(ramp.codes(dac, "prepare").max())))
        gates[Operation.RESET] = max(gates[Operation.RESET], ramp.gate)
        widths[Operation.RESET] = max(widths[Operation.RESET], ramp.width)
    reads = 2 * settings.trains * (settings.pulses + 1)
    return with_forming(Cost(cells * a_cell, cells * reads, peaks, gates, widths, a_cell), geometry, dac, settings)


pulse_response = Procedure(
    name="pulse_response",
    title="Response to identical pulses",
    settings=PulseResponseSettings,
    phases=(*forming.PHASES, "prepare", "set", "reset", "restore"),
    variables=(
        *forming.VARIABLES,
        Variable("train", "train of pulses", dtype="u4", fill=forming.NOT_GIVEN),
        Variable("pulse", "pulse within the train; 0: read before the first", dtype="u4", fill=forming.NOT_GIVEN),
        Variable("conductance", "median over the cells", unit="S"),
    ),
    needs=Capability.PULSE | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="pulse-response",
)
