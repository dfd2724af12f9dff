"""Products of signed codes as work of a numbered board: what is asked of it, checked, and what its answers say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry, LineCurrents, LineProduct, LineWindow, Scale
from labctl.drivers.exactly_once import Done, Work
from labctl.drivers.parts import Parts
from labctl.drivers.product_lines import checked_lines

_BITS = range(8, 15)
_LARGEST = 32_767
_MESSAGE = 1 << 25  # bytes of a message or its answer: long enough to be one of few, short enough to hold twice
_WORD = 15  # bits of each of the two numbers at the end of an answer
_WINDOWS = 64  # that are known to be good


@dataclass(frozen=True, slots=True)
class LinesWork(Work):
    """vectors: (n, given) signed codes. Its answer: (n * found,) signed codes, and two words of how many conversions
    were at an end.
    """

    dtype: ClassVar[str] = "<i2"

    vectors: NDArray[np.int16]
    window: CheckedWindow
    product: LineProduct

    @property
    def bytes_given(self) -> int:
        """Of what it has a message carry, nearly."""
        return 2 * self.vectors.size + len(self.window.words)


@dataclass(frozen=True, slots=True)
class CheckedWindow:
    """inputs, outputs: how many. words: the + lines, the - lines and the outputs, one after another, as they travel."""

    inputs: int
    outputs: int
    on_columns: bool
    words: bytes


class LineChecks:
    """Windows checked for an array of `geometry`, each when it comes for the first time."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._known: dict[tuple[object, ...], CheckedWindow] = {}

    def window(self, window: LineWindow) -> CheckedWindow:
        """Raises ValueError where its lines are none."""
        lines = np.asarray(window.plus), np.asarray(window.minus), np.asarray(window.outputs)
        key = (*[(each.dtype, each.shape, each.tobytes()) for each in lines], window.on_columns)
        known = self._known.get(key)
        if known is None:
            named = dict(zip(("plus", "minus", "output"), lines, strict=True))
            plus, minus, outputs = checked_lines(self._geometry, named, "output", window.on_columns)
            words = b"".join(each.tobytes() for each in (plus, minus, outputs))
            known = CheckedWindow(len(plus), len(outputs), bool(window.on_columns), words)
            if len(self._known) == _WINDOWS:
                self._known.pop(next(iter(self._known)))
            self._known[key] = known
        return known


def lines_works(product: LineProduct, checks: LineChecks, cells: int, vector_time: float) -> list[LinesWork]:
    """The product in parts that make messages of a sensible length. vector_time: s that a vector takes.

    Raises ValueError for codes, lines or bits that are none.
    """
    window = checks.window(product.window)
    given, found = (window.outputs, window.inputs) if product.backward else (window.inputs, window.outputs)
    vectors = _checked_vectors(product.vectors, given)
    if product.bits not in _BITS:
        raise ValueError(f"a conversion has {_BITS[0]} to {_BITS[-1]} bits, not {product.bits}")
    works = []
    for part in Parts(_MESSAGE, cells).of_signed_codes(len(vectors), max(given, found)):
        count = part.stop - part.start
        works.append(LinesWork(count * found + 2, count * vector_time, vectors[part], window, product))
    return works


def in_messages(first: Sequence[Work], works: Sequence[LinesWork]) -> Iterator[list[Work]]:
    """As many of `works` at a time as make a message of a sensible length; `first` goes before them all."""
    message = list(first)
    given = answered = 0
    for work in works:
        given, answered = given + work.bytes_given, answered + work.size
        if message and max(given, answered) > _MESSAGE:
            yield message
            message, given, answered = [], work.bytes_given, work.size
        message.append(work)
    if message:
        yield message


def joined_currents(works: Sequence[LinesWork], done: Sequence[Done], scale: Scale) -> LineCurrents:
    """Of all parts of a product together. scale: signed code -> A."""
    answers = [each.answer for each in done]
    codes = [answer[:-2].reshape(len(work.vectors), -1) for work, answer in zip(works, answers, strict=True)]
    saturated = sum(int(answer[-2]) + (int(answer[-1]) << _WORD) for answer in answers)
    return LineCurrents(codes[0] if len(codes) == 1 else np.concatenate(codes), scale, saturated, done[-1].ended)


def _checked_vectors(vectors: NDArray[np.int16], given: int) -> NDArray[np.int16]:
    if vectors.ndim != 2 or vectors.shape[1] != given or vectors.dtype != np.int16:
        raise ValueError(f"vectors must be (n, {given}) of i16 each, not {vectors.dtype} of shape {vectors.shape}")
    if not len(vectors):
        raise ValueError("a product has at least one vector")
    if np.minimum.reduce(vectors, axis=None) < -_LARGEST:
        raise ValueError(f"code {vectors.min()} is below {-_LARGEST}")
    return np.ascontiguousarray(vectors)
