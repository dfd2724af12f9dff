"""What drivers of memory-array test boards share, whatever the wire: pulses, reads and products, each exactly once.

Every pulse batch carries a number that grows by one; beyond that the boards number their work (`exactly_once`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Cells, Clock, Geometry, Nominal, PulseBatch, PulseLimits, Readout, Scale
from labctl.drivers.batches import checked_batch, checked_cells, scale_at
from labctl.drivers.exactly_once import ExactlyOnce, Work, joined
from labctl.drivers.parts import Parts
from labctl.drivers.wired import WireKeys
from labctl.errors import BenchError, InstrumentError


class BoardKeys(WireKeys, Protocol):
    """What a bench file says of such a board besides its wire.

    read_voltage: V across a cell while it is read. current_range: A at the top of the ADC. temperature: K that the chip
    is held at, set on connecting; left as it is where None. rows, cols: the array's shape, for planning without the
    board; checked against it on connecting.
    """

    @property
    def rows(self) -> int: ...

    @property
    def cols(self) -> int: ...

    @property
    def read_voltage(self) -> float: ...

    @property
    def current_range(self) -> float: ...

    @property
    def temperature(self) -> float | None: ...


def check_keys(settings: BoardKeys) -> None:
    """Raises ValueError with one sentence."""
    for name in ("rows", "cols", "read_voltage", "current_range", "temperature"):
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be more than 0, not {value:g}")


@dataclass(frozen=True, slots=True)
class PulseWork(Work):
    batch: PulseBatch
    verify: bool

    @property
    def is_batch(self) -> bool:
        return True

    @property
    def is_answered(self) -> bool:
        return self.verify


@dataclass(frozen=True, slots=True)
class ReadWork(Work):
    """cells: None for the whole array. voltage: None for the board's own."""

    cells: Cells | None
    repeats: int
    voltage: float | None


@dataclass(frozen=True, slots=True)
class MultiplyWork(Work):
    """inputs: (vectors, lines) V."""

    dtype: ClassVar[str] = "<f4"

    inputs: NDArray[np.float32]
    transpose: bool


