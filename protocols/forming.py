"""Form a pristine array: a ramp of FORM pulses on the cells that have not formed yet, each verified by a read.

A cell counts as formed once a verify read is at or above `formed_at`. Cells that never form are an outcome, not a
failure: real chips have them (98 to 99.8 % on good chips). With several `gates` the columns take turns among them, so
that one run measures how the conductance after forming depends on the compliance, at every place of the array alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from labctl.array import Capability, Cells, Codes, Geometry, MemoryArray, Operation, PulseBatch, Scale
from labctl.protocols.characterisation.cells import CellChoice, chosen
from labctl.protocols.ramps import Ramp
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Second, Siemens, Volt


class FormingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ramp: the FORM pulses, the gate being the compliance. formed_at: the conductance that counts as formed.

    hold: further pulses at the ramp's stop for cells that still have not. gates: compliances that the columns of the
    cells to form take in turn, instead of the ramp's.
    """

    ramp: Ramp = Ramp(start=Volt(3.1), stop=Volt(3.9), step=Volt(0.1), width=Second(1e-6), gate=Volt(1.2))
    formed_at: Siemens = Siemens(0.5e-6)
    hold: int = 2
    gates: tuple[Volt, ...] = ()

    def __post_init__(self) -> None:
        if not self.formed_at > 0:
            raise ValueError(f"formed_at must be more than 0 S, not {self.formed_at:g}")
        if self.hold < 0:
            raise ValueError(f"hold must not be negative, not {self.hold}")
        if any(not gate > 0 for gate in self.gates) or len(set(self.gates)) < len(self.gates):
            raise ValueError("gates must be different voltages above 0 V")

    @property
    def compliances(self) -> tuple[float, ...]:
        """Every gate voltage in use, V."""
        return self.gates or (self.ramp.gate,)


