"""How many SET and RESET cycles cells stand: identical pulses without end, read on ever rarer cycles.

The first cycles are read one by one, later ones at logarithmic spacing. Between them the pulses go out without reads,
many a message, so that a million cycles cost thousands of exchanges and not millions. After the last cycle the cells
are SET once more: what is left below `form.formed_at` would be formed anew by the next run.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator
from typing import Any, Literal

import numpy as np

from labctl.array import Capability, Cells, Geometry, MemoryArray, Operation, PulseBatch, PulseLimits, Scale
from labctl.errors import LimitError
from labctl.protocols import forming
from labctl.protocols.characterisation.cells import chosen
from labctl.protocols.characterisation.formed import FormedChoice, formed_cells, with_forming
from labctl.protocols.characterisation.pulses import Pulse
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Second, Volt, format_quantity

_MESSAGE = 1 << 16  # pulses of single cells in one exchange that reads nothing, at most
_BATCHES = 128  # batches in it, at most
_NOT_FAILED = 2**32 - 1
_HALVES = (Operation.SET, Operation.RESET)
_ROUNDING = 1e-9  # relative: what a sum loses on its way through floats


class EnduranceSettings(FormedChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """cycles: of `pulses` SET and `pulses` RESET pulses each. every: the first so many cycles are all read, later ones
    `reads_per_decade`. window: the ratio of the conductances after SET and after RESET that a cell has to keep;
    `failures` read cycles in a row that fall short of it are its end. The run stops when all cells have failed.
    """

    cells: int | Literal["all"] = 64
    cycles: int = 1000
    every: int = 300
    reads_per_decade: int = 20
    pulses: int = 1
    set: Pulse = Pulse(amplitude=Volt(2.2), width=Second(1e-7), gate=Volt(2.0))
    reset: Pulse = Pulse(amplitude=Volt(2.6), width=Second(1e-7), gate=Volt(2.5))
    window: float = 2.0
    failures: int = 5

    def __post_init__(self) -> None:
        for name in ("cycles", "every", "reads_per_decade", "pulses", "failures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.window >= 1:
            raise ValueError(f"window must be a ratio of at least 1, not {self.window:g}")
        if self.cycles > 1_000_000_000:
            raise ValueError(f"cycles must be at most a thousand million, not {self.cycles}")

    @property
    def pulses_per_cell(self) -> int:
        """At most: those of all cycles, and a last SET."""
        return (2 * self.cycles + 1) * self.pulses

    @property
    def read_cycles(self) -> np.ndarray:
        """The cycles, from 1 on, that are read; the last is."""
        first = min(self.every, self.cycles)
        low = math.ceil(math.log10(first) * self.reads_per_decade)
        high = math.floor(math.log10(self.cycles) * self.reads_per_decade)
        later = np.rint(10.0 ** (np.arange(low, high + 1) / self.reads_per_decade)).astype(np.int64)
        return np.unique(np.concatenate([np.arange(1, first + 1), later[later > first], [self.cycles]]))


class _Window:
    """Which cells still switch. failed_at: (n,) cycle at which the series of failures began that was a cell's end."""

    def __init__(self, cells: int, settings: EnduranceSettings) -> None:
        self.failed_at = np.full(cells, _NOT_FAILED, np.uint32)
        self._row = np.zeros(cells, np.uint32)
        self._began = np.zeros(cells, np.uint32)
        self._settings = settings

    def see(self, cycle: int, low_resistance: np.ndarray, high_resistance: np.ndarray) -> None:
        """(n,) S after SET and after RESET of `cycle`."""
        short = low_resistance < self._settings.window * high_resistance
        self._began[short & (self._row == 0)] = cycle
        self._row = np.where(short, self._row + np.uint32(1), np.uint32(0))
        ended = (self._row >= self._settings.failures) & (self.failed_at == _NOT_FAILED)
        self.failed_at[ended] = self._began[ended]

    @property
    def failed(self) -> int:
        return int(np.count_nonzero(self.failed_at != _NOT_FAILED))


