"""Answers: Python values to response data, and the FORMat settings that say how arrays travel."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labctl.links.blocks import encode_header

from .errors import ScpiError

Array: TypeAlias = NDArray[Any]
Scalar: TypeAlias = str | bool | int | float | np.generic
Answer: TypeAlias = Scalar | bytes | memoryview | Array | tuple[Scalar | bytes | memoryview | Array, ...]
"""What a query handler may return; see `Response.add`."""

Segment: TypeAlias = bytes | memoryview

NOT_A_NUMBER = 9.91e37
INFINITY = 9.9e37

_POINTLESS = re.compile(r"(?<![0-9.])[0-9]+(?=E)")


class ArrayFormat(enum.Enum):
    """How arrays of reals leave: `FORMat[:DATA]`. Integer arrays keep their own width in a block."""

    ASCII = "ASC"
    REAL_32 = "REAL,32"
    REAL_64 = "REAL,64"
    INT_16 = "INT,16"


@dataclass(slots=True)
class Format:
    """The FORMat subsystem's state. `swapped`: little endian blocks, both ways; NORMal is big endian."""

    data: ArrayFormat = ArrayFormat.ASCII
    swapped: bool = False

    def reset(self) -> None:
        self.data, self.swapped = ArrayFormat.ASCII, False

    def order(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """`dtype` in the byte order of the wire."""
        return dtype.newbyteorder("<" if self.swapped else ">")


class Response:
    """The answers to the queries of one message, as pieces of bytes to send; arrays are pieces of their own.

    Attributes:
        size: bytes so far.
        indefinite: the last answer was arbitrary text, which only the end of the message ends.
    """

    def __init__(self, settings: Format) -> None:
        self._format = settings
        self._text: list[str] = []
        self._segments: list[Segment] = []
        self._begun = False
        self.size = 0
        self.indefinite = False

    def __bool__(self) -> bool:
        return self._begun

    def add(self, answer: Answer) -> None:
        """Append one query's answer; a tuple is its elements with commas between.

        A str leaves as it is (see `quoted`), a bool as 0 or 1, NaN and infinities as the standard's
        numbers, bytes as a block. An array leaves as FORMat says: comma separated, or as a block that is
        *not* copied unless its byte order has to change, so its owner must not write to it again. Integer
        arrays keep their codes and their width in a block; real arrays are -221 under INT,16, where they
        would lose their values silently.
        """
        values = answer if isinstance(answer, tuple) else (answer,)
        pieces = [self._pieces(value) for value in values]  # all of them first: one may be refused
        if self._begun:
            self._put(";")
        self._begun = True
        for index, pieces_of_value in enumerate(pieces):
            if index:
                self._put(",")
            for piece in pieces_of_value:
                self._put(piece)

    def finish(self) -> list[Segment]:
        """The pieces, ended by a newline."""
        self._put("\n")
        self._flush()
        return self._segments

    def _put(self, piece: str | memoryview) -> None:
        self.size += len(piece)
        if isinstance(piece, str):
            self._text.append(piece)
        else:
            self._flush()
            self._segments.append(piece)

    def _flush(self) -> None:
        if self._text:
            self._segments.append("".join(self._text).encode("latin-1", "replace"))
            self._text = []

    def _pieces(self, value: Any) -> tuple[str | memoryview, ...]:
        if isinstance(value, np.ndarray):
            return self._array_pieces(value)
        if isinstance(value, (bytes, memoryview)):
            return _block(memoryview(value).cast("B"))
        return (format_scalar(value),)

    def _array_pieces(self, array: Array) -> tuple[str | memoryview, ...]:
        if array.dtype.kind not in "buif":
            raise TypeError(f"a query cannot answer an array of {array.dtype}")
        if self._format.data is ArrayFormat.ASCII:
            return (format_array(array),)
        if array.dtype.kind == "f":
            array = self._real(array)
        flat = np.ascontiguousarray(array.reshape(-1), self._format.order(array.dtype))
        return _block(flat.view(np.uint8).data)

    def _real(self, array: Array) -> Array:
        if self._format.data is ArrayFormat.INT_16:
            raise ScpiError(-221, "real values do not travel as FORMat INT 16")
        dtype = np.float32 if self._format.data is ArrayFormat.REAL_32 else np.float64
        return _without_specials(array.astype(dtype, copy=False))


def _block(payload: memoryview) -> tuple[str, memoryview]:
    return encode_header(len(payload)).decode("ascii"), payload.toreadonly()


def quoted(text: str) -> str:
    """`text` as string response data: in double quotes, its own doubled."""
    return '"' + text.replace('"', '""') + '"'


def format_scalar(value: Scalar) -> str:
    """One value as character or numeric response data."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "1" if value else "0"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return format_real(float(value))
    raise TypeError(f"a query cannot answer {type(value).__name__}")


def format_real(value: float) -> str:
    """NR2 or NR3, short and exact: it reads back as `value`. NaN is 9.91E+37, infinities are +-9.9E+37."""
    if math.isnan(value):
        value = NOT_A_NUMBER
    elif math.isinf(value):
        value = math.copysign(INFINITY, value)
    return _with_points(repr(value).upper())


def format_array(array: Array) -> str:
    """The elements, row by row, with commas between. Reals are the shortest that read back the same."""
    flat = array.reshape(-1)
    if flat.dtype.kind == "b":
        flat = flat.astype(np.uint8)
    if flat.dtype.kind != "f":
        return ",".join(map(str, flat.tolist()))
    return _with_points(",".join(_without_specials(flat).astype("U").tolist()).upper())


def _with_points(numbers: str) -> str:
    """NR3 has a decimal point, which Python leaves out of `1E-07`."""
    return _POINTLESS.sub(r"\g<0>.0", numbers) if "E" in numbers else numbers


def _without_specials(array: Array) -> Array:
    """`array` with NaN and infinities as the standard's numbers; itself where there are none."""
    if np.isfinite(array).all():
        return array
    return np.nan_to_num(array, nan=NOT_A_NUMBER, posinf=INFINITY, neginf=-INFINITY)
