"""Several boards with a chip each as one array: their rows one under the other, their columns side by side in place.

Row 0 of the second board comes after the last row of the first, and so on. What concerns one board alone goes to it as
it is. What concerns several is shared out, each board doing all of its part in one exchange before the next begins.

Simulated boards keep a clock each. Whichever is about to work is first brought to the time of the one that worked last,
so that time goes on across them as on one bench; waiting passes on all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labctl.array import (
    BitProducts,
    Capability,
    Cells,
    Geometry,
    LineCurrents,
    LineProduct,
    MemoryArray,
    Nominal,
    PulseBatch,
    PulseLimits,
    Readout,
    Scale,
    Window,
)
from labctl.bench.limits import tightest
from labctl.bench.settings import CompositeSettings
from labctl.drivers.batches import checked_batch, checked_cells
from labctl.errors import BenchError, InstrumentError, LabctlError, LinkError

_SHARE = 0.25  # of the time there is for safe state, that each board gets at the least


class StackedBoardsSettings(CompositeSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """boards: the instruments whose rows are stacked, the first on top."""

    boards: tuple[str, ...]

    is_of_arrays: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.boards) < 2 or len(set(self.boards)) < len(self.boards):
            raise ValueError("boards must name two different instruments, or more")
        if any("." in name for name in self.boards):
            raise ValueError("boards must be whole instruments, not channels of one")

    @property
    def parts(self) -> dict[str, str]:
        return {f"boards[{place}]": name for place, name in enumerate(self.boards)}


class _Part(NamedTuple):
    """What concerns one board. place: its number. where: of the cells asked for. cells: its own, None for all."""

    place: int
    where: slice
    cells: Cells | None


class _CommonClock:
    """The time of the board that worked last."""

    def __init__(self, boards: Sequence[MemoryArray]) -> None:
        self._boards = boards
        self._last = int(np.argmax([board.clock.now() for board in boards]))

    def now(self) -> float:
        return self._boards[self._last].clock.now()

    def sleep_until(self, moment: float) -> None:
        for board in self._boards:
            board.clock.sleep_until(moment)

    def hand_to(self, place: int) -> None:
        """From here on that board works, and it is no earlier there than where work was done last."""
        if place != self._last:
            self._boards[place].clock.sleep_until(self.now())
            self._last = place


class StackedBoards:
    """The boards as one MemoryArray."""

    Settings = StackedBoardsSettings
    sequence = 0  # there is none that all boards share

    geometry: Geometry
    capabilities: Capability
    dac: Scale
    adc: Scale
    limits: PulseLimits
    chip_serial: str
    clock: _CommonClock

    def __init__(self, settings: StackedBoardsSettings, parts: Mapping[str, Any]) -> None:
        self.settings = settings
        self._boards: list[MemoryArray] = [parts[key] for key in settings.parts]

    @classmethod
    def nominal(cls, settings: StackedBoardsSettings, parts: Mapping[str, Nominal]) -> Nominal:
        """parts: what is expected of each board. Raises BenchError where they cannot be one array."""
        return _stacked(settings, [parts[key] for key in settings.parts])

    # -- life -----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """The boards are connected already: see that they can be one array. Raises BenchError where they cannot."""
        for name, board in zip(self.settings.boards, self._boards, strict=True):
            if not isinstance(board, MemoryArray):
                raise BenchError(f"boards: {name} is no array")
        known = [
            Nominal(board.geometry, board.capabilities, board.dac, board.adc, board.limits) for board in self._boards
        ]
        whole = _stacked(self.settings, known)
        self.geometry, self.capabilities, self.limits = whole.geometry, whole.capabilities, whole.limits
        self.dac, self.adc = whole.dac, whole.adc
        serials = [board.chip_serial for board in self._boards]
        self._refuse_unless(len(set(serials)) == len(serials), f"hold the same chip twice: {', '.join(serials)}")
        kinds = {type(board.clock) for board in self._boards}
        self._refuse_unless(len(kinds) == 1, "do not keep the same kind of time: some real, some not")
        self._identities = list(dict.fromkeys(str(board.snapshot()["idn"]) for board in self._boards))
        self.chip_serial = "+".join(serials)
        self.clock = _CommonClock(self._boards)
        self._starts = np.cumsum([0, *(board.geometry.cells for board in self._boards)])
        self._rows = np.cumsum([0, *(board.geometry.rows for board in self._boards)])

    def close(self) -> None:
        """The boards have their own owners."""

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Every board, whatever became of the others."""
        deadline = time.monotonic() + timeout_s
        with ExitStack() as last_first:
            for board in reversed(self._boards):
                last_first.callback(_make_safe, board, deadline, timeout_s * _SHARE)

    def snapshot(self) -> Mapping[str, Any]:
        """Which chips stand where; each board's own settings are in its own snapshot."""
        rows = {
            name: [int(first), int(last) - 1]
            for name, first, last in zip(self.settings.boards, self._rows[:-1], self._rows[1:], strict=True)
        }
        serials = {name: board.chip_serial for name, board in zip(self.settings.boards, self._boards, strict=True)}
        return {
            "idn": " and ".join(self._identities),
            "chip_serial": self.chip_serial,
            "chips": serials,
            "rows": rows,
        }

    # -- what it does ---------------------------------------------------------------------------------------------

    def pulse(self, *batches: PulseBatch) -> None:
        """Raises ValueError where a batch is none, before anything is given; InstrumentError and LinkError as a board
        does, which say which of the boards had their pulses."""
        self._apply(batches, lambda board, given: board.pulse(*given))

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        """As `pulse`. Of several batches each board does all of its own first: a readout's time is then that of its
        first cell, and later boards' cells had their turn later than it says."""
        found = self._apply(batches, lambda board, given: board.pulse_and_verify(*given))
        return tuple(
            self._joined(batch.cells, [found[place][number] for place in sorted(found) if number in found[place]])
            for number, batch in enumerate(batches)
        )

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        """Where several boards are read, once each in turn for each repeat, so that readings come as the readout says.

        Raises ValueError where `cells` are not strictly increasing or not on the array.
        """
        total = self.geometry.cells
        where = np.arange(total, dtype=np.uint32) if cells is None else checked_cells(cells, total)
        parts = self._parts(where)
        passes = [1] * repeats if len(parts) > 1 and repeats > 1 else [repeats]
        rounds = []
        for times in passes:
            readouts = []
            for part in parts:
                self.clock.hand_to(part.place)
                readouts.append(self._boards[part.place].read(part.cells, times, voltage))
            rounds.append(self._joined(where, readouts))
        return replace(rounds[0], codes=np.concatenate([each.codes for each in rounds]))

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        """The chips' column currents added up, each with the noise of its own readout; transposed, every row's own."""
        lines = self.geometry.cols if transpose else self.geometry.rows
        vectors = np.asarray(inputs, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != lines:
            raise ValueError(f"inputs must be (n, {lines}) volts, not {vectors.shape}")
        found = []
        for place, board in enumerate(self._boards):
            self.clock.hand_to(place)
            own = vectors if transpose else vectors[:, self._rows[place] : self._rows[place + 1]]
            found.append(board.multiply(own, transpose))
        return np.concatenate(found, axis=1) if transpose else np.sum(found, axis=0, dtype=np.float32)

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        """On the one board that all rows of `window` are on; ValueError where they are on several."""
        rows = np.concatenate([window.plus, window.minus]).astype(np.int64)
        if not len(rows) or rows.max() >= self.geometry.rows:
            raise ValueError(f"a window's rows must be some of 0 to {self.geometry.rows - 1}")
        first, last = (int(np.searchsorted(self._rows, row, side="right")) - 1 for row in (rows.min(), rows.max()))
        if first != last:
            upper, lower = self.settings.boards[first], self.settings.boards[last]
            raise ValueError(
                f"a window's rows must be on one chip: rows {rows.min()} and {rows.max()} are on {upper} and {lower}"
            )
        top = int(self._rows[first])
        own = replace(window, plus=(window.plus - top).astype(np.uint16), minus=(window.minus - top).astype(np.uint16))
        self.clock.hand_to(first)
        return self._boards[first].multiply_bits(codes, own, bits, voltage, full_scale)

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        raise NotImplementedError  # not among the capabilities, so no protocol gets here

    # -- sharing out ----------------------------------------------------------------------------------------------

    def _parts(self, cells: Cells) -> list[_Part]:
        """The boards that some of `cells` are on; the first for none at all."""
        edges = np.searchsorted(cells, self._starts)
        parts = []
        for place in range(len(self._boards)):
            where = slice(int(edges[place]), int(edges[place + 1]))
            start, count = int(self._starts[place]), int(self._starts[place + 1] - self._starts[place])
            if where.stop > where.start:
                own = None if where.stop - where.start == count else (cells[where] - start).astype(np.uint32)
                parts.append(_Part(place, where, own))
        return parts or [_Part(0, slice(0, 0), cells[:0])]

    def _apply(
        self, batches: Sequence[PulseBatch], give: Callable[[MemoryArray, Sequence[PulseBatch]], Any]
    ) -> dict[int, dict[int, Readout]]:
        """Have every board `give` its parts of `batches`; by board, what it answered of which batch."""
        shared: dict[int, dict[int, PulseBatch]] = {}
        for number, batch in enumerate([checked_batch(each, self.geometry.cells) for each in batches]):
            for part in self._parts(batch.cells):
                own = (batch.cells[part.where] - self._starts[part.place]).astype(np.uint32)
                piece = replace(batch, cells=own, amplitude=batch.amplitude[part.where])
                shared.setdefault(part.place, {})[number] = piece
        found = {}
        for place in sorted(shared):
            own_batches = shared[place]
            try:
                self.clock.hand_to(place)
                answers = give(self._boards[place], list(own_batches.values()))
            except (LinkError, InstrumentError) as problem:
                raise self._with_fate(problem, place, {each: list(shared[each]) for each in sorted(shared)}) from None
            found[place] = dict(zip(own_batches, answers or (), strict=False))
        return found

    def _with_fate(self, problem: LabctlError, failed: int, shared: Mapping[int, Sequence[int]]) -> LabctlError:
        """`problem` of the board `failed`, and what the others had; shared: board to its batches' numbers, in order."""
        names = self.settings.boards
        before, after = (
            [names[each] for each in shared if each < failed],
            [names[each] for each in shared if each > failed],
        )
        told = f"{names[failed]}: {problem}"
        told += f"; {' and '.join(before)} had all pulses before" if before else ""
        told += f"; {' and '.join(after)} had none" if after else ""
        if not isinstance(problem, InstrumentError):
            return type(problem)(told)
        given = _given(problem.given, failed, shared)
        return InstrumentError(told, command=problem.command, errors=problem.errors, given=given)

    def _joined(self, cells: Cells, readouts: Sequence[Readout]) -> Readout:
        """Readouts of one board after the other as one."""
        first = readouts[0]
        self._refuse_unless(
            all(each.scale == first.scale for each in readouts), "do not read on the same scale at that voltage"
        )
        codes = first.codes if len(readouts) == 1 else np.concatenate([each.codes for each in readouts], axis=1)
        return replace(first, cells=np.asarray(cells, np.uint32), codes=codes)

    def _refuse_unless(self, holds: bool, what: str) -> None:
        if not holds:
            raise BenchError(f"{_listed(self.settings)} {what}")


def _stacked(settings: StackedBoardsSettings, boards: Sequence[Nominal]) -> Nominal:
    """What the boards are together. Raises BenchError with one sentence where they cannot be one array."""
    first = boards[0]
    for name, what in (("dac", "DAC scale"), ("adc", "ADC scale")):
        if any(getattr(each, name) != getattr(first, name) for each in boards):
            raise BenchError(
                f"{_listed(settings)} cannot be one array: their {what}s differ; give them the same ranges and voltages"
            )
    for told, values in (
        ("columns", [each.geometry.cols for each in boards]),
        ("cells", [each.geometry.cell for each in boards]),
    ):
        if len(set(values)) > 1:
            have = ", ".join(map(str, values))
            raise BenchError(f"{_listed(settings)} cannot be one array: their {told} differ: {have}")
    capabilities = ~(Capability.SEQUENCE | Capability.MULTIPLY_LINES)
    for each in boards:
        capabilities &= each.capabilities
    limits = tightest({str(place): each.limits for place, each in enumerate(boards)})
    rows = sum(each.geometry.rows for each in boards)
    geometry = replace(first.geometry, rows=rows, chips=len(boards))
    return Nominal(geometry, capabilities, first.dac, first.adc, limits)


def _listed(settings: StackedBoardsSettings) -> str:
    return f"boards {', '.join(settings.boards[:-1])} and {settings.boards[-1]}"


def _given(given: int | None, failed: int, shared: Mapping[int, Sequence[int]]) -> int | None:
    """How many of the first batches were given whole, and no other in part; None where that is not so, or not known.

    given: of the batches of the board `failed`, which the boards before it had all of theirs of, later ones none.
    """
    if given is None:
        return None
    had: dict[int, set[bool]] = {}
    for place, numbers in shared.items():
        for turn, number in enumerate(numbers):
            was = place < failed or (place == failed and turn < given)
            had.setdefault(number, set()).add(was)
    fates = [had[number] for number in sorted(had)]
    whole = sum(fate == {True} for fate in fates)
    told = [{True}] * whole + [{False}] * (len(fates) - whole)
    return whole if fates == told else None


def _make_safe(board: MemoryArray, deadline: float, least: float) -> None:
    board.safe_state(max(deadline - time.monotonic(), least))
