"""Form a pristine array: a ramp of FORM pulses on the cells that have not formed yet, each verified by a read.

A cell counts as formed once a verify read is at or above `formed_at`. Cells that never form are an outcome, not a
failure: real chips have them (98 to 99.8 % on good chips).
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from labctl.array import Capability, Codes, Geometry, MemoryArray, Operation, Scale
from labctl.protocols.ramps import Ramp, batch
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Second, Siemens, Volt


class FormingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ramp: the FORM pulses, the gate being the compliance. formed_at: the conductance that counts as formed.

    hold: further pulses at the ramp's stop for cells that still have not.
    """

    ramp: Ramp = Ramp(start=Volt(3.1), stop=Volt(3.9), step=Volt(0.1), width=Second(1e-6), gate=Volt(1.2))
    formed_at: Siemens = Siemens(0.5e-6)
    hold: int = 2

    def __post_init__(self) -> None:
        if not self.formed_at > 0:
            raise ValueError(f"formed_at must be more than 0 S, not {self.formed_at:g}")
        if self.hold < 0:
            raise ValueError(f"hold must not be negative, not {self.hold}")


@dataclass(frozen=True, slots=True)
class Formed:
    """What forming left: (cells,) conductance at the last read in S; voltage in V, NaN where it formed no cell.

    stopped: it was asked to end early.
    """

    conductance: np.ndarray
    voltage: np.ndarray
    pulses: int
    reads: int
    stopped: bool


PHASES = ("initial_read", "forming")
NOT_GIVEN = 2**32 - 1
"""Stands in a count's column at the steps that do not give it."""

VARIABLES = (
    Variable("amplitude", "forming amplitude of this step", unit="V"),
    Variable("forming_pulses", "FORM pulses in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("unformed", "cells not formed yet", dtype="u4", fill=NOT_GIVEN),
    Variable("forming_voltage", "amplitude at which the cell formed", ("row", "col"), unit="V"),
)


def amplitudes(settings: FormingSettings, dac: Scale) -> Codes:
    """The codes of every pulse a stubborn cell gets."""
    ramp = settings.ramp.codes(dac, "ramp")
    return np.concatenate([ramp, np.repeat(ramp[-1:], settings.hold)])


def form(
    array: MemoryArray,
    settings: FormingSettings,
    wanted: np.ndarray | None = None,
    maps: Mapping[str, np.ndarray] | None = None,
) -> Generator[Step, None, Formed]:
    """Steps that form the `wanted` cells (bool, (cells,); all where None); returns Formed.

    maps: recorded with the first step, before any pulse.

    A part of other protocols: `formed = yield from form(array, settings)`.
    """
    geometry = array.geometry
    conductance = array.read().conductance[0]
    reads, pulses = geometry.cells, 0
    voltage = np.full(geometry.cells, np.nan, np.float32)
    pristine = conductance < settings.formed_at
    cells = np.flatnonzero(pristine if wanted is None else pristine & wanted).astype(np.uint32)
    codes = amplitudes(settings, array.dac)
    stopped = False
    try:
        yield Step("initial_read", {"unformed": len(cells)}, maps or {}, progress=(0, len(codes)))
        for count, code in enumerate(codes, 1):
            if not len(cells):
                break
            amplitude = np.full(len(cells), code, np.uint16)
            (reading,) = array.pulse_and_verify(batch(Operation.FORM, settings.ramp, cells, amplitude))
            found = reading.conductance[0]
            conductance[cells] = found
            pulses, reads = pulses + len(cells), reads + len(cells)
            volts = float(array.dac.values(code))
            formed = found >= settings.formed_at
            voltage[cells[formed]] = volts
            given, cells = len(cells), cells[~formed]
            values = {"amplitude": volts, "unformed": len(cells), "forming_pulses": given}
            yield Step("forming", values, progress=(count, len(codes)))
    except StopRequested:
        stopped = True
    shape = (geometry.rows, geometry.cols)
    with contextlib.suppress(StopRequested):
        yield Step("forming", {"unformed": len(cells)}, {"forming_voltage": voltage.reshape(shape)})
    return Formed(conductance, voltage, pulses, reads, stopped)


def form_cost(geometry: Geometry, dac: Scale, settings: FormingSettings, cells: int | None = None) -> Cost:
    """The most that forming so many `cells` (all where None) can cost; every cell of the array is read first."""
    codes = amplitudes(settings, dac)
    ramp, most = settings.ramp, (geometry.cells if cells is None else cells) * len(codes)
    return Cost(
        max_pulses=most,
        max_reads=most + geometry.cells,
        amplitudes={Operation.FORM: float(dac.values(codes.max()))},
        gates={Operation.FORM: ramp.gate},
        widths={Operation.FORM: ramp.width},
        max_pulses_per_cell=len(codes),
    )


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: FormingSettings) -> Cost:  # noqa: ARG001
    return form_cost(geometry, dac, settings)


def _steps(array: MemoryArray, settings: FormingSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    formed = yield from form(array, settings)
    shape = (array.geometry.rows, array.geometry.cols)
    with contextlib.suppress(StopRequested):
        yield Step("forming", {}, {"conductance": formed.conductance.reshape(shape)})
    return _summary(formed, settings)


def _summary(formed: Formed, settings: FormingSettings) -> dict[str, Any]:
    done = formed.conductance >= settings.formed_at
    now = np.isfinite(formed.voltage)
    quantiles = np.quantile(formed.voltage[now], [0.05, 0.5, 0.95]) if now.any() else [float("nan")] * 3
    return {
        "cells": len(done),
        "formed_before": int(np.count_nonzero(done & ~now)),
        "formed_now": int(np.count_nonzero(now)),
        "never_formed": int(np.count_nonzero(~done)),
        "fraction_formed": float(done.mean()),
        "pulses": formed.pulses,
        "reads": formed.reads,
        "forming_voltage_p5_volts": float(quantiles[0]),
        "forming_voltage_median_volts": float(quantiles[1]),
        "forming_voltage_p95_volts": float(quantiles[2]),
        "conductance_median_siemens": float(np.median(formed.conductance[done])) if done.any() else float("nan"),
    }


forming = Procedure(
    name="forming",
    title="Form the array",
    settings=FormingSettings,
    phases=PHASES,
    variables=(*VARIABLES, Variable("conductance", "conductance at the last read", ("row", "col"), unit="S")),
    needs=Capability.FORM | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="forming",
)
