"""IEEE 488.2 arbitrary blocks: `#<d><n><n bytes>`, where n has d digits, and `#0<bytes>` up to the
message's end.

A codec of positions and sizes: it never touches the bytes a block carries, so it never copies them.
"""

from __future__ import annotations

from typing import NamedTuple

Buffer = bytes | bytearray | memoryview

MAX_SIZE = 999_999_999
"""The largest payload whose length nine digits can say."""

_HASH, _ZERO, _NINE = b"#09"


class BlockHeader(NamedTuple):
    """Where a block's payload begins in the buffer, and its size: None where it is indefinite."""

    start: int
    size: int | None

    @property
    def stop(self) -> int | None:
        """One past the payload; None where only the end of the message tells."""
        return None if self.size is None else self.start + self.size


def encode_header(size: int) -> bytes:
    """The header of a definite block of `size` bytes. Raises ValueError where nine digits cannot say it."""
    if not 0 <= size <= MAX_SIZE:
        raise ValueError(f"a block holds 0 to {MAX_SIZE} bytes, not {size}")
    digits = b"%d" % size
    return b"#%d%s" % (len(digits), digits)


def parse_header(data: Buffer, start: int = 0, stop: int | None = None) -> BlockHeader | None:
    """The header that begins at `data[start]`; None where it does not end before `stop`.

    Raises ValueError where no block can begin like this, however many bytes follow.
    """
    stop = len(data) if stop is None else stop
    if start >= stop:
        return None
    if data[start] != _HASH:
        raise ValueError("a block begins with '#'")
    if start + 1 >= stop:
        return None
    if not _ZERO <= data[start + 1] <= _NINE:
        raise ValueError("a block's '#' is followed by a digit")
    payload = start + 2 + data[start + 1] - _ZERO
    digits = bytes(data[start + 2 : min(payload, stop)])
    if digits and not digits.isdigit():
        raise ValueError("a block's length is made of digits")
    if payload > stop:
        return None
    return BlockHeader(payload, int(digits) if digits else None)


def decode(data: Buffer) -> memoryview:
    """The payload of the block that begins at `data[0]`, as a view.

    An indefinite block ends with the data, less its closing newline. What follows a definite block is
    ignored. Raises ValueError where the block is malformed or cut short.
    """
    header = parse_header(data)
    view = memoryview(data)
    if header is None:
        raise ValueError("the data ends inside the block's header")
    if header.stop is None:
        return view[header.start : len(data) - (data[-1:] == b"\n")]
    if header.stop > len(data):
        raise ValueError(f"the data ends {header.stop - len(data)} bytes before the block does")
    return view[header.start : header.stop]
