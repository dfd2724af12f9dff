"""What a protocol is made of: the variables it declares, the steps it yields, results, and the whole as one value."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, Operation, Scale


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
    name. progress: done and all, in any unit that grows, for the person watching. checkpoint: arrays of numbers of any
    shape by name, all that a protocol with `checkpoints` needs to go on from here.
    """

    phase: str
    values: Mapping[str, float | int] = field(default_factory=dict)
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    progress: tuple[float, float] | None = None
    checkpoint: Mapping[str, NDArray[Any]] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """An array among the values of the summary that a protocol returns, where its key there is its name.

    values: numbers or truths. dims: a name an axis; a result of one dimension of its own name is the coordinate of
    others that have it. unit: SI, `1` for counts. flags: name -> code, of whole numbers that are codes. Raises
    ValueError where these do not fit one another.
    """

    values: NDArray[Any]
    dims: tuple[str, ...]
    long_name: str
    unit: str = "1"
    flags: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.dtype.kind not in "biuf":
            raise ValueError(f"a result is an array of numbers, not of {values.dtype}")
        if not values.ndim or values.ndim != len(self.dims) or len(set(self.dims)) != len(self.dims):
            raise ValueError(
                f"a result has a dimension for each of its axes, one at least, not {self.dims} for "
                f"the shape {values.shape}"
            )
        if self.flags is not None and values.dtype.kind not in "iu":
            raise ValueError(f"a result of flags holds whole numbers, not {values.dtype}")


Steps = Generator[Step, None, dict[str, Any]]
"""A running protocol: yields steps, returns its summary (plain JSON values, and `Result`s among them)."""


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
    checkpoints: a run goes on from the last checkpoint that it recorded, instead of being gone through again: `steps`
    is a function of (array, settings, rng, checkpoint), where checkpoint is None at first, and else the arrays of a
    step, with `rng` as it was then.
    """

    name: str
    title: str
    settings: type[msgspec.Struct]
    phases: tuple[str, ...]
    variables: tuple[Variable, ...]
    needs: Capability
    steps: Callable[..., Steps]
    plan: Callable[[Geometry, Scale, Scale, Any], Cost]
    measurement: str = ""
    retries: tuple[str, ...] = ()
    checkpoints: bool = False
