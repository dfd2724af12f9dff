"""What the serial test board's frames carry (`docs/board-frames.md`): one dataclass a payload, packed and unpacked.

Pure: the driver packs what the firmware unpacks, and the other way round. Arrays are views of the payload they came
in, little-endian; `pack` gives pieces for `frames.encode`, arrays uncopied. `unpack` raises ValueError with one
sentence where a payload is none.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from labctl.links.blocks import Buffer

VERSION = 1
"""Of this protocol; HELLO carries it both ways."""

MAX_TEXT = 255


class Kind(enum.IntEnum):
    """What is asked for."""

    HELLO = 0x01
    CONFIGURE = 0x02
    OUTPUT = 0x03
    STATE = 0x04
    LAST = 0x05
    PULSE = 0x10
    READ = 0x11
    MULTIPLY = 0x12
    COUNTS = 0x13
    FETCH = 0x14
    TIME = 0x20
    ADVANCE = 0x21
    NONE = 0xFF
    """Of the answer to what could not be read."""


class Status(enum.IntEnum):
    """How an answer begins."""

    OK = 0
    REFUSED = 1
    DAMAGED = 2
    NO_SESSION = 3
    OUT_OF_ORDER = 4


class Where(enum.IntEnum):
    """How the cells of a request are named."""

    ALL = 0
    INDEXED = 1
    MASKED = 2


class Counter(enum.IntEnum):
    """What COUNTS asks for."""

    PULSES = 0
    READS = 1


class _Fixed:
    """A payload that is one struct: the dataclass's fields in their order."""

    _layout: ClassVar[struct.Struct]

    def pack(self) -> tuple[Buffer, ...]:
        return (self._layout.pack(*vars(self).values()),)

    @classmethod
    def unpack(cls, payload: Buffer) -> Self:
        _expect(cls.__name__, payload, cls._layout.size)
        return cls(*cls._layout.unpack(payload))


@dataclass(frozen=True)
class Empty(_Fixed):
    """The request for what needs no saying, and the answer that only says: done."""

    _layout = struct.Struct("<")


@dataclass(frozen=True)
class HelloRequest(_Fixed):
    """`session`: a number that no other session has had, drawn at random."""

    version: int
    session: int

    _layout = struct.Struct("<HQ")


@dataclass(frozen=True)
class Hello:
    """What the board is, and where it stands.

    max_payload: bytes; longer frames are noise to it. boot: differs each power-on. sequence: of the last pulse batch.
    dac_step, dac_offset in V; read voltages in V, current_range_max in A; pulse_time (besides its width) and
    read_time in s a cell; max_* in V, widths in s. identity: manufacturer, model, serial, firmware, with commas.
    """

    version: int
    max_payload: int
    boot: int
    sequence: int
    rows: int
    cols: int
    dac_step: float
    dac_offset: float
    dac_bits: int
    min_read_voltage: float
    max_read_voltage: float
    max_current_range: float
    pulse_time: float
    read_time: float
    max_form: float
    max_set: float
    max_reset: float
    max_gate: float
    min_width: float
    max_width: float
    is_clock_virtual: bool
    identity: str
    chip_serial: str
    cell_kind: str

    _layout = struct.Struct("<HIQQIIddBddddddddddd?")

    def pack(self) -> tuple[Buffer, ...]:
        *numbers, identity, serial, kind = vars(self).values()
        return (self._layout.pack(*numbers), *map(_pack_text, (identity, serial, kind)))

    @classmethod
    def unpack(cls, payload: Buffer) -> Self:
        if len(payload) < cls._layout.size:
            raise ValueError(f"a HELLO answer has at least {cls._layout.size} bytes, not {len(payload)}")
        texts, at = [], cls._layout.size
        for _ in range(3):
            text, at = _unpack_text(payload, at)
            texts.append(text)
        _expect("a HELLO answer", payload, at)
        return cls(*cls._layout.unpack_from(payload), *texts)


@dataclass(frozen=True)
class Configure(_Fixed):
    """V, A, K; NaN leaves a setting as it is."""

    read_voltage: float
    current_range: float
    temperature: float

    _layout = struct.Struct("<ddd")


@dataclass(frozen=True)
class Configured(_Fixed):
    """The settings in force, and what an ADC code then is: S."""

    adc_step: float
    adc_offset: float
    adc_bits: int
    read_voltage: float
    current_range: float
    temperature: float

    _layout = struct.Struct("<ddBddd")


@dataclass(frozen=True)
class Output(_Fixed):
    """Off is the safe state."""

    on: bool

    _layout = struct.Struct("<?")