def _steps(array: MemoryArray, settings: EnduranceSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    _refuse_worn_out(array.limits, settings, array.dac)
    cells = yield from formed_cells(array, settings, chosen(settings, array.geometry))
    window = _Window(len(cells), settings)
    done, states = 0, np.full((2, len(cells)), np.nan, np.float32)
    with contextlib.suppress(StopRequested):
        for cycle in settings.read_cycles.tolist():
            yield from _unread(array, settings, cells, done + 1, cycle - 1)
            for row, operation in enumerate(_HALVES):
                states[row] = _read_half(array, settings, cells, operation)
                if operation is Operation.RESET:
                    done = cycle
                    window.see(cycle, *states)
                values = {"cycle": cycle, "conductance": float(np.median(states[row])), "failed": window.failed}
                yield Step(operation.name.lower(), values, progress=(cycle, settings.cycles))
            if window.failed == len(cells):
                break
        array.pulse(*_half(array, settings, cells, Operation.SET))
        yield Step("restore")
    failed_at = np.full(array.geometry.cells, _NOT_FAILED, np.uint32)
    failed_at[cells] = window.failed_at
    with contextlib.suppress(StopRequested):
        yield Step("done", {"failed": window.failed}, {"failed_at": failed_at.reshape(array.geometry.rows, -1)})
    return _summary(cells, window, done, states)


def _unread(
    array: MemoryArray, settings: EnduranceSettings, cells: Cells, first: int, last: int
) -> Generator[Step, None, None]:
    """The cycles `first` to `last`, many an exchange, without a read."""
    batches = [each for operation in _HALVES for each in _half(array, settings, cells, operation)]
    most = max(min(_MESSAGE // len(cells), _BATCHES) // len(batches), 1)
    while first <= last:
        count = min(most, last - first + 1)
        array.pulse(*(batches * count))
        first += count
        yield Step("unread", {"cycle": first - 1}, progress=(first - 1, settings.cycles))


def _half(array: MemoryArray, settings: EnduranceSettings, cells: Cells, operation: Operation) -> list[PulseBatch]:
    pulse = settings.set if operation is Operation.SET else settings.reset
    return [pulse.batch(operation, cells, array.dac)] * settings.pulses


def _read_half(array: MemoryArray, settings: EnduranceSettings, cells: Cells, operation: Operation) -> np.ndarray:
    """(n,) S after the half's last pulse."""
    found: np.ndarray = array.pulse_and_verify(*_half(array, settings, cells, operation))[-1].conductance[0]
    return found


def _refuse_worn_out(limits: PulseLimits, settings: EnduranceSettings, dac: Scale) -> None:
    """Raises LimitError for cycles that the cells' limits do not allow anyway, before the first one."""
    most, halves = settings.pulses_per_cell, settings.pulses * settings.cycles
    set_dose = settings.set.volts(dac, "set") * settings.set.width
    reset_dose = settings.reset.volts(dac, "reset") * settings.reset.width
    dose = (halves + settings.pulses) * set_dose + halves * reset_dose
    if limits.max_pulses is not None and most > limits.max_pulses:
        raise LimitError(
            f"{settings.cycles} cycles are {most} pulses a cell, above the max_pulses of {limits.max_pulses}; "
            "nothing was sent"
        )
    if limits.max_dose is not None and dose > limits.max_dose * (1 + _ROUNDING):
        raise LimitError(
            f"{settings.cycles} cycles are a dose of {format_quantity(dose, 'Vs')} a cell, above the max_dose of "
            f"{format_quantity(limits.max_dose, 'Vs')}; nothing was sent"
        )


def _summary(cells: Cells, window: _Window, cycles: int, states: np.ndarray) -> dict[str, Any]:
    """The medians are of the last cycle that was read."""
    low_resistance, high_resistance = (float(np.median(each)) for each in states)
    failed_at = window.failed_at[window.failed_at != _NOT_FAILED]
    return {
        "cells": len(cells),
        "cycles": cycles,
        "failed": window.failed,
        "median_failure_cycle": float(np.median(failed_at)) if len(failed_at) else None,
        "set_median_siemens": low_resistance,
        "reset_median_siemens": high_resistance,
    }


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: EnduranceSettings) -> Cost:  # noqa: ARG001
    cells, a_cycle = len(chosen(settings, geometry)), 2 * settings.pulses
    cost = Cost(
        max_pulses=cells * settings.pulses_per_cell,
        max_reads=cells * a_cycle * len(settings.read_cycles),
        amplitudes={Operation.SET: settings.set.volts(dac, "set"), Operation.RESET: settings.reset.volts(dac, "reset")},
        gates={Operation.SET: settings.set.gate, Operation.RESET: settings.reset.gate},
        widths={Operation.SET: settings.set.width, Operation.RESET: settings.reset.width},
        max_pulses_per_cell=settings.pulses_per_cell,
    )
    return with_forming(cost, geometry, dac, settings)


endurance = Procedure(
    name="endurance",
    title="Cycling endurance",
    settings=EnduranceSettings,
    phases=(*forming.PHASES, "unread", "set", "reset", "restore", "done"),
    variables=(
        *forming.VARIABLES,
        Variable("cycle", "cycle, from 1 on; of several unread ones the last", dtype="u4", fill=forming.NOT_GIVEN),
        Variable("conductance", "median over the cells", unit="S"),
        Variable("failed", "cells whose window has closed for good", dtype="u4", fill=forming.NOT_GIVEN),
        Variable("failed_at", "cycle from which on the cell's window stayed closed", ("row", "col"), "u4"),
    ),
    needs=Capability.PULSE | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="endurance",
)
