"""Bit-serial products as work of a numbered board: what is asked of it, checked, and how its answers become sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry, Window
from labctl.drivers.exactly_once import Done, Work
from labctl.drivers.parts import Parts
from labctl.drivers.product_lines import checked_lines

_MAX_BITS = 8
_MESSAGE = 1 << 25  # bytes of a message or its answer: long enough to be one of few, short enough to hold twice


@dataclass(frozen=True, slots=True)
class BitsWork(Work):
    """codes: (vectors, inputs). voltage: V. full_scale: A. Its answer is (vectors + 1, outputs): sums, and how many
    conversions of each column were at an end.
    """

    dtype: ClassVar[str] = "<u4"

    codes: NDArray[np.uint8]
    window: Window
    bits: int
    voltage: float
    full_scale: float


def bits_works(
    codes: NDArray[np.uint8],
    window: Window,
    bits: int,
    voltage: float,
    full_scale: float,
    geometry: Geometry,
    plane_time: float,
) -> list[BitsWork]:
    """The product in parts that make messages of a sensible length. plane_time: s that a plane of a vector takes.

    Raises ValueError for codes, lines or bits that are none.
    """
    where = _checked_window(window, geometry)
    vectors = _checked_codes(codes, len(where.plus), bits)
    outputs, works = len(where.cols), []
    for part in Parts(_MESSAGE, geometry.cells).of_codes(len(vectors), len(where.plus), outputs):
        count = part.stop - part.start
        duration = count * bits * plane_time
        works.append(
            BitsWork((count + 1) * outputs, duration, vectors[part], where, bits, float(voltage), float(full_scale))
        )
    return works


def joined_sums(works: Sequence[BitsWork], done: Sequence[Done]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Of all parts together, (vectors, outputs) sums and (outputs,) conversions at an end."""
    outputs = len(works[0].window.cols)
    answers = [each.answer.reshape(-1, outputs) for each in done]
    if len(answers) == 1:
        return answers[0][:-1], answers[0][-1]
    sums = np.concatenate([each[:-1] for each in answers])
    saturated: NDArray[np.uint32] = np.sum([each[-1] for each in answers], axis=0, dtype=np.uint32)
    return sums, saturated


def _checked_codes(codes: NDArray[np.uint8], inputs: int, bits: int) -> NDArray[np.uint8]:
    if not 1 <= bits <= _MAX_BITS:
        raise ValueError(f"codes have 1 to {_MAX_BITS} bits, not {bits}")
    if codes.ndim != 2 or codes.shape[1] != inputs or codes.dtype != np.uint8:
        raise ValueError(f"codes must be (n, {inputs}) of one byte each, not {codes.dtype} of shape {codes.shape}")
    if not len(codes):
        raise ValueError("a product has at least one vector")
    if codes.max() >> bits:
        raise ValueError(f"code {codes.max()} is above {(1 << bits) - 1}")
    return np.ascontiguousarray(codes)


def _checked_window(window: Window, geometry: Geometry) -> Window:
    return Window(*checked_lines(geometry, {name: getattr(window, name) for name in ("plus", "minus", "cols")}, "cols"))