@dataclass(frozen=True)
class State(_Fixed):
    """sequence: of the last pulse batch. time: s since 1970; V, A, K."""

    sequence: int
    output: bool
    time: float
    read_voltage: float
    current_range: float
    temperature: float

    _layout = struct.Struct("<Q?dddd")


@dataclass(frozen=True)
class Pulse:
    """One batch. operation: 1 FORM, 2 SET, 3 RESET. width in s, gate in V; codes: (n,) u16 DAC codes.

    cells: (n,) u32 indices; or a mask as (bytes,) u8, most significant bit first; or None for the whole array.
    """

    sequence: int
    operation: int
    verify: bool
    where: Where
    width: float
    gate: float
    cells: NDArray[Any] | None
    codes: NDArray[Any]

    _layout: ClassVar = struct.Struct("<QBBBxddI")

    def pack(self) -> tuple[Buffer, ...]:
        head = self._layout.pack(
            self.sequence, self.operation, self.verify, self.where, self.width, self.gate, len(self.codes)
        )
        listed = () if self.cells is None else (_raw(self.cells, "u1" if self.where is Where.MASKED else "<u4"),)
        return (head, *listed, _raw(self.codes, "<u2"))

    @classmethod
    def unpack(cls, payload: Buffer) -> Self:
        if len(payload) < cls._layout.size:
            raise ValueError(f"a PULSE has at least {cls._layout.size} bytes, not {len(payload)}")
        sequence, operation, flags, form, width, gate, count = cls._layout.unpack_from(payload)
        where = _where(form, Where)
        start, codes_at = cls._layout.size, len(payload) - 2 * count
        if where is not Where.MASKED:
            _expect(f"a PULSE of {count} cells", payload, start + (6 if where is Where.INDEXED else 2) * count)
        elif codes_at < start:
            raise ValueError(f"a PULSE of {count} cells has at least {start + 2 * count} bytes, not {len(payload)}")
        cells = None
        if where is not Where.ALL:
            cells = _array(payload, "<u4" if where is Where.INDEXED else "u1", start, codes_at)
        codes = _array(payload, "<u2", codes_at, len(payload))
        return cls(sequence, operation, bool(flags & 1), where, width, gate, cells, codes)


@dataclass(frozen=True)
class Timed:
    """An answer that ends a piece of work at `time`, s since 1970, with `values` (n,) of the request's type."""

    time: float
    values: NDArray[Any]

    _layout: ClassVar = struct.Struct("<d")

    def pack(self) -> tuple[Buffer, ...]:
        return (self._layout.pack(self.time), _raw(self.values, self.values.dtype.newbyteorder("<")))

    @classmethod
    def unpack(cls, payload: Buffer, dtype: str, count: int) -> Self:
        """`dtype`: `<u2` for readings, `<f4` for currents in A."""
        _expect(f"an answer of {count} values", payload, cls._layout.size + count * np.dtype(dtype).itemsize)
        values = _array(payload, dtype, cls._layout.size, len(payload))
        return cls(cls._layout.unpack_from(payload)[0], values)


@dataclass(frozen=True)
class Read:
    """voltage: V, NaN for the set one. cells: (n,) u32, None for the whole array."""

    repeats: int
    voltage: float
    cells: NDArray[Any] | None

    _layout: ClassVar = struct.Struct("<IB3xdI")

    def pack(self) -> tuple[Buffer, ...]:
        if self.cells is None:
            return (self._layout.pack(self.repeats, Where.ALL, self.voltage, 0),)
        head = self._layout.pack(self.repeats, Where.INDEXED, self.voltage, len(self.cells))
        return (head, _raw(self.cells, "<u4"))

    @classmethod
    def unpack(cls, payload: Buffer) -> Self:
        if len(payload) < cls._layout.size:
            raise ValueError(f"a READ has at least {cls._layout.size} bytes, not {len(payload)}")
        repeats, form, voltage, count = cls._layout.unpack_from(payload)
        where = _where(form, (Where.ALL, Where.INDEXED))
        listed = 4 * count if where is Where.INDEXED else 0
        _expect(f"a READ of {count} cells", payload, cls._layout.size + listed)
        cells = _array(payload, "<u4", cls._layout.size, len(payload)) if where is Where.INDEXED else None
        return cls(repeats, voltage, cells)


