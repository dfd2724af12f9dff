"""How batches, reads and products are cut to fit a board's messages; one that takes any length cuts nothing.

A part is no different from the whole: what a cell does goes by its own history, and a part begins when the one before
it ends. The order of the readings is kept: a read of several repeats is cut between repeats before it is cut in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labctl.errors import InstrumentError

_HEAD = 32  # bytes of a request or an answer besides its arrays, at most
_INDEX, _CODE, _FLOAT, _SUM = 4, 2, 4, 4  # bytes


@dataclass(frozen=True, slots=True)
class Parts:
    """max_payload: bytes of a message at most, None for any. cells: of the whole array.

    Every call raises InstrumentError where not even one cell or vector fits.
    """

    max_payload: int | None
    cells: int

    def of_batch(self, count: int) -> list[slice]:
        """Of a batch on `count` cells, listed or masked, whichever is shorter."""
        if self._fits(count, _CODE) and count == self.cells:
            return [slice(0, count)]
        return self._slices(count, max(self._most(_INDEX + _CODE), self._most(_CODE, (self.cells + 7) // 8)))

    def of_read(self, count: int, repeats: int, whole: bool) -> Iterator[tuple[slice, int]]:
        """Of a read of `count` cells, `repeats` times over: (cells, repeats) of each part. whole: of the array.

        No repeats are one part, for the board to refuse.
        """
        if repeats < 1:
            yield slice(0, count), repeats
            return
        if not self._fits(count, _CODE if whole else _INDEX):
            for part in self._slices(count, self._most(_INDEX)) * repeats:
                yield part, 1
            return
        at_once = max(self._most(_CODE * max(count, 1)), 1)
        for begun in range(0, repeats, at_once):
            yield slice(0, count), min(at_once, repeats - begun)

    def of_vectors(self, count: int, longest: int) -> list[slice]:
        """Of a product of `count` vectors; longest: numbers in a vector or in its result, whichever has more."""
        return self._slices(count, self._most(_FLOAT * longest))

    def of_codes(self, count: int, inputs: int, outputs: int) -> list[slice]:
        """Of a bit-serial product of `count` vectors, whose answer has one line of numbers more."""
        return self._slices(count, self._most(max(inputs, _SUM * outputs), _SUM * outputs))

    def of_signed_codes(self, count: int, longest: int) -> list[slice]:
        """Of a product of `count` vectors of signed codes; longest: codes in a vector or in its result, if those are
        more.
        """
        return self._slices(count, self._most(_CODE * longest))

    def _fits(self, count: int, size: int) -> bool:
        return count <= self._most(size)

    def _most(self, size: int, more: int = 0) -> int:
        """How many things of `size` bytes go into one message beside `more` bytes."""
        if self.max_payload is None:
            return 1 << 62
        return max(self.max_payload - _HEAD - more, 0) // size

    def _slices(self, count: int, most: int) -> list[slice]:
        if most < 1:
            raise InstrumentError(f"the board's messages of {self.max_payload} bytes are too short for this")
        return [slice(first, min(first + most, count)) for first in range(0, max(count, 1), most)]
