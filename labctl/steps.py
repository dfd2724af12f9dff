"""What a protocol is made of: the variables it declares, the steps it yields, and the whole as one value."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from labctl.array import Capability, Geometry, MemoryArray, Operation, Scale


@dataclass(frozen=True, slots=True)
class Variable:
    """One recorded quantity.

    dims: () for one value a step; ("row", "col") for a map of the array, written whenever a step gives it;
    ("row", "col") maps keep their last value. dtype: numpy's name. unit: SI, `1` for counts. flags: name -> code for
    a variable of codes (dtype u1). fill: what stands where nothing was written (NaN for floats; for integers 0 in
    steps, the highest value in maps).
    """

    name: str
    long_name: str
    dims: tuple[str, ...] = ()
    dtype: str = "f4"
    unit: str = "1"
    flags: Mapping[str, int] | None = None
    fill: float | int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step done: where the protocol is, and what it declares to record.

    phase: one of the protocol's `phases`. values: scalars by variable name. maps: (rows, cols) arrays by variable
    name. progress: done and all, in any unit that grows, for the person watching.
    """

    phase: str
    values: Mapping[str, float | int] = field(default_factory=dict)
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    progress: tuple[float, float] | None = None


Steps = Generator[Step, None, dict[str, Any]]
"""A running protocol: yields steps, returns its summary (plain JSON values)."""


class StopRequested(Exception):
    """Thrown into a protocol at a `yield` when it should end early.

    A protocol may catch it to yield its last maps and return a summary; one that does not just ends there.
    """


@dataclass(frozen=True, slots=True)
class Cost:
    """The most a run can do, known before it starts: pulses and reads of single cells, peak amplitudes in V.

    max_pulses_per_cell: of all kinds, max_form_pulses_per_cell of them to form. read_voltages: V of its reads at a
    voltage of choice.
    """

    max_pulses: int
    max_reads: int
    amplitudes: Mapping[Operation, float]
    gates: Mapping[Operation, float]
    widths: Mapping[Operation, float]
    max_pulses_per_cell: int = 0
    max_form_pulses_per_cell: int = 0
    read_voltages: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Procedure:
    """A protocol: what it is called, needs, records and does.

    steps: generator function of (array, settings, rng); does no I/O but through the array and sleeps only by
    the array's clock. plan: what it would cost at most; raises SettingsError when the settings cannot fit the array.
    measurement: what kind of measurement its runs are (`retention`), by which analysis and calibration know them.
    retries: defects that it exists to try again or to show (`never_formed`), for which cells are not excluded.
    """

    name: str
    title: str
    settings: type[msgspec.Struct]
    phases: tuple[str, ...]
    variables: tuple[Variable, ...]
    needs: Capability
    steps: Callable[[MemoryArray, Any, np.random.Generator], Steps]
    plan: Callable[[Geometry, Scale, Scale, Any], Cost]
    measurement: str = ""
    retries: tuple[str, ...] = ()
