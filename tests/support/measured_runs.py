"""Run files of every kind of measurement, of readings made up by the test: nothing but the values is not real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import Outcome, RunWriter
from labctl.steps import Step, Variable

DAC = Scale(5 / 65536, 0.0, 16, "V")
ADC = Scale(2e-8, -5e-6, 15, "S")
"""Finer than most boards': rounding adds 5.8 nS to the spread of a reading. Full scale is 650 uS."""
START = 1_700_000_000.0
TURN = 1e-6
"""s from one cell's reading to the next."""
NOT_READ = 65535
OUTCOMES = {"not_targeted": 0, "in_window": 1, "unreached": 2}

_NOT_GIVEN = 2**32 - 1


class Writing:
    """A run file being filled. Conductances in S; NaN is not read, and what is beyond the converter is saturated."""

    def __init__(
        self,
        path: Path,
        measurement: str,
        geometry: Geometry,
        phases: tuple[str, ...],
        variables: Iterable[Variable],
        adc: Scale = ADC,
        **attributes: Any,
    ) -> None:
        self.geometry, self.adc, self.time = geometry, adc, START
        self._writer = RunWriter.create(
            path,
            protocol=measurement,
            title=measurement.replace("-", " ").capitalize(),
            phases=phases,
            variables=tuple(variables),
            geometry=geometry,
            dac=DAC,
            adc=adc,
            started=START,
            provenance={
                "chip_serial": "MADE-UP-1",
                "measurement": measurement,
                "snapshot_before": {"board": {"SENSe:TEMPerature": "300.0"}},
                **attributes,
            },
        )

    def read(self, cells: np.ndarray, conductance: np.ndarray, period: float = TURN) -> None:
        """One read operation: conductance (n,), or (repeats, n) for repeats. period: s a cell."""
        codes = self._codes(np.atleast_2d(conductance))
        self._writer.record_read(Readout(cells.astype(np.uint32), codes, self.adc, self.time, period))
        self.time += codes.size * period

    def pulse(
        self,
        operation: Operation,
        cells: np.ndarray,
        volts: float | np.ndarray,
        conductance: np.ndarray,
        width: float = 1e-7,
        gate: float = 2.0,
    ) -> None:
        """A pulse on each cell, with the reading that verifies it."""
        where = cells.astype(np.uint32)
        amplitude = np.broadcast_to(DAC.codes(volts), where.shape).astype(np.uint16)
        self._writer.intend([PulseBatch(operation, where, amplitude, width, gate)], time=self.time)
        self._writer.complete([Readout(where, self._codes(conductance[None]), self.adc, self.time, TURN)])
        self.time += len(where) * TURN

    def step(self, phase: str, values: Mapping[str, Any] | None = None, **maps: np.ndarray) -> None:
        shape = (self.geometry.rows, self.geometry.cols)
        shaped = {name: each.reshape(shape) for name, each in maps.items()}
        self._writer.step(Step(phase, dict(values or {}), shaped), time=self.time)

    def close(self) -> None:
        self._writer.close(Outcome.FINISHED, time=self.time)

    def _codes(self, conductance: np.ndarray) -> np.ndarray:
        codes = np.rint((conductance - self.adc.offset) / self.adc.step).clip(0, self.adc.top)
        return np.where(np.isnan(codes), NOT_READ, codes).astype(np.uint16)


def square(cells: int, kind: str = "1T1R RRAM") -> Geometry:
    """An array of at least so many cells, with some to spare."""
    side = int(np.ceil(np.sqrt(cells + 1)))
    return Geometry(side, side, kind)


def spread_out(geometry: Geometry, cells: np.ndarray, values: np.ndarray, fill: float = np.nan) -> np.ndarray:
    """(all cells,) with `values` at `cells` and `fill` elsewhere."""
    full = np.full(geometry.cells, fill)
    full[cells] = values
    return full


def write_programming(
    path: Path, target: np.ndarray, reached: np.ndarray, pulses: np.ndarray, success: np.ndarray, **attributes: Any
) -> Path:
    """Cells 1, 2, ... with (n,) targets and what became of them."""
    return _write_programmed(path, "programming", "program", target, reached, pulses, success, {}, **attributes)


