"""Weights as differences of pairs of devices on an array: products on its lines, blind SET pulses, refresh.

w = (G+ - G-) / siemens, summed over the pairs that a weight has. Products are the board's own, of signed codes on the
lines of the network's blocks, either way round; what they give is what the network learns with, lines, converters and
noise included. Pulses are ordered with no look at what they did.
"""

from __future__ import annotations

import contextlib
import copy
import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Cells, LineProduct, LineWindow, MemoryArray, Operation, PulseBatch
from labctl.learning.mixed_precision.devices import Refresh, dealt
from labctl.learning.mixed_precision.quantising import FULL_CODE, codes
from labctl.learning.placement import Block, Placement
from labctl.protocols.training.settings import PulseShape, TrainingSettings

Float32 = NDArray[np.float32]

_ZEROS = 64  # vectors without input, by which offsets are found
_TRUSTED = 4096  # vectors for which they hold: they go with what the lines conduct, which changes while it learns
_WIDEST = 2e-3  # A, of a converter's range, with which products begin
_HEADROOM = 2.0  # of the range over the largest current that was seen with it
_WIDER = 4.0  # times the range is asked for next
_FULL, _FEW = 1e-3, 10  # share of conversions at an end of the converter, above which it is, and how many at least


@dataclass(slots=True)
class ProductCounts:
    """What products have cost. saturated: conversions at either end of the converter."""

    vectors: int = 0
    conversions: int = 0
    saturated: int = 0


class Purpose(enum.IntEnum):
    """What SET pulses are given for."""

    PREPARE = 0
    UPDATE = 1
    REFRESH = 2


@dataclass(slots=True)
class LayerTally:
    """What a layer was asked for: vectors forward, how many of their inputs were not zero, vectors backward and for how
    many inputs.
    """

    forward: int = 0
    driven: int = 0
    backward: int = 0
    inputs_back: int = 0


@dataclass(slots=True)
class _Part:
    """A block's share in the products of a layer, in one direction.

    given, gives: of the layer's inputs and outputs (backward: the other way round) those that the block has.
    full_scale: A, of the converter; None: to be found. converted, saturated: conversions since, and those at an end;
    share: of the latter, with the range before. is_fixed: it stays. offset: A, what the lines show for no input, as it
    was `since` vectors ago; None: to be found.
    """

    window: LineWindow
    given: slice
    gives: slice
    lines: int
    full_scale: float | None = None
    offset: Float32 | None = None
    since: int = 0
    converted: int = 0
    saturated: int = 0
    share: float | None = None
    is_fixed: bool = False

    def note(self, converted: int, saturated: int) -> None:
        """Count conversions, and those at an end of the converter; where there are too many, it gets a wider range.

        Where that does not halve their share it is not the range, but a converter that is stuck, say: it is taken back.
        """
        self.converted += converted
        self.saturated += saturated
        if self.is_fixed or self.saturated < max(_FEW, _FULL * self.converted) or self.full_scale is None:
            return
        before, self.share = self.share, self.saturated / self.converted
        if before is not None and self.share > before / 2:
            self.full_scale, self.is_fixed = self.full_scale / _WIDER, True
        elif self.full_scale * _WIDER <= _WIDEST:
            self.full_scale *= _WIDER
        else:
            self.is_fixed = True
        self.offset, self.converted, self.saturated = None, 0, 0