class NumberedBoard(ExactlyOnce):
    """The MemoryArray of such a board; a subclass speaks to it."""

    capabilities = (
        Capability.FORM
        | Capability.PULSE
        | Capability.READ
        | Capability.PULSE_AND_VERIFY
        | Capability.MULTIPLY
        | Capability.SEQUENCE
        | Capability.READ_VOLTAGE
    )
    geometry: Geometry
    dac: Scale
    adc: Scale
    clock: Clock
    limits: PulseLimits
    chip_serial: str

    settings: BoardKeys
    max_payload: int | None = None
    """Bytes of one message at most; None for any."""
    _pulse_time: float  # s a cell, besides its pulse
    _read_time: float  # s a cell
    _base_voltage: float  # V across a cell that is read at no other

    def __init__(self, settings: BoardKeys) -> None:
        super().__init__(settings)
        self._extra = 0  # numbers that batches took which went in several parts, beyond one each
        self._parted: list[tuple[int, int]] = []  # those not in it yet: the number before, and into how many parts

    # -- life -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._extra = 0
        self._parted.clear()
        super()._begin()
        in_one_piece = len(list(self._parts.of_batch(self.geometry.cells))) == 1
        # what goes in parts is counted by the part, by which nobody else can find a batch again
        self.capabilities = type(self).capabilities & (~Capability.SEQUENCE if not in_one_piece else ~Capability(0))

    def snapshot(self) -> Mapping[str, Any]:
        found = self._asked(self._settings_now)
        number = {"chip_serial": self.chip_serial, "sequence": self._sequence}
        return {"idn": self.link.idn, **number, **found, **self._logged()}

    @classmethod
    def nominal(cls, settings: BoardKeys) -> Nominal:
        """A board as its document describes it, with this bench's settings."""
        full_scale = settings.current_range / settings.read_voltage
        return Nominal(
            Geometry(settings.rows, settings.cols, ""),
            cls.capabilities,
            Scale(5.0 / 65_536, 0.0, 16, "V"),
            Scale(full_scale * 33 / 32 / 16_383, -full_scale / 32, 14, "S"),
            PulseLimits(),
        )

    # -- what it does -----------------------------------------------------------------------------------------------

    @property
    def sequence(self) -> int:
        """The number the next batch will carry; the board is asked where a fault has left that open.

        A batch that goes in several parts counts once here, while the board has counted its parts.
        """
        self._settle()
        self._count_parts()
        return self._sequence + 1 - self._extra

    def pulse(self, *batches: PulseBatch) -> None:
        self._apply(batches, verify=False)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        return self._apply(batches, verify=True)

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        """Raises ValueError where `cells` are not strictly increasing, or not on the array, or `voltage` beyond its
        range.
        """
        scale = self.adc if voltage is None else scale_at(self.adc, self._base_voltage, voltage, self.limits)
        where = None if cells is None else checked_cells(cells, self.geometry.cells)
        read = np.arange(self.geometry.cells, dtype=np.uint32) if where is None else where
        done = self._do(self._read_works(where, repeats, voltage))
        codes = joined([each.answer for each in done], ReadWork.dtype).reshape(repeats, len(read))
        return Readout(read, codes, scale, done[-1].ended - codes.size * self._read_time, self._read_time)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        rows, cols = self.geometry.rows, self.geometry.cols
        lines, outputs = (cols, rows) if transpose else (rows, cols)
        vectors = np.ascontiguousarray(inputs, "<f4")
        if vectors.ndim != 2 or vectors.shape[1] != lines:
            raise ValueError(f"inputs must be (n, {lines}) volts, not {vectors.shape}")
        works = []
        for part in self._parts.of_vectors(len(vectors), max(lines, outputs)):
            values = (part.stop - part.start) * outputs
            works.append(MultiplyWork(values, values * self._read_time, vectors[part], transpose))
        done = self._do(works)
        return joined([each.answer for each in done], MultiplyWork.dtype).reshape(len(vectors), outputs)

    # -- batches in parts ------------------------------------------------------------------------------------------

    def _count_parts(self) -> None:
        """Batches count once each, however far they came; what the board did last is known."""
        for first, parts in self._parted:
            self._extra += min(max(self._sequence - first - 1, 0), max(parts - 1, 0))
        self._parted.clear()

    # -- pulses and reads as work -----------------------------------------------------------------------------------

    def _apply(self, given: Sequence[PulseBatch], verify: bool) -> tuple[Readout, ...]:
        batches, parts = self._batch_works(given, verify)
        with self._telling_fate(parts):
            done = iter(self._do([work for works in parts for work in works]))
        readouts = []
        for batch, works in zip(batches, parts, strict=True):
            found = [next(done) for _ in works]
            turn = self._cell_time(batch, verify)
            codes = joined([each.answer for each in found], PulseWork.dtype).reshape(1, -1)
            readouts.append(Readout(batch.cells, codes, self.adc, found[-1].ended - len(batch.cells) * turn, turn))
        return tuple(readouts) if verify else ()

    def _batch_works(self, given: Sequence[PulseBatch], verify: bool) -> tuple[list[PulseBatch], list[list[PulseWork]]]:
        """The batches, checked, and each as work, in parts."""
        batches = [checked_batch(batch, self.geometry.cells) for batch in given]
        return batches, [self._pulse_works(batch, verify) for batch in batches]

    @contextlib.contextmanager
    def _telling_fate(self, parts: Sequence[Sequence[PulseWork]]) -> Iterator[None]:
        """While the batches in `parts` are given, and whatever goes with them: who refuses says what became of them."""
        self._settle()
        self._count_parts()
        before = first = self._sequence
        for works in parts:
            self._parted.append((first, len(works)))
            first += len(works)
        try:
            yield
        except InstrumentError as problem:
            raise self._with_fate(problem, before, [len(works) for works in parts]) from None

    def _with_fate(self, problem: InstrumentError, before: int, parts: Sequence[int]) -> InstrumentError:
        """`problem`, and what became of the batches that went in so many `parts` after number `before`."""
        ends = [sum(parts[: count + 1]) for count in range(len(parts))]
        applied = self._sequence - before if self._is_settled else -1
        given = sum(end <= applied for end in ends) if applied in (0, *ends) else None
        if given is None:
            fate = "whether the pulses were given is not known"
        elif given == len(parts):
            fate = "the pulses were given all the same"
        elif given == 0:
            fate = "no pulse was given"
        else:
            fate = f"of {len(parts)} batches of pulses {given} {'were' if given > 1 else 'was'} given"
        return InstrumentError(f"{problem}; {fate}", command=problem.command, errors=problem.errors, given=given)

    def _pulse_works(self, batch: PulseBatch, verify: bool) -> list[PulseWork]:
        """The batch in as many parts as the board's messages make necessary."""
        turn, works = self._cell_time(batch, verify), []
        for part in self._parts.of_batch(len(batch.cells)):
            cells = batch.cells[part]
            piece = replace(batch, cells=cells, amplitude=batch.amplitude[part])
            works.append(PulseWork(len(cells) if verify else 0, len(cells) * turn, piece, verify))
        return works

    def _read_works(self, cells: Cells | None, repeats: int, voltage: float | None) -> list[ReadWork]:
        """The read in as many parts as the board's messages make necessary."""
        count, works = self.geometry.cells if cells is None else len(cells), []
        for part, times in self._parts.of_read(count, max(repeats, 0), whole=cells is None):
            values = (part.stop - part.start) * times
            if cells is not None:
                listed: Cells | None = cells[part]
            elif part == slice(0, count):
                listed = None
            else:
                listed = np.arange(part.start, part.stop, dtype=np.uint32)
            works.append(ReadWork(values, values * self._read_time, listed, times, voltage))
        return works

    @property
    def _parts(self) -> Parts:
        return Parts(self.max_payload, self.geometry.cells)

    def _check_shape(self, rows: int, cols: int) -> None:
        """Raises BenchError where the board's is not the bench file's."""
        expected = (self.settings.rows, self.settings.cols)
        if (rows, cols) != expected:
            raise BenchError(
                f"{self.settings.resource_name}: the board has {rows} rows and {cols} columns where the bench "
                f"file says {expected[0]} and {expected[1]}: set rows and cols of this instrument"
            )

    def _cell_time(self, batch: PulseBatch, verify: bool) -> float:
        return batch.width + self._pulse_time + (self._read_time if verify else 0.0)


def mask_of(cells: Cells, total: int) -> NDArray[np.uint8] | None:
    """A bit a cell of the array, where that is shorter than a 32-bit index a cell; None where it is not."""
    if len(cells) * 32 <= total:
        return None
    mask = np.zeros(total, np.bool_)
    mask[cells] = True
    return np.packbits(mask)