@dataclass(frozen=True)
class Multiply:
    """inputs: (vectors, lines) float32, V on the rows; on the columns where `transpose`."""

    transpose: bool
    inputs: NDArray[np.float32]

    _layout: ClassVar = struct.Struct("<B3xI")

    def pack(self) -> tuple[Buffer, ...]:
        return (self._layout.pack(self.transpose, len(self.inputs)), _raw(self.inputs, "<f4"))

    @classmethod
    def unpack(cls, payload: Buffer, rows: int, cols: int) -> Self:
        if len(payload) < cls._layout.size:
            raise ValueError(f"a MULTIPLY has at least {cls._layout.size} bytes, not {len(payload)}")
        transpose, vectors = cls._layout.unpack_from(payload)
        lines = cols if transpose else rows
        _expect(f"a MULTIPLY of {vectors} vectors", payload, cls._layout.size + 4 * vectors * lines)
        inputs = _array(payload, "<f4", cls._layout.size, len(payload))
        return cls(bool(transpose), inputs.reshape(vectors, lines))


@dataclass(frozen=True)
class Last(_Fixed):
    """What was done last: the number of that PULSE, READ or MULTIPLY since power-on, that of the last pulse batch, and
    when it ended, s since 1970.
    """

    number: int
    sequence: int
    ended: float

    _layout = struct.Struct("<QQd")


@dataclass(frozen=True)
class Fetch(_Fixed):
    """The answer once more of the work that LAST named."""

    number: int

    _layout = struct.Struct("<Q")


@dataclass(frozen=True)
class CountsRequest(_Fixed):
    """what: a `Counter`."""

    what: int

    _layout = struct.Struct("<B")


@dataclass(frozen=True)
class Counts:
    """counts: (cells,) u32 since the chip was made."""

    counts: NDArray[Any]

    def pack(self) -> tuple[Buffer, ...]:
        return (_raw(self.counts, "<u4"),)

    @classmethod
    def unpack(cls, payload: Buffer, cells: int) -> Self:
        _expect(f"the counts of {cells} cells", payload, 4 * cells)
        return cls(_array(payload, "<u4", 0, len(payload)))


@dataclass(frozen=True)
class Time(_Fixed):
    """s since 1970-01-01T00:00:00Z on the board's clock."""

    time: float

    _layout = struct.Struct("<d")


@dataclass(frozen=True)
class Advance(_Fixed):
    """Let virtual time pass, s."""

    seconds: float

    _layout = struct.Struct("<d")


@dataclass(frozen=True)
class Refusal:
    """Why nothing was done: a SCPI error number, and its text."""

    number: int
    text: str

    _layout: ClassVar = struct.Struct("<h")

    def pack(self) -> tuple[Buffer, ...]:
        return (self._layout.pack(self.number), self.text.encode("utf-8"))

    @classmethod
    def unpack(cls, payload: Buffer) -> Self:
        if len(payload) < cls._layout.size:
            raise ValueError(f"a refusal has at least {cls._layout.size} bytes, not {len(payload)}")
        text = bytes(memoryview(payload)[cls._layout.size :]).decode("utf-8", "replace")
        return cls(cls._layout.unpack_from(payload)[0], text)


def _expect(what: str, payload: Buffer, size: int) -> None:
    if len(payload) != size:
        raise ValueError(f"{what} has {size} bytes, not {len(payload)}")


def _where(form: int, allowed: Any) -> Where:
    if form not in tuple(allowed):
        raise ValueError(f"{form} is no way to name cells here")
    return Where(form)


def _array(payload: Buffer, dtype: str, start: int, stop: int) -> NDArray[Any]:
    kind = np.dtype(dtype)
    return np.frombuffer(payload, kind, (stop - start) // kind.itemsize, start) if stop > start else np.empty(0, kind)


def _raw(values: NDArray[Any], dtype: Any) -> memoryview:
    """The array's bytes as they go on the wire, uncopied where they are so already."""
    flat = np.ascontiguousarray(values, dtype).reshape(-1)
    return flat.view(np.uint8).data if flat.size else memoryview(b"")


def _pack_text(text: str) -> bytes:
    data = text.encode("utf-8")
    if len(data) > MAX_TEXT:
        raise ValueError(f"a text has at most {MAX_TEXT} bytes, not {len(data)}")
    return bytes((len(data),)) + data


def _unpack_text(payload: Buffer, at: int) -> tuple[str, int]:
    """The text at `at`, and where it ends. Raises ValueError where the payload ends first."""
    stop = at + 1 + payload[at] if at < len(payload) else at + 1
    if stop > len(payload):
        raise ValueError(f"a text ends {stop - len(payload)} bytes beyond the payload of {len(payload)}")
    return bytes(memoryview(payload)[at + 1 : stop]).decode("utf-8", "replace"), stop
