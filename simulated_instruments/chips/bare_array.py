"""A chip whose lines are brought out to whatever probes hold on them: the cells of a macro without its converters.

Bit lines `BL0`.. and word lines `WL0`.. run along rows, source lines `SL0`.. along columns. A cell conducts from its
bit line to its source line while its word line opens its transistor, whose source is the lower one of the two. Many
cells may conduct at once and share lines, so voltages come from the whole network (`nets.py`), in which a line that
nothing holds floats.

What the voltage from bit line to source line does to a conducting cell:

- Within the macro's read range, either sign, the cell is read: a measurement or a pulse counts as one read, disturbs as
  one, and a measurement shows the noise of one, however long it integrates. One of no time at all is a look: no read.
- Beyond, it is a pulse of the cells' own physics: positive FORM, which to a formed cell is a SET, negative RESET, with
  the gate as the compliance. A pulse of a lead is one, of its width. What is held is one for the time from when it was
  applied, or last accounted for, until something held changes, something is measured, or a pulse reaches that cell: no
  time acts twice. A measurement then shows the cell as at the end of the read range, without noise: it is no read.

Not modelled: a source's current limit as what stops a SET (the gate does; what the limit leaves of the voltage before
the pulse counts), and lines that cells share: each cell has the resistance of its own lines in series.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..cells.model import Operation
from ..instruments.clocks import TICKS, BoardClock
from ..network import Bias, Sensed
from .crossbar import CrossbarMacro
from .nets import Float64, Solution, Source, solve

_ROUNDS = 12  # of voltages and conductances, until they agree
_AGREED = 1e-7  # V
_NOTHING = 1e-9  # V across a cell that is not being read
_UNTOUCHED = 1e-3  # V that a pulse elsewhere may change, through what lines and sources share, on a cell it is not for

Indices = NDArray[np.intp]


@dataclass(slots=True)
class _Contact:
    """One probe: the lines it is on, and what it holds on them."""

    lines: frozenset[str] = frozenset()
    bias: Bias | None = None


@dataclass(slots=True)
class _State:
    """Of the network: cells that conduct, their two nets, (n,) S, V from bit to source line and V of the gate."""

    cells: NDArray[np.uint32]
    ends: Indices
    conductance: Float64
    across: Float64
    gate: Float64


class BareArray:
    """The lines of `chip`, on a bench whose time is `clock`. One thread at a time works on it."""

    def __init__(self, chip: CrossbarMacro, clock: BoardClock) -> None:
        self.chip = chip
        self.clock = clock
        self.lock = threading.RLock()
        counts = {"BL": chip.rows, "SL": chip.cols, "WL": chip.rows}
        self.lines = tuple(f"{kind}{number}" for kind, count in counts.items() for number in range(count))
        self._place = {line: place for place, line in enumerate(self.lines)}
        self._contacts: list[_Contact] = []
        self._nets = _Nets(self._place, ())
        self._since = clock.ticks()
        self._longer: dict[int, int] = {}  # of cells on which it acts since before that: tick

    def probe(self) -> ArrayProbe:
        """A new one, on no line."""
        with self.lock:
            contact = _Contact()
            self._contacts.append(contact)
            self._nets = _Nets(self._place, [each.lines for each in self._contacts])
            return ArrayProbe(self, contact)

    # -- what probes do -----------------------------------------------------------------------------------------

    def touch(self, contact: _Contact, lines: Iterable[str]) -> None:
        with self.lock:
            wanted = frozenset(lines)
            if wanted == contact.lines:
                return
            self._account()
            contact.lines = wanted
            self._nets = _Nets(self._place, [each.lines for each in self._contacts])

    def hold(self, contact: _Contact, bias: Bias | None) -> None:
        with self.lock:
            if bias != contact.bias:
                self._account()
                contact.bias = bias

    def sense(self, contact: _Contact, seconds: float) -> Sensed:
        with self.lock:
            self.clock.spend(seconds)
            self._account()
            state = self._state()
            shown = self._read(state) if seconds > 0 else state.conductance
            sources = [source for _, source in self._held()]
            return self._sensed(contact, solve(self._nets.count, sources, state.ends, shown))

    def pulse(self, contact: _Contact, volts: float, width: float) -> None:
        with self.lock:
            before = self._state() if self._may_stress() else None
            held, contact.bias = contact.bias, Bias("voltage", volts, np.inf)
            try:
                state = self._state()
                going_on = {} if before is None else self._untouched(before, state)
                if before is not None:
                    self._stress(before, self._held_for(before.cells), except_for=going_on)
                self.clock.spend(width)
                self._stress(state, np.full(len(state.cells), width), except_for=going_on)
                self._read(state)
                self._longer = going_on
            finally:
                contact.bias = held
                self._since = self.clock.ticks()

    # -- the network --------------------------------------------------------------------------------------------

    def _held(self) -> list[tuple[_Contact, Source]]:
        """What drives the network, with the net that each source is on."""
        found = []
        for contact, net in zip(self._contacts, self._nets.of_contacts, strict=True):
            if contact.bias is not None:
                found.append((contact, Source(net, contact.bias)))
        return found

    def _state(self) -> _State:
        """Voltages and conductances that agree, as of now, without the noise of a reading."""
        sources, count, time = [source for _, source in self._held()], self._nets.count, self.clock.now()
        nobody = np.empty((0, 2), np.intp)
        solution = solve(count, sources, nobody, np.empty(0))
        cells = self._candidates(solution.volts, sources)
        ends, words = self._nets.ends(cells, self.chip.cols), self._nets.words(cells, self.chip.cols)
        conductance = np.zeros(len(cells))
        across, gate = self._biases(solution.volts, ends, words)
        for _ in range(_ROUNDS if len(cells) else 0):
            conductance = self._in_series(self._expected(cells, across, time), gate)
            solution = solve(count, sources, ends, conductance)
            before = across
            across, gate = self._biases(solution.volts, ends, words)
            if np.max(np.abs(across - before)) < _AGREED:
                break
        return _State(cells, ends, conductance, across, gate)

    def _candidates(self, volts: Float64, sources: Sequence[Source]) -> NDArray[np.uint32]:
        """Cells that may carry current: of rows whose word line opens, less those that end where nothing goes on."""
        chip, nets = self.chip, self._nets
        lowest = min(float(volts.min(initial=0.0)), 0.0)
        words = volts[nets.of_lines[chip.rows + chip.cols :]]
        open_for = {float(each): chip.access(float(each) - lowest) > 0 for each in np.unique(words)}
        rows = np.flatnonzero([open_for[float(each)] for each in words])
        cells = (rows[:, np.newaxis] * chip.cols + np.arange(chip.cols)).ravel().astype(np.uint32)
        held = np.zeros(nets.count, np.bool_)
        held[[source.net for source in sources]] = True
        while len(cells):
            ends = nets.ends(cells, chip.cols)
            goes_on = held | (np.bincount(ends.ravel(), minlength=nets.count) > 1)
            kept = goes_on[ends].all(axis=1) & (ends[:, 0] != ends[:, 1])
            if kept.all():
                break
            cells = cells[kept]
        return cells

    @staticmethod
    def _biases(volts: Float64, ends: Indices, words: Indices) -> tuple[Float64, Float64]:
        """V from bit to source line of each cell, and of its gate over the lower one of both."""
        bit, source = volts[ends[:, 0]], volts[ends[:, 1]]
        gate: Float64 = np.round(volts[words] - np.minimum(bit, source), 6)
        return bit - source, gate

    def _expected(self, cells: NDArray[np.uint32], across: Float64, time: float) -> Float64:
        """(n,) S between the ends of their lines, of cells whose transistors are fully open."""
        expected = np.empty(len(cells))
        for voltage, where in _alike(self._readable(across)):
            expected[where] = self.chip.expected_at_lines(cells[where], voltage, time)
        return expected

    def _readable(self, across: Float64) -> Float64:
        """V within the read range: beyond, cells conduct as at its end."""
        most = self.chip.read_voltages[1]
        return np.clip(across, -most, most)

    def _in_series(self, conductance: Float64, gate: Float64) -> Float64:
        """`conductance` (n,) in series with what the transistors resist more than fully open ones; 0 where closed."""
        fully = self.chip.access(self.chip.open_gate)
        through = np.zeros(len(conductance))
        for volts, where in _alike(gate):
            if access := self.chip.access(volts):
                more = max(1 / access - 1 / fully, 0.0)
                through[where] = conductance[where] / (1 + conductance[where] * more)
        return through

    # -- what it does to the cells ------------------------------------------------------------------------------

    def _account(self) -> None:
        """What has been held since it was last looked at has acted until now."""
        if (self._longer or self.clock.ticks() > self._since) and self._may_stress():
            state = self._state()
            self._stress(state, self._held_for(state.cells))
        self._since, self._longer = self.clock.ticks(), {}

    def _held_for(self, cells: NDArray[np.uint32]) -> Float64:
        """(n,) s that what is held has been acting on each cell, and is not accounted for."""
        now = self.clock.ticks()
        return np.array([(now - self._longer.get(cell, self._since)) / TICKS for cell in cells.tolist()], np.float64)

    def _untouched(self, before: _State, during: _State) -> dict[int, int]:
        """Cells on which what is held acts during a pulse just as before it, and since which tick."""
        shared, old, new = np.intersect1d(before.cells, during.cells, assume_unique=True, return_indices=True)
        change = np.abs(before.across[old] - during.across[new]) + np.abs(before.gate[old] - during.gate[new])
        acted_on = (np.abs(before.across[old]) > self.chip.read_voltages[1]) & (before.conductance[old] > 0)
        cells: list[int] = shared[acted_on & (change < _UNTOUCHED)].tolist()
        return {cell: self._longer.get(cell, self._since) for cell in cells}

    def _may_stress(self) -> bool:
        """Whether anything held on bit or source lines could bring a cell beyond the read range. (Most never do.)"""
        reach = [
            each.bias.level if each.bias.kind == "voltage" else each.bias.limit
            for each in self._contacts
            if each.bias is not None and each.bias.level and not all(line.startswith("WL") for line in each.lines)
        ]
        return sum(sorted(map(abs, reach))[-2:]) > self.chip.read_voltages[1]

    def _stress(self, state: _State, widths: Float64, except_for: Collection[int] = ()) -> None:
        """One pulse of (n,) `widths`, s, on every cell that has more across it than a read."""
        most, time = self.chip.read_voltages[1], self.clock.now()
        meant = (state.conductance > 0) & (widths > 0) & ~np.isin(state.cells, list(except_for))
        for operation, sign in ((Operation.FORM, 1.0), (Operation.RESET, -1.0)):
            beyond = np.flatnonzero(meant & (sign * state.across > most))
            for gate, alike in _alike(state.gate[beyond]):
                for width in np.unique(widths[beyond[alike]]).tolist():
                    where = beyond[alike][widths[beyond[alike]] == width]
                    volts = (sign * state.across[where]).astype(np.float32)
                    self.chip.pulse_lines(operation, state.cells[where], volts, width, gate, time)

    def _read(self, state: _State) -> Float64:
        """Read the cells within the read range once: (n,) S of all, of these with the noise of the reading."""
        time, shown, size = self.clock.now(), state.conductance.copy(), np.abs(state.across)
        lit = np.flatnonzero((size > _NOTHING) & (size <= self.chip.read_voltages[1]) & (state.conductance > 0))
        for voltage, alike in _alike(self._readable(state.across[lit])):
            where = lit[alike]
            shown[where] = self.chip.read_lines(state.cells[where], voltage, time)
        shown[lit] = self._in_series(shown[lit], state.gate[lit])
        return shown

    def _sensed(self, contact: _Contact, solution: Solution) -> Sensed:
        for (each, source), amps, limited in zip(self._held(), solution.amps, solution.limited, strict=True):
            if each is contact:
                return Sensed(float(solution.volts[source.net]), float(amps), bool(limited))
        net = next(n for n, each in zip(self._nets.of_contacts, self._contacts, strict=True) if each is contact)
        return Sensed(float(solution.volts[net]), 0.0, False)


@dataclass(slots=True)
class ArrayProbe:
    """A probe on some lines of a bare array: a `network.Lead` that can be put elsewhere."""

    _array: BareArray
    _contact: _Contact = field(repr=False)

    @property
    def clock(self) -> BoardClock:
        return self._array.clock

    def touch(self, lines: Iterable[str]) -> None:
        self._array.touch(self._contact, lines)

    def hold(self, bias: Bias | None) -> None:
        self._array.hold(self._contact, bias)

    def sense(self, seconds: float) -> Sensed:
        return self._array.sense(self._contact, seconds)

    def pulse(self, volts: float, width: float) -> None:
        self._array.pulse(self._contact, volts, width)


class _Nets:
    """What is connected with what: lines and posts that a contact is on are one net.

    count: of nets. of_lines: (lines,) the net of each. of_contacts: the net of each; one that is nowhere has its own.
    """

    def __init__(self, place: dict[str, int], contacts: Sequence[frozenset[str]]) -> None:
        posts = {name for lines in contacts for name in lines} - place.keys()
        places = {**place, **{name: len(place) + number for number, name in enumerate(sorted(posts))}}
        root = list(range(len(places) + len(contacts)))

        def find(item: int) -> int:
            while root[item] != item:
                root[item] = item = root[root[item]]
            return item

        for contact, lines in enumerate(contacts, len(places)):
            for name in lines:
                root[find(places[name])] = find(contact)
        _, numbers = np.unique([find(item) for item in range(len(root))], return_inverse=True)
        self.count = int(numbers.max()) + 1
        self.of_lines: Indices = numbers[: len(place)].astype(np.intp)
        self.of_contacts = [int(number) for number in numbers[len(places) :]]

    def ends(self, cells: NDArray[np.uint32], cols: int) -> Indices:
        """(n, 2): the nets of each cell's bit line and source line."""
        rows, columns = np.divmod(cells.astype(np.intp), cols)
        return np.stack((self.of_lines[rows], self.of_lines[self._rows(cols) + columns]), axis=1)

    def words(self, cells: NDArray[np.uint32], cols: int) -> Indices:
        """(n,): the net of each cell's word line."""
        return self.of_lines[self._rows(cols) + cols + cells.astype(np.intp) // cols]

    def _rows(self, cols: int) -> int:
        return (len(self.of_lines) - cols) // 2


def _alike(values: Float64) -> list[tuple[float, Indices]]:
    """Each different value, to a nanovolt, and where it is."""
    if not len(values):
        return []
    different, which = np.unique(np.round(values, 9), return_inverse=True)
    return [(float(value), np.flatnonzero(which == number)) for number, value in enumerate(different)]
