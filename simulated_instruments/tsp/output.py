"""How values leave: `format.data` and its relatives, `printnumber`, `printbuffer`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

from ..scpi.errors import ScpiError
from .buffers import Series, series_of
from .tables import Function, Table, Value, constants, number, one_of, stored, whole

ASCII, REAL32, REAL64 = 1, 2, 3


class OutputFormat:
    """precision: digits of a number as text. data: ASCII, REAL32 or REAL64. byteorder: 0 big endian, 1 little."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.precision = 6
        self.data = ASCII
        self.byteorder = 1

    @property
    def table(self) -> Table:
        """`format`."""
        return Table(
            {
                "asciiprecision": stored(self, "precision", whole(1, 16)),
                "data": stored(self, "data", one_of(ASCII, REAL32, REAL64)),
                "byteorder": stored(self, "byteorder", one_of(0, 1)),
                **constants(ASCII=ASCII, SREAL=REAL32, REAL32=REAL32, DREAL=REAL64, REAL64=REAL64, REAL=REAL64),
                **constants(NORMAL=0, NETWORK=0, BIGENDIAN=0, SWAPPED=1, LITTLEENDIAN=1),
            }
        )

    def number(self, value: float) -> str:
        return f"{value:.{self.precision - 1}e}"

    def numbers(self, values: Sequence[float]) -> bytes:
        """One message: text with commas, or `#0` and the binary numbers."""
        if self.data == ASCII:
            return ", ".join(map(self.number, values)).encode("ascii") + b"\n"
        kind = "f" if self.data == REAL32 else "d"
        order = "<" if self.byteorder else ">"
        return b"#0" + struct.pack(f"{order}{len(values)}{kind}", *values) + b"\n"


def number_functions(shape: OutputFormat, send: Callable[[bytes], None], most: int) -> dict[str, Function]:
    """`printnumber` and `printbuffer`. most: arguments that they take."""

    def print_numbers(*values: Value) -> None:
        send(shape.numbers([number()(each) for each in values]))

    def print_buffer(first: Value, last: Value, *buffers: Value) -> None:
        start, stop = whole(1, 2**31)(first), whole(1, 2**31)(last)
        series = [series_of(each) for each in buffers]
        if stop < start:
            raise ScpiError(-221)
        send(shape.numbers(list(_interleaved(series, start - 1, stop))))

    return {"printnumber": Function(print_numbers, 1, most), "printbuffer": Function(print_buffer, 3, most)}


def _interleaved(series: Iterable[Series], start: int, stop: int) -> Iterable[float]:
    values = [each()[start:stop] for each in series]
    for row in zip(*values, strict=False):
        yield from row
