"""What all kinds of memory cell have in common: operations, pulses, selections, the interface of a model."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .arena import Arena

Float32 = NDArray[np.float32]
Voltage = Float32 | np.float32
Element = TypeVar("Element", bound=np.generic)


class Operation(enum.IntEnum):
    """What a pulse is for: which lines are driven, and so its polarity."""

    FORM = 1
    SET = 2
    RESET = 3


@dataclass(frozen=True, slots=True)
class Moment:
    """When a batch is worked on, cell after cell.

    time: s on the bench's clock when the first cell's turn begins. period: s that each cell's turn takes. age: s that
    the chip felt pass until `time`, which heat makes run faster. pace: s of age in a second.
    """

    time: float = 0.0
    period: float = 0.0
    age: float = 0.0
    pace: float = 1.0

    def later(self, turns: int) -> Moment:
        """When another so many cells have had their turn."""
        passed = turns * self.period
        return Moment(self.time + passed, self.period, self.age + passed * self.pace, self.pace)


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the pulses of one batch share. width: s. gate: V on the word line. at: when."""

    operation: Operation
    width: float
    gate: float
    at: Moment


@dataclass(frozen=True, slots=True)
class Sense:
    """What the reads of one batch share. voltage: V across the cell. at: when."""

    voltage: float
    at: Moment


@dataclass(frozen=True, slots=True)
class Selection:
    """Some cells of a model, few enough for the cache.

    cells: (n,) u32. index: where they stand in the model's arrays, a slice where they are neighbours. first: the
    first one's turn in its batch. `arena` is theirs for temporaries.
    """

    cells: NDArray[np.uint32]
    index: slice | NDArray[np.intp]
    first: int
    arena: Arena

    def __len__(self) -> int:
        return len(self.cells)

    def take(self, array: NDArray[Element]) -> NDArray[Element]:
        """These cells' elements of `array`: a view of neighbours, else a copy (`put` brings it back)."""
        if isinstance(self.index, slice):
            return array[self.index]
        taken: NDArray[Any] = self.arena.array(array.dtype.type, len(self))
        array.take(self.index, out=taken, mode="clip")
        return taken

    def put(self, array: NDArray[Element], taken: NDArray[Element]) -> None:
        """Bring what `take` gave, changed in place, back into `array`."""
        if not isinstance(self.index, slice):
            array[self.index] = taken

    def ages(self, at: Moment) -> NDArray[np.float64]:
        """How old the chip feels when each cell has its turn: (n,) s."""
        step = at.period * at.pace
        ages: NDArray[np.float64] = self.arena.array(np.float64, len(self))
        np.multiply(self.arena.turns(len(self)), step, out=ages)
        ages += at.age + self.first * step
        return ages


def select(cells: NDArray[np.uint32] | None, total: int, arena: Arena) -> Iterator[tuple[slice, Selection]]:
    """`cells` (None: all of `total`) in selections of the arena's size, each with its place in the batch.

    Every selection takes back what the one before it had of the arena.
    """
    count = total if cells is None else len(cells)
    for start in range(0, count, arena.size):
        arena.reset()
        batch = slice(start, min(start + arena.size, count))
        if cells is None:
            yield batch, Selection(arena.range(start, batch.stop - start), batch, start, arena)
        else:
            index = arena.intp(batch.stop - start)
            np.copyto(index, cells[batch])
            yield batch, Selection(cells[batch], index, start, arena)


class Fluctuation(NamedTuple):
    """Relative `shift` of each cell by what is slow, and relative `variance` of what is fast, as of some moment: (n,)
    each.
    """

    shift: Float32
    variance: Float32


class CellModel(Protocol):
    """The cells of one chip: what they are like, the state they are in, and what pulses and reads do to it.

    A new kind of cell (phase change, say) is a class like this. Conductance in S, voltage in V, time in s.
    What `read` gives lives in the selection's arena and may be changed in place; what `read_moments` gives
    may be a view.
    """

    @property
    def kind(self) -> str: ...

    @property
    def reads_disturb(self) -> bool:
        """Whether a read changes what the next one scatters around."""

    @property
    def state(self) -> Mapping[str, NDArray[Any]]:
        """Everything that changes, by name, (cells,) each, to be saved; written in place to restore it.

        `pulses` and `reads` (u32) are among it: how many of each every cell has had, which its noise is drawn
        at; and `conductance` (S), as last programmed, by which the lines take their part of a pulse.
        """

    def pace(self, temperature: float) -> float:
        """Seconds of age in a second at `temperature`, K: how much faster heat lets cells relax."""

    def access(self, gate: float) -> float:
        """S of a cell's access transistor with `gate` V from its source to its gate; 0 where that leaves it closed."""

    def pulse(self, where: Selection, voltage: Voltage, pulse: Pulse) -> None:
        """One pulse on each cell; voltage (n,) or one for all."""

    def pulse_and_read(self, where: Selection, voltage: Voltage, pulse: Pulse, read_voltage: float) -> Float32:
        """`pulse`, then `read` in the same turn, to the last bit, but fetching the cells' state once: (n,)."""

    def read(self, where: Selection, sense: Sense) -> Float32:
        """The conductance each cell shows, current over voltage, with its noise: (n,)."""

    def read_moments(
        self, where: Selection, sense: Sense, fluctuation: Fluctuation | None = None
    ) -> tuple[Float32, Float32]:
        """What reads within about a second scatter around (n,) and their variance in S**2 (n,). Counts as no read.

        fluctuation: of the cells, as of another moment of that second; else as of `sense.at`.
        """

    def fluctuation(self, where: Selection, at: Moment) -> Fluctuation | None:
        """What of the cells' noise stays about as it is for a second; None where none does."""