def write_step_size(
    path: Path,
    step_voltage: np.ndarray,
    target: np.ndarray,
    reached: np.ndarray,
    pulses: np.ndarray,
    success: np.ndarray,
) -> Path:
    """As `write_programming`, with the step each cell was programmed with, in V."""
    extra = {"step_voltage": step_voltage}
    return _write_programmed(path, "step-size", "program", target, reached, pulses, success, extra)


def write_forming(path: Path, forming_voltage: np.ndarray, conductance: np.ndarray, gate: np.ndarray) -> Path:
    """Cells 1, 2, ... tried, (n,) each: NaN V did not form."""
    geometry = square(len(gate))
    cells = np.arange(1, len(gate) + 1)
    variables = (
        Variable("amplitude", "amplitude", unit="V"),
        Variable("gate", "gate", unit="V"),
        Variable("unformed", "unformed", dtype="u4", fill=_NOT_GIVEN),
        Variable("forming_voltage", "forming voltage", ("row", "col"), unit="V"),
        Variable("conductance", "conductance", ("row", "col"), unit="S"),
    )
    writing = Writing(path, "forming", geometry, ("initial_read", "forming"), variables)
    for volts in np.unique(gate):
        chosen = gate == volts
        writing.pulse(Operation.FORM, cells[chosen], 3.5, conductance[chosen], 1e-6, float(volts))
        writing.step(
            "forming", {"amplitude": 3.5, "gate": float(volts), "unformed": int(np.isnan(forming_voltage).sum())}
        )
    maps = {"forming_voltage": forming_voltage, "conductance": conductance}
    writing.step("forming", {}, **{name: spread_out(geometry, cells, each) for name, each in maps.items()})
    writing.close()
    return path


def write_iv(path: Path, voltage: np.ndarray, current: np.ndarray) -> Path:
    """current (cells, voltages) A of cells 1, 2, ...; read as current over voltage."""
    geometry = square(len(current))
    cells = np.arange(1, len(current) + 1)
    variables = (
        Variable("read_voltage", "read voltage", unit="V"),
        Variable("conductance", "conductance", ("row", "col"), unit="S"),
    )
    writing = Writing(path, "iv", geometry, ("read",), variables)
    for volts, column in zip(voltage, current.T, strict=True):
        writing.read(cells, column / volts)
        writing.step("read", {"read_voltage": float(volts)})
    writing.close()
    return path


def write_pulse_response(
    path: Path, conductance: np.ndarray, set_voltage: float = 1.5, reset_voltage: float = 1.2, width: float = 1e-7
) -> Path:
    """conductance (cells, trains, 2, 1 + pulses) S: SET trains, then RESET trains; pulse 0 is read before the train."""
    cells = np.arange(1, len(conductance) + 1)
    variables = (
        Variable("train", "train", dtype="u4"),
        Variable("pulse", "pulse", dtype="u4"),
        Variable("amplitude", "amplitude", unit="V"),
    )
    writing = Writing(path, "pulse-response", square(len(cells)), ("prepare", "set", "reset"), variables)
    writing.step("prepare")
    kinds = (("set", Operation.SET, set_voltage), ("reset", Operation.RESET, reset_voltage))
    for train in range(conductance.shape[1]):
        for way, (phase, operation, volts) in enumerate(kinds):
            for pulse in range(conductance.shape[3]):
                reached = conductance[:, train, way, pulse]
                if pulse:
                    writing.pulse(operation, cells, volts, reached, width)
                else:
                    writing.read(cells, reached)
                writing.step(phase, {"train": train, "pulse": pulse, "amplitude": volts if pulse else np.nan})
    writing.close()
    return path


def write_endurance(path: Path, lrs: np.ndarray, hrs: np.ndarray) -> Path:
    """lrs, hrs (cells, cycles) S after the SET and the RESET of each cycle, counted from 1."""
    cells = np.arange(1, len(lrs) + 1)
    variables = (Variable("cycle", "cycle", dtype="u4"),)
    writing = Writing(path, "endurance", square(len(cells)), ("set", "reset"), variables)
    for cycle in range(lrs.shape[1]):
        for phase, operation, state in (("set", Operation.SET, lrs), ("reset", Operation.RESET, hrs)):
            writing.pulse(operation, cells, 2.0, state[:, cycle])
            writing.step(phase, {"cycle": cycle + 1})
    writing.close()
    return path


