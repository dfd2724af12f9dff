"""What an imported measurement's run file holds: the steps of a run of that kind, and the readings before each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Operation
from labctl.exchange.mapping import Pulses
from labctl.exchange.quantities import Floats
from labctl.recording.layout import EPOCH
from labctl.steps import Step, Variable

Addresses = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Reads:
    """One read of cells, or a pulse on each that is verified by one.

    cells: (n,), increasing. conductance: (repeats, n) S, NaN where not read. time: s since the run began.
    voltage: V, where readings are for a voltage of their own. pulse: (operation, V, s, V of the gate) of a pulse.
    """

    cells: Addresses
    conductance: Floats
    time: float
    seconds_per_cell: float = 0.0
    voltage: float | None = None
    pulse: tuple[Operation, float, float, float] | None = None

    def within(self, places: NDArray[np.bool_]) -> Reads | None:
        """The same of those cells alone that have their place marked; None where there are none."""
        kept = places[self.cells]
        if kept.all():
            return self
        if not kept.any():
            return None
        cells, conductance = self.cells[kept], self.conductance[:, kept]
        return Reads(cells, conductance, self.time, self.seconds_per_cell, self.voltage, self.pulse)


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A step, after the reads that came before it. maps: (cells of the array,) each. time: s since the run began."""

    phase: str
    reads: tuple[Reads, ...] = ()
    values: dict[str, float | int] = field(default_factory=dict)
    maps: dict[str, NDArray[Any]] = field(default_factory=dict)
    time: float = 0.0

    def step(self, shape: tuple[int, int]) -> Step:
        maps = {name: values.reshape(shape) for name, values in self.maps.items()}
        return Step(self.phase, self.values, maps)


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """A whole measurement. cells: those it is of, increasing."""

    phases: tuple[str, ...]
    variables: tuple[Variable, ...]
    stages: list[Stage]
    cells: Addresses
    notes: tuple[str, ...] = ()


def read_of(cells: Addresses, conductance: Floats, time: float, **more: Any) -> tuple[Reads, ...]:
    """One pass over the cells that have a reading, if any has. conductance: (n,) S."""
    known = np.isfinite(conductance)
    if not known.any():
        return ()
    return (Reads(cells[known], conductance[known][None], time, **more),)


def pulse_of(operation: Operation, place: Pulses | None) -> tuple[Operation, float, float, float] | None:
    """The pulse that the mapping describes, if it does."""
    if place is None or place.amplitude is None or place.width is None:
        return None
    return operation, place.amplitude, place.width, np.nan if place.gate is None else place.gate


def spread(values: Floats, cells: Addresses, count: int) -> NDArray[np.float32]:
    """(count,) a map that has `values` at `cells` and NaN elsewhere."""
    whole = np.full(count, np.nan, np.float32)
    whole[cells] = values
    return whole


def moments(values: Floats, cells: Addresses, count: int) -> Floats:
    """As `spread`, in double precision: of times."""
    whole = np.full(count, np.nan)
    whole[cells] = values
    return whole


def quantity(
    name: str, long_name: str, unit: str, dims: Sequence[str] = (), dtype: str = "f4", **more: Any
) -> Variable:
    """What a run declares to record: a scalar of its steps, or with dims a map."""
    return Variable(name, long_name, tuple(dims), dtype, unit, **more)


CELL_MAP = ("row", "col")
SECONDS_SINCE = EPOCH