class FormingChoice(FormingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """rows, cols, cells, exclude: which of the array's cells, as in `CellChoice`."""

    rows: tuple[int, int] | Literal["all"] = "all"
    cols: tuple[int, int] | Literal["all"] = "all"
    cells: int | Literal["all"] = "all"
    exclude: np.ndarray | None = None

    def chosen(self, geometry: Geometry) -> Cells:
        """(n,) flat indices, strictly increasing. Raises SettingsError where the choice does not fit the array."""
        return chosen(CellChoice(rows=self.rows, cols=self.cols, cells=self.cells, exclude=self.exclude), geometry)


@dataclass(frozen=True, slots=True)
class Formed:
    """What forming left: (cells,) conductance at the last read in S; voltage in V, NaN where it formed no cell; gate,
    the compliance in V, NaN where no pulse was given.

    stopped: it was asked to end early.
    """

    conductance: np.ndarray
    voltage: np.ndarray
    gate: np.ndarray
    pulses: int
    reads: int
    stopped: bool


PHASES = ("initial_read", "forming")
NOT_GIVEN = 2**32 - 1
"""Stands in a count's column at the steps that do not give it."""

VARIABLES = (
    Variable("amplitude", "forming amplitude of this step", unit="V"),
    Variable("gate", "gate voltage of this step's FORM pulses", unit="V"),
    Variable("forming_pulses", "FORM pulses in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("unformed", "cells not formed yet", dtype="u4", fill=NOT_GIVEN),
    Variable("forming_voltage", "amplitude at which the cell formed", ("row", "col"), unit="V"),
    Variable("gate", "gate voltage of the cell's FORM pulses", ("row", "col"), unit="V"),
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
    gate = np.full(geometry.cells, np.nan, np.float32)
    pristine = conductance < settings.formed_at
    left = np.flatnonzero(pristine if wanted is None else pristine & wanted).astype(np.uint32)
    shares = _shares(settings, left, geometry)
    codes = amplitudes(settings, array.dac)
    stopped = False
    try:
        yield Step("initial_read", {"unformed": len(left)}, maps or {}, progress=(0, len(codes)))
        for count, code in enumerate(codes, 1):
            volts = float(array.dac.values(code))
            for compliance, cells in shares.items():
                if not len(cells):
                    continue
                found = pulse_to_form(array, cells, code, settings.ramp.width, compliance)
                pulses, reads = pulses + len(cells), reads + len(cells)
                conductance[cells], gate[cells] = found, compliance
                formed = found >= settings.formed_at
                voltage[cells[formed]] = volts
                shares[compliance] = cells[~formed]
                unformed = sum(map(len, shares.values()))
                values = {"amplitude": volts, "gate": compliance, "unformed": unformed, "forming_pulses": len(cells)}
                yield Step("forming", values, progress=(count, len(codes)))
    except StopRequested:
        stopped = True
    shape = (geometry.rows, geometry.cols)
    last = {"forming_voltage": voltage.reshape(shape), "gate": gate.reshape(shape)}
    with contextlib.suppress(StopRequested):
        yield Step("forming", {"unformed": sum(map(len, shares.values()))}, last)
    return Formed(conductance, voltage, gate, pulses, reads, stopped)


def _shares(settings: FormingSettings, cells: np.ndarray, geometry: Geometry) -> dict[float, np.ndarray]:
    """The `cells` of each gate voltage: the columns they stand in take the gates in turn."""
    gates = settings.compliances
    columns, column = np.unique(cells % geometry.cols, return_inverse=True)
    turn = np.arange(len(columns))[column] % len(gates)
    return {gate: cells[turn == number] for number, gate in enumerate(gates)}


def pulse_to_form(array: MemoryArray, cells: np.ndarray, code: int, width: float, gate: float) -> np.ndarray:
    """(n,) S after one FORM pulse on each of `cells`."""
    amplitude = np.full(len(cells), code, np.uint16)
    pulse = PulseBatch(Operation.FORM, cells, amplitude, width, gate)
    (reading,) = array.pulse_and_verify(pulse)
    found: np.ndarray = reading.conductance[0]
    return found


def form_cost(geometry: Geometry, dac: Scale, settings: FormingSettings, cells: int | None = None) -> Cost:
    """The most that forming so many `cells` (all where None) can cost; every cell of the array is read first."""
    codes = amplitudes(settings, dac)
    ramp, most = settings.ramp, (geometry.cells if cells is None else cells) * len(codes)
    return Cost(
        max_pulses=most,
        max_reads=most + geometry.cells,
        amplitudes={Operation.FORM: float(dac.values(codes.max()))},
        gates={Operation.FORM: max(settings.compliances)},
        widths={Operation.FORM: ramp.width},
        max_pulses_per_cell=len(codes),
        max_form_pulses_per_cell=len(codes),
    )


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: FormingChoice) -> Cost:  # noqa: ARG001
    return form_cost(geometry, dac, settings, len(settings.chosen(geometry)))


def _steps(array: MemoryArray, settings: FormingChoice, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    cells = settings.chosen(array.geometry)
    wanted = np.zeros(array.geometry.cells, bool)
    wanted[cells] = True
    formed = yield from form(array, settings, wanted)
    shape = (array.geometry.rows, array.geometry.cols)
    with contextlib.suppress(StopRequested):
        yield Step("forming", {}, {"conductance": formed.conductance.reshape(shape)})
    return _summary(formed, settings, cells)


def _summary(formed: Formed, settings: FormingSettings, cells: Cells) -> dict[str, Any]:
    """Of the chosen `cells`."""
    conductance, voltage = formed.conductance[cells], formed.voltage[cells]
    done, now = conductance >= settings.formed_at, np.isfinite(voltage)
    quantiles = np.quantile(voltage[now], [0.05, 0.5, 0.95]) if now.any() else [float("nan")] * 3
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
        "conductance_median_siemens": float(np.median(conductance[done])) if done.any() else float("nan"),
    }


forming = Procedure(
    name="forming",
    title="Form the array",
    settings=FormingChoice,
    phases=PHASES,
    variables=(*VARIABLES, Variable("conductance", "conductance at the last read", ("row", "col"), unit="S")),
    needs=Capability.FORM | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="forming",
    retries=("never_formed",),
)