def write_retention(
    path: Path, conductance: np.ndarray, times: np.ndarray, target: np.ndarray, **attributes: Any
) -> Path:
    """conductance (cells, 1 + times) S: as programmed, and at each of the `times` (s after) since; target (cells,)."""
    geometry = square(len(conductance))
    cells = np.arange(1, len(conductance) + 1)
    variables = (
        Variable("scheduled", "scheduled", unit="s", dtype="f8"),
        Variable("group", "group", dtype="u4"),
        Variable("target", "target", ("row", "col"), unit="S"),
        Variable("programmed", "programmed", ("row", "col"), unit="S"),
        Variable("programmed_at", "programmed at", ("row", "col"), "f8", unit="s"),
    )
    writing = Writing(path, "retention", geometry, ("program", "read"), variables, **attributes)
    writing.pulse(Operation.SET, cells, 2.0, conductance[:, 0])
    maps = {
        "target": target,
        "programmed": conductance[:, 0],
        "programmed_at": START + TURN * np.arange(len(cells)),
    }
    writing.step("program", {"group": 0}, **{name: spread_out(geometry, cells, each) for name, each in maps.items()})
    programmed = writing.time
    for column, after in enumerate(times, 1):
        writing.time = max(programmed + float(after), writing.time)
        writing.read(cells, conductance[:, column])
        writing.step("read", {"scheduled": float(after), "group": 0})
    writing.close()
    return path


def write_read_noise(path: Path, conductance: np.ndarray, rate: float, samples_a_step: int = 10_000) -> Path:
    """conductance (cells, samples) S, `rate` samples a second."""
    cells = np.arange(1, len(conductance) + 1)
    writing = Writing(path, "read-noise", square(len(cells)), ("read",), ())
    for first in range(0, conductance.shape[1], samples_a_step):
        writing.read(cells, conductance[:, first : first + samples_a_step].T, 1 / rate / len(cells))
        writing.step("read")
    writing.close()
    return path


def write_map(path: Path, conductance: np.ndarray, region: np.ndarray | None = None) -> Path:
    """conductance (repeats, rows, cols) S; region: flat indices of the cells read (all where None)."""
    rows, cols = conductance.shape[1:]
    cells = np.arange(rows * cols) if region is None else region
    variables = (
        Variable("conductance", "conductance", ("row", "col"), unit="S"),
        Variable("conductance_spread", "spread", ("row", "col"), unit="S"),
    )
    writing = Writing(path, "map", Geometry(rows, cols, "1T1R RRAM"), ("read",), variables)
    for each in conductance:
        writing.read(cells, each.ravel()[cells])
        writing.step("read")
    writing.close()
    return path


def _write_programmed(
    path: Path,
    measurement: str,
    phase: str,
    target: np.ndarray,
    reached: np.ndarray,
    pulses: np.ndarray,
    success: np.ndarray,
    extra: Mapping[str, np.ndarray],
    **attributes: Any,
) -> Path:
    geometry = square(len(target))
    cells = np.arange(1, len(target) + 1)
    variables = (
        Variable("in_window", "in window", dtype="u4", fill=_NOT_GIVEN),
        Variable("pulses", "pulses", dtype="u4", fill=_NOT_GIVEN),
        Variable("rms_error", "error", unit="S"),
        *(Variable(name, name, ("row", "col"), unit="S") for name in ("initial", "target", "reached", "error")),
        *(Variable(name, name, ("row", "col"), unit="V") for name in extra),
        Variable("outcome", "outcome", ("row", "col"), "u1", flags=OUTCOMES),
        Variable("pulses_per_cell", "pulses", ("row", "col"), "u2"),
    )
    writing = Writing(path, measurement, geometry, (phase,), variables, **attributes)
    writing.pulse(Operation.SET, cells, 2.0, reached)
    shown = np.clip(reached, ADC.offset, float(ADC.values(ADC.top)))
    maps = {"initial": np.zeros(len(cells)), "target": target, "reached": shown, "error": shown - target, **extra}
    values = {"in_window": int(success.sum()), "pulses": int(pulses.sum()), "rms_error": float(np.std(shown - target))}
    written = {name: spread_out(geometry, cells, each) for name, each in maps.items()}
    written["outcome"] = spread_out(geometry, cells, np.where(success, 1, 2), 0)
    written["pulses_per_cell"] = spread_out(geometry, cells, pulses, 0)
    writing.step(phase, values, **written)
    writing.close()
    return path