@dataclass(slots=True, eq=False)
class WeightDevices:
    """The weights of a network's `layers`, each (inputs, outputs), on `array`; `Devices` of mixed-precision learning.

    placement: of every layer as often as a weight has pairs, one after another. siemens: what the pairs of a weight
    of 1 differ by in all, of each layer. granules: what one pulse is taken to add to a weight.

    set_pulses, resets: (cells,) that each has had. given: (purposes, layers) SET pulses. refreshed: pairs reset and
    rewritten. tallies, refresh_reads: of each layer. conductance: (cells,) S, as last read; NaN where none was.
    """

    array: MemoryArray
    placement: Placement
    settings: TrainingSettings
    siemens: tuple[float, ...] = ()
    counts: ProductCounts = field(default_factory=ProductCounts)
    refreshed: int = 0
    reads: int = 0
    set_pulses: NDArray[np.uint32] = field(init=False)
    resets: NDArray[np.uint16] = field(init=False)
    given: NDArray[np.int64] = field(init=False)
    conductance: Float32 = field(init=False)
    tallies: list[LayerTally] = field(init=False)
    refresh_reads: list[int] = field(init=False)
    _parts: dict[tuple[int, bool, tuple[int, int] | None], list[_Part]] = field(default_factory=dict)
    _due: list[tuple[Cells, NDArray[np.int16]]] = field(default_factory=list)
    _pulsed: list[NDArray[np.bool_]] = field(init=False)
    _layer_of: NDArray[np.uint8] = field(init=False)
    _turns: list[int] = field(init=False)

    def __post_init__(self) -> None:
        cells = self.array.geometry.cells
        self.set_pulses = np.zeros(cells, np.uint32)
        self.resets = np.zeros(cells, np.uint16)
        self.conductance = np.full(cells, np.nan, np.float32)
        self._turns = [0] * self.layers
        self.given = np.zeros((len(Purpose), self.layers), np.int64)
        self._pulsed = [np.zeros(self.placement.plus[number * self.pairs].size, bool) for number in range(self.layers)]
        self._layer_of = self.placement.layer_map(0).ravel() // np.uint8(self.pairs)
        self.tallies = [LayerTally() for _ in range(self.layers)]
        self.refresh_reads = [0] * self.layers

    @property
    def pairs(self) -> int:
        """Of devices, for each weight."""
        return self.settings.pairs

    @property
    def layers(self) -> int:
        return len(self.placement.layers) // self.pairs

    @property
    def granules(self) -> tuple[float, ...]:
        return tuple(float(self.settings.granularity) / siemens for siemens in self.siemens)

    # -- products -----------------------------------------------------------------------------------------------

    def forward(self, layer: int, inputs: Float32, /) -> Float32:
        """(n, outputs) inputs @ W, as the board gives it."""
        return self._multiply(layer, inputs, False, None)

    def backward(self, layer: int, deltas: Float32, /, inputs: slice | None = None) -> Float32:
        """(n, inputs) deltas @ W.T, of the layer's `inputs` alone where they are given."""
        return self._multiply(layer, deltas, True, inputs)

    def _multiply(self, layer: int, values: Float32, backward: bool, inputs: slice | None) -> Float32:
        driven, worth = codes(values, self.settings.dac_bits)
        self._count(layer, driven, backward, inputs)
        parts = self._parts_of(layer, backward, inputs)
        factor = worth * np.float32(FULL_CODE / (float(self.settings.voltage) * self.siemens[layer]))
        currents = self._currents(driven, parts, backward)
        if len(parts) == 1:
            total = currents[0]
        else:
            total = np.zeros((len(values), max(part.gives.stop for part in parts)), np.float32)
            for part, each in zip(parts, currents, strict=True):
                total[:, part.gives] += each
        total *= factor
        return total

    @contextlib.contextmanager
    def untallied(self) -> Iterator[None]:
        """What is multiplied meanwhile is no part of what training takes."""
        before = copy.deepcopy(self.tallies)
        try:
            yield
        finally:
            self.tallies = before

    def _count(self, layer: int, driven: NDArray[np.int16], backward: bool, inputs: slice | None) -> None:
        tally = self.tallies[layer]
        if backward:
            tally.backward += len(driven)
            whole = self.placement.layers[layer * self.pairs][0]
            tally.inputs_back = whole if inputs is None else len(range(*inputs.indices(whole)))
        else:
            tally.forward += len(driven)
            tally.driven += int(np.count_nonzero(driven))

    def _currents(self, driven: NDArray[np.int16], parts: Sequence[_Part], backward: bool) -> list[Float32]:
        """A, of each part, all in one exchange, with the pulses that are due before them.

        A part of which more than a thousandth saturates has a wider range from then on, if that helps.
        """
        for part in parts:
            if part.full_scale is None:
                self.flush()
                self._find_scale(driven, part, backward)
            if part.offset is None or part.since > _TRUSTED:
                self.flush()
                self._find_offset(driven, part, backward)
        offsets = [np.float32(0) if part.offset is None else part.offset for part in parts]
        products = [self._product(driven, part, backward) for part in parts]
        found = self.array.multiply_lines(*products, pulses=self._take_due())
        for part, each in zip(parts, found, strict=True):
            self.counts.vectors += len(driven)
            self.counts.conversions += len(driven) * part.lines
            part.since += len(driven)
            self.counts.saturated += each.saturated
            part.note(len(driven) * part.lines, each.saturated)
        return [each.currents - offset for each, offset in zip(found, offsets, strict=True)]

    def _product(self, driven: NDArray[np.int16], part: _Part, backward: bool) -> LineProduct:
        given = driven if part.given == slice(0, driven.shape[1]) else np.ascontiguousarray(driven[:, part.given])
        full_scale = _WIDEST if part.full_scale is None else part.full_scale
        return LineProduct(
            given, part.window, float(self.settings.voltage), full_scale, self.settings.adc_bits, backward
        )

    def _find_scale(self, driven: NDArray[np.int16], part: _Part, backward: bool) -> None:
        """By a product on the widest range, and what of it is seen: of a difference of two lines, twice that."""
        (found,) = self.array.multiply_lines(self._product(driven, part, backward))
        self.counts.vectors += len(driven)
        self.counts.conversions += len(driven) * part.lines
        wanted = _HEADROOM * (1 + backward) * float(np.abs(found.currents).max(initial=0))
        part.full_scale = min(wanted, _WIDEST)

    def _find_offset(self, driven: NDArray[np.int16], part: _Part, backward: bool) -> None:
        """By products of nothing: what converters, amplifier and drivers that are not quite at 0 V add to all."""
        nothing = np.zeros((_ZEROS, driven.shape[1]), np.int16)
        (found,) = self.array.multiply_lines(self._product(nothing, part, backward))
        self.counts.vectors += _ZEROS
        self.counts.conversions += _ZEROS * part.lines
        part.offset, part.since = found.currents.mean(axis=0), 0

    def forget_offsets(self) -> None:
        """Have them found again before the next products: the devices have changed."""
        for parts in self._parts.values():
            for part in parts:
                part.offset = None

    def _parts_of(self, layer: int, backward: bool, inputs: slice | None) -> list[_Part]:
        wanted = None if inputs is None else inputs.indices(self.placement.layers[layer * self.pairs][0])[:2]
        key = (layer, backward, wanted)
        if key not in self._parts:
            blocks = [
                block for each in range(self.pairs) for block in self.placement.of_layer(layer * self.pairs + each)
            ]
            found = [self._part(block, backward, wanted) for block in blocks]
            self._parts[key] = [part for part in found if part is not None]
        return self._parts[key]

    def _part(self, block: Block, backward: bool, wanted: tuple[int, int] | None) -> _Part | None:
        first, outputs = block.first_input, slice(block.first_output, block.first_output + len(block.cols))
        begin, end = wanted or (0, first + len(block.plus))
        own = slice(max(begin - first, 0), min(max(end - first, 0), len(block.plus)))
        if own.stop <= own.start:
            return None
        plus, minus = block.plus[own], block.minus[own]
        window = LineWindow(plus, minus, block.cols, self.placement.on_columns)
        inputs = slice(first + own.start - begin, first + own.stop - begin)
        if backward:
            return _Part(window, outputs, inputs, 2 * len(plus))
        return _Part(window, inputs, outputs, len(block.cols))

    # -- pulses -------------------------------------------------------------------------------------------------

    def pulse(self, layer: int, edges: NDArray[np.intp], counts: NDArray[np.int16], /) -> None:
        """Have the devices of `edges` (n,), flat in (inputs, outputs) and increasing, SET so often before the next
        product: with a count above 0 the + device, below 0 the - device.
        """
        self._pulsed[layer][edges] = True
        turn, self._turns[layer] = self._turns[layer], (self._turns[layer] + 1) % self.pairs
        for place, part in enumerate(dealt(np.abs(counts), self.pairs, turn)):
            chosen = np.flatnonzero(part)
            if len(chosen):
                self._due.append((self._cells(layer, place, edges[chosen], counts[chosen] > 0), part[chosen]))

    def flush(self) -> None:
        """Give the pulses that are due, all in one exchange."""
        if batches := self._take_due():
            self.array.pulse(*batches)

    def _take_due(self) -> list[PulseBatch]:
        """The pulses that are due, which are to be given now."""
        if not self._due:
            return []
        cells, counts = (np.concatenate(each) for each in zip(*self._due, strict=True))
        self._due.clear()
        return self._train(cells, counts, Purpose.UPDATE)

    def _train(self, cells: Cells, counts: NDArray[Any], purpose: Purpose) -> list[PulseBatch]:
        """SET pulses on distinct `cells`, so many on each: a batch for every one of the train.

        Cells that are excluded get none.
        """
        if self.settings.exclude is not None:
            kept = ~self.settings.exclude.ravel()[cells]
            cells, counts = cells[kept], counts[kept]
        order = np.argsort(cells)
        cells, counts = cells[order], counts[order]
        self.set_pulses[cells] += counts.astype(np.uint32)
        self.given[purpose] += np.bincount(self._layer_of[cells], counts, self.layers).astype(np.int64)
        batches = []
        while len(cells):
            batches.append(pulse_batch(self.array, Operation.SET, cells, self.settings.set))
            counts = counts - 1
            left = counts > 0
            cells, counts = cells[left], counts[left]
        return batches

    def _cells(self, layer: int, place: int, edges: NDArray[np.intp], plus: NDArray[np.bool_]) -> Cells:
        number = layer * self.pairs + place
        pair = self.placement.plus[number].reshape(-1), self.placement.minus[number].reshape(-1)
        return np.where(plus, pair[0][edges], pair[1][edges])

    # -- preparation and refresh --------------------------------------------------------------------------------

    def scatter(self, rng: np.random.Generator) -> None:
        """SET a share of the network's devices, which have been RESET, once: random weights."""
        own = self._own()
        chosen = own[rng.random(len(own)) < self.settings.initial]
        batches = self._train(chosen, np.ones(len(chosen), np.int16), Purpose.PREPARE)
        if batches:
            self.array.pulse(*batches)

    def _own(self) -> Cells:
        """Every device of the network, increasing."""
        return np.sort(np.concatenate([each.ravel() for each in (*self.placement.plus, *self.placement.minus)]))

    def read_all(self) -> None:
        """Read every device of the network: `conductance`."""
        self.flush()
        self._read(self._own())

    def _read(self, cells: Cells) -> Float32:
        found: Float32 = self.array.read(cells).conductance[0]
        self.conductance[cells] = found
        self.reads += len(cells)
        return found

    def refresh(self) -> None:
        """RESET pairs that saturate, of those pulsed since the last time, and SET them to about what they differed by.

        With one device high and the difference small, further pulses do little. The SETs are blind too: as many as
        add up to the difference, but `refresh_pulses` at most.
        """
        self.flush()
        pairs = []
        for layer, pulsed in enumerate(self._pulsed):
            edges = np.flatnonzero(pulsed)
            pulsed[edges] = False
            pairs.append(self._pairs(layer, edges))
            self.refresh_reads[layer] += 2 * len(pairs[-1][0])
        plus, minus = (np.concatenate(side) for side in zip(*pairs, strict=True))
        if not len(plus):
            return
        order = np.argsort(both := np.concatenate([plus, minus]))
        found = np.empty(len(both), np.float32)
        found[order] = self._read(both[order])
        high, low = found[: len(plus)], found[len(plus) :]
        full = self._rule.saturated(high, low)
        if self.settings.exclude is not None:
            full &= ~(self.settings.exclude.ravel()[plus] | self.settings.exclude.ravel()[minus])
        if full.any():
            self._rewrite(plus[full], minus[full], (high - low)[full])

    @property
    def _rule(self) -> Refresh:
        settings = self.settings
        above, difference = float(settings.refresh_above), float(settings.refresh_difference)
        return Refresh(above, difference, settings.refresh_pulses, float(settings.refresh_step))

    def _rewrite(self, plus: Cells, minus: Cells, difference: Float32) -> None:
        cells = np.sort(np.concatenate([plus, minus]))
        self.resets[cells] += np.uint16(1)
        self.refreshed += len(plus)
        counts = self._rule.sets(difference)
        some, raised = counts > 0, np.where(difference > 0, plus, minus)
        reset = pulse_batch(self.array, Operation.RESET, cells, self.settings.reset)
        self.array.pulse(reset, *self._train(raised[some], counts[some], Purpose.REFRESH))

    def _pairs(self, layer: int, edges: NDArray[np.intp]) -> tuple[Cells, Cells]:
        """The + and the - devices of all pairs of `edges`."""
        numbers = range(layer * self.pairs, (layer + 1) * self.pairs)
        plus, minus = (
            np.concatenate([side[number].reshape(-1)[edges] for number in numbers])
            for side in (self.placement.plus, self.placement.minus)
        )
        return plus, minus

    # -- what is known --------------------------------------------------------------------------------------------

    def weights(self, layer: int, /) -> Float32:
        """(inputs, outputs) by the last reading of each device."""
        return self.difference(layer) / np.float32(self.siemens[layer])

    def difference(self, layer: int) -> Float32:
        """(inputs, outputs) S, what the pairs of each weight differ by in all, by the last reading of each device."""
        numbers = range(layer * self.pairs, (layer + 1) * self.pairs)
        plus, minus = self.placement.plus, self.placement.minus
        pairs = [self.conductance[plus[number]] - self.conductance[minus[number]] for number in numbers]
        total: Float32 = np.sum(pairs, axis=0, dtype=np.float32)
        return total

    def cells(self, layer: int) -> Cells:
        """(n,) all devices of a layer."""
        numbers = range(layer * self.pairs, (layer + 1) * self.pairs)
        sides = (self.placement.plus, self.placement.minus)
        return np.concatenate([side[number].ravel() for number in numbers for side in sides])

    def refresh_resets(self, layer: int) -> int:
        """RESET pulses of a layer's devices beyond the first one, with which they were prepared."""
        given = self.resets[self.cells(layer)].astype(np.int64)
        return int(np.maximum(given - 1, 0).sum())

    def state(self) -> dict[str, NDArray[Any]]:
        """All but what the array itself holds, as arrays under flat names."""
        return {
            "siemens": np.array(self.siemens),
            "set_pulses": self.set_pulses,
            "resets": self.resets,
            "given": self.given,
            "conductance": self.conductance,
            "refreshed": np.array(self.refreshed),
            "reads": np.array(self.reads),
            "refresh_reads": np.array(self.refresh_reads),
            "turns": np.array(self._turns),
            "counts": np.array(astuple(self.counts)),
            "tallies": np.array([astuple(tally) for tally in self.tallies]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave, with the devices as they are now."""
        self.siemens = tuple(state["siemens"].tolist())
        for name in ("set_pulses", "resets", "given", "conductance"):
            np.copyto(getattr(self, name), state[name])
        self.refreshed, self.reads = int(state["refreshed"]), int(state["reads"])
        self.refresh_reads, self._turns = state["refresh_reads"].tolist(), state["turns"].tolist()
        self.counts = ProductCounts(*state["counts"].tolist())
        for pulsed in self._pulsed:
            pulsed[:] = True  # nobody knows which were


def reset_cells(array: MemoryArray, settings: TrainingSettings) -> tuple[Cells, NDArray[np.bool_]]:
    """RESET every cell that is not excluded: which these are, and (cells,) which of them conduct all the same.

    Cells beside the network are RESET too: what they conduct loads its lines.
    """
    total = array.geometry.cells
    wanted = np.ones(total, bool) if settings.exclude is None else ~settings.exclude.ravel()
    cells = np.flatnonzero(wanted).astype(np.uint32)
    array.pulse(pulse_batch(array, Operation.RESET, cells, settings.reset))
    stuck = np.zeros(total, bool)
    stuck[cells] = array.read(cells).conductance[0] > settings.stuck_above
    return cells, stuck


def pulse_batch(array: MemoryArray, operation: Operation, cells: Cells, shape: PulseShape) -> PulseBatch:
    """A pulse of one shape on each of `cells`."""
    code = int(array.dac.codes(shape.voltage))
    return PulseBatch(operation, cells, np.full(len(cells), code, np.uint16), float(shape.width), float(shape.gate))
