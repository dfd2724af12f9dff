"""Products of signed codes on pairs of lines of a crossbar, forward and backward, made for many small ones in a row.

Forward, an input x stands on two lines, one driven with +V x, the other with -V x, and the lines across them are
sensed; backward, those are driven and both lines of every input are sensed, each converted for itself, and their codes
subtracted. Where the converter of line l gives g_l v + o_l for v, a line j across sees

    mean      sum_l o_l G_lj    + sum_i x_i V (g_p G_pj - g_m G_mj)            p, m: the lines of input i
    variance  sum_l o_l**2 v_lj + sum_i (x_i V)**2 (g_p**2 v_pj + g_m**2 v_mj)

with conductances and variances as `SeenCells` has them, over all lines l that can be driven. The variance leaves out
the terms x_i V g o: an offset is some thousandth of a voltage.

What stands in brackets is kept as a matrix for each window lately used, and changed where cells have. Sums are taken
in single precision, so codes may round differently when the same vectors come in other portions; noise does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..cells.hashing import NoiseKey, NormalGrid
from .converters import Converter
from .front_end import FrontEnd
from .readout_faults import ReadoutFaults
from .seen_cells import SeenCells

Float32 = NDArray[np.float32]
Indices = NDArray[np.intp]
Lines = NDArray[np.uint16]

MIN_BITS, MAX_BITS = 8, 14
UNIT = 32_767
"""The code of the full voltage."""

_KEPT = 4  # numbers of matrices for each cell of the array: more are dropped, those first that were not used for long
_CONVERSIONS = 32_768  # at a time: their temporaries stay in the cache
_SPARSE = 0.5  # of its inputs: a vector with fewer of them that are not 0 is multiplied with theirs alone


@dataclass(frozen=True, slots=True, eq=False)
class LineWindow:
    """plus, minus: (inputs,), the lines of each input, no line twice. outputs: (outputs,), distinct lines across them.

    on_columns: plus and minus are columns and outputs rows; else the other way round.
    """

    plus: Lines
    minus: Lines
    outputs: Lines
    on_columns: bool
    key: tuple[bytes | bool, ...] = field(init=False)
    """Equal for equal windows."""

    def __post_init__(self) -> None:
        key = self.plus.tobytes(), self.minus.tobytes(), self.outputs.tobytes(), self.on_columns
        object.__setattr__(self, "key", key)


class LineProducts:
    """The products of the chip `serial`. dac: of a line."""

    def __init__(
        self, serial: str, seen: SeenCells, front_end: FrontEnd, dac: Converter, faults: ReadoutFaults
    ) -> None:
        self._seen, self._front_end, self._faults = seen, front_end, faults
        self._gains = [front_end.line_drivers(dac, transpose)[0] for transpose in (False, True)]
        self._keys = [NoiseKey.of(serial, f"line products: {lines}") for lines in ("columns", "rows")]
        self._matrices: OrderedDict[object, _Matrix] = OrderedDict()
        self._scratch = _Scratch(_CONVERSIONS)

    def codes(
        self,
        vectors: NDArray[np.int16],
        window: LineWindow,
        backward: bool,
        volts: float,
        adc: Converter,
        offset: float,
        bits: int,
        first: int,
    ) -> tuple[NDArray[np.int16], int]:
        """(n, outputs), backward (n, inputs), for `vectors` (n, inputs), (n, outputs); and conversions at either end.

        volts: V of the code `UNIT`. adc: of a line; bits: how many of its codes' are kept, the highest. offset: A that
        the amplifier adds. first: the multiplication that the first vector is, for its noise.
        """
        matrix = self._matrix(window, backward)
        count, sensed = len(vectors), len(matrix.sensed)
        constant, resting = matrix.at_rest(adc, offset)
        found = np.empty((count, len(window.plus) if backward else sensed), np.int16)
        unit, ends = np.float32(volts / UNIT / adc.step), 0
        self._scratch.make_room(sensed)
        most = self._scratch.size // sensed
        for start in range(0, count, most):
            into = found[start : start + most]
            positions, variance = matrix.sums(vectors[start : start + most], unit)
            positions += constant
            variance += resting
            self._add_noise(matrix, positions, variance, first + start)
            codes, at_ends = self._convert(matrix, positions, variance, adc.top, MAX_BITS - bits)
            ends += at_ends
            if backward:
                np.subtract(codes[:, : into.shape[1]], codes[:, into.shape[1] :], out=into)
            else:
                into[:] = codes
        return found, ends

    def _matrix(self, window: LineWindow, backward: bool) -> _Matrix:
        """Of the products, up to date."""
        key = (*window.key, backward)
        matrix = self._matrices.get(key)
        if matrix is None:
            matrix = self._matrices[key] = self._made(window, backward)
            while len(self._matrices) > 1 and self._kept > _KEPT * len(self._seen.conductance):
                self._matrices.popitem(last=False)
        else:
            self._matrices.move_to_end(key)
        matrix.update()
        return matrix

    def _made(self, window: LineWindow, backward: bool) -> _Matrix:
        plus, minus, outputs = (lines.astype(np.intp) for lines in (window.plus, window.minus, window.outputs))
        transpose = window.on_columns is not backward
        gains = self._gains[transpose]
        if backward:
            driven, sensed = [(outputs, gains[outputs])], np.concatenate([plus, minus])
        else:
            driven, sensed = [(plus, gains[plus]), (minus, -gains[minus])], outputs
        return _Matrix(self._seen, driven, sensed, transpose, self._front_end, self._keys[transpose])

    @property
    def _kept(self) -> int:
        return sum(matrix.size for matrix in self._matrices.values())

    def _add_noise(self, matrix: _Matrix, positions: Float32, variance: Float32, first: int) -> None:
        """To `positions`, in place; `variance` is used up."""
        normals = self._scratch.normals(positions.shape)
        matrix.noise.fill(normals, first, *self._scratch.words(positions.shape))
        np.sqrt(variance, out=variance)
        variance *= normals
        positions += variance

    def _convert(
        self, matrix: _Matrix, positions: Float32, scratch: Float32, top: int, dropped: int
    ) -> tuple[NDArray[np.int16], int]:
        """Codes from the middle of the converter on, (n, sensed), less their `dropped` lowest bits, and how many of
        them are at either end. `positions` and `scratch` are used up.
        """
        margin = matrix.furthest + (1 << dropped) + 1
        is_inside = margin < positions.min() and positions.max() < top - margin
        if matrix.converters is not None:
            if is_inside:
                matrix.converters.bend_within(positions, scratch)
            else:
                matrix.converters.bend_rows(positions)
        np.rint(positions, out=positions)
        if not is_inside:
            np.clip(positions, np.float32(0), np.float32(top), out=positions)
        is_faulty = bool(self._faults) and not matrix.transpose
        if is_faulty:
            self._faults.apply(positions, matrix.sensed, top)
        middle = (top + 1) // 2
        positions -= np.float32(middle)
        codes = positions.astype(np.int16)
        if dropped:
            codes >>= dropped
        if is_inside and not is_faulty:
            return codes, 0
        lowest, highest = -middle >> dropped, (top - middle) >> dropped
        return codes, int(np.count_nonzero(codes == lowest) + np.count_nonzero(codes == highest))


class _Matrix:
    """What products one way round through one window need of the cells `seen`.

    driven: pairs of lines, (driven,), and what a volt on each becomes, that are driven together. sensed: (sensed,)
    lines across them. transpose: columns are driven and rows sensed, else the other way round. furthest: LSB that a
    converter takes a position elsewhere.
    """

    def __init__(
        self,
        seen: SeenCells,
        driven: Sequence[tuple[Indices, Float32]],
        sensed: Indices,
        transpose: bool,
        front_end: FrontEnd,
        key: NoiseKey,
    ) -> None:
        self.sensed, self.transpose = sensed, transpose
        self.noise = NormalGrid(key, sensed.astype(np.uint32))
        converters = front_end.line_converters(transpose)
        self.converters = None if converters is None else converters.of(sensed)
        self.furthest = 0.0 if converters is None else converters.furthest()
        self._seen = seen
        cols = seen.shape[1]
        stride, self._across = (1, sensed * cols) if transpose else (cols, sensed)  # a line's first cell, and the cell
        self._driven = [(lines * stride, gains, np.square(gains)) for lines, gains in driven]
        self._inputs, self._outputs = len(driven[0][0]), len(sensed)
        self._table = np.empty((self._inputs, 2 * self._outputs), np.float32)
        self._place_of_driven = _places([lines for lines, _ in driven], seen.shape[transpose])
        self._place_of_sensed = _places([sensed], seen.shape[not transpose])
        self._wholes = self._done = -1
        self._at_rest: tuple[object, tuple[Float32, Float32]] | None = None

    @property
    def size(self) -> int:
        """Numbers in it."""
        return self._table.size

    def update(self) -> None:
        """Bring it up to what the cells were last seen as."""
        changes = self._seen.changes
        if self._wholes != self._seen.wholes:
            self._wholes = self._seen.wholes
            mean, variance = self._of(np.arange(self._inputs)[:, np.newaxis], np.arange(self._outputs))
            self._table[:, : self._outputs], self._table[:, self._outputs :] = mean, variance
        elif self._done < len(changes):
            new = changes[self._done :]
            self._change(*(new[0] if len(new) == 1 else map(np.concatenate, zip(*new, strict=True))))
        self._done = len(changes)

    def at_rest(self, adc: Converter, offset: float) -> tuple[Float32, Float32]:
        """Positions among the codes of `adc` for vectors of 0, and their variance: (sensed,) each."""
        state = (self._wholes, self._done, adc.step, offset)
        if self._at_rest is None or self._at_rest[0] != state:
            mean = self._seen.resting[self.transpose][self.sensed]
            mean += offset - adc.offset
            mean /= adc.step
            variance = self._seen.resting_variance[self.transpose][self.sensed]
            variance /= adc.step**2
            self._at_rest = state, (mean.astype(np.float32), variance.astype(np.float32))
        return self._at_rest[1]

    def sums(self, vectors: NDArray[np.int16], unit: np.float32) -> tuple[Float32, Float32]:
        """Of `vectors` (n, driven) times `unit`: sums, and sums of variances, (n, sensed) each."""
        table, outputs = self._table, self._outputs
        if len(vectors) == 1:
            used = vectors[0].nonzero()[0]
            if len(used) < _SPARSE * self._inputs:
                vectors, table = vectors[:, used], table.take(used, axis=0)
        driven: Float32 = vectors * unit
        return driven @ table[:, :outputs], np.square(driven) @ table[:, outputs:]

    def _change(self, row: Indices, col: Indices) -> None:
        """Some of the array's cells may be others now."""
        driven, sensed = (col, row) if self.transpose else (row, col)
        place, across = self._place_of_driven[driven], self._place_of_sensed[sensed]
        here = np.minimum(place, across) >= 0
        if not here.all():
            place, across = place[here], across[here]
        if len(place):
            self._table[place, across], self._table[place, across + self._outputs] = self._of(place, across)

    def _of(self, place: Indices, across: Indices) -> tuple[Float32, Float32]:
        """Mean and variance that belong at `place` among the driven and `across` among the sensed."""
        found = None
        for first, gains, squares in self._driven:
            cells = first[place] + self._across[across]
            mean, variance = self._seen.conductance[cells], self._seen.variance[cells]
            mean *= gains[place]
            variance *= squares[place]
            found = (mean, variance) if found is None else (found[0] + mean, found[1] + variance)
        assert found is not None
        return found


class _Scratch:
    """Arrays for temporaries, used again and again. size: numbers in each."""

    def __init__(self, size: int) -> None:
        self._make(size)

    def _make(self, size: int) -> None:
        self.size = size
        self._normals = np.empty(size, np.float32)
        self._words, self._index = np.empty((2, size), np.uint32), np.empty(size, np.intp)

    def make_room(self, size: int) -> None:
        """At least."""
        if size > self.size:
            self._make(size)

    def normals(self, shape: tuple[int, ...]) -> Float32:
        return self._normals[: shape[0] * shape[1]].reshape(shape)

    def words(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint32], NDArray[np.uint32], Indices]:
        count = shape[0] * shape[1]
        one, two = self._words
        return one[:count].reshape(shape), two[:count].reshape(shape), self._index[:count].reshape(shape)


def _places(lines: Sequence[Indices], count: int) -> Indices:
    """Where each of `count` lines stands in one of `lines`; -1 where in none."""
    places = np.full(count, -1, np.intp)
    for each in lines:
        places[each] = np.arange(len(each))
    return places
