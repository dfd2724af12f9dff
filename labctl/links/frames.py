"""Frames of the serial test board (`docs/board-frames.md`): a pure codec that finds its place again after noise.

A header of 16 bytes (`LC`, version, kind, number, status, length, CRC-32), the payload, and the payload's CRC-32; all
little-endian. What fails its checks is never handed out, and what is whole behind it is not lost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from labctl.links.blocks import Buffer

START = b"LC\x01"
"""How each frame begins: two letters and the version of this layout."""

HEADER_SIZE = 16
OVERHEAD = HEADER_SIZE + 4
"""Bytes of a frame besides its payload."""

ANSWER = 0x80
"""The bit of `kind` that an answer has and its request has not."""

_HEAD = struct.Struct("<3sBHHI")
_CRC = struct.Struct("<I")
_SMALLEST_MEMORY = 64 * 1024
_LENT_SIZE = 4096  # smaller payloads are copied, so that they do not keep the memory they arrived in


class Frame(NamedTuple):
    """One frame that passed its checks. `payload`: a view that stays as it is."""

    kind: int
    number: int
    status: int
    payload: memoryview


class Damaged(NamedTuple):
    """Something arrived that is no frame, or no longer. `problem`: what, for a log."""

    problem: str


def encode(kind: int, number: int, status: int, *pieces: Buffer) -> list[Buffer]:
    """The frame as pieces to be sent one after another; those of the payload are the ones given, not copies.

    Raises ValueError where a number does not fit its field.
    """
    length = check = 0
    for piece in pieces:
        length += memoryview(piece).nbytes
        check = crc32(piece, check)
    try:
        head = _HEAD.pack(START, kind, number, status, length)
    except struct.error:
        raise ValueError(f"no frame has kind {kind}, number {number}, status {status} and {length} bytes") from None
    return [head + _CRC.pack(crc32(head)), *pieces, _CRC.pack(check)]


class FrameDecoder:
    """Bytes in as they come, frames out. `limit`: what announces a longer payload is noise.

    Either `feed` takes bytes, or they are received in place: `room` gives memory, `received` says how many came.
    Between the two, `frames` gives what is complete.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._memory = bytearray(_SMALLEST_MEMORY)
        self._start = self._stop = 0  # what is not decoded yet
        self._fence = 0  # up to here the bytes have been part of a frame that failed
        self._header: tuple[int, int, int, int] | None = None  # of the frame at `_start`
        self._lent = False  # somebody has a view of the memory
        self._lost = False  # noise has been reported
        self._quiet = False

    @property
    def missing(self) -> int:
        """How many bytes at least have to come before `frames` can give another: never 0."""
        length = self._header[3] if self._header is not None else 0
        return max(self._start + OVERHEAD + length - self._stop, 1)

    @property
    def is_midway(self) -> bool:
        """Whether bytes of an unfinished frame are held."""
        return self._start < self._stop

    def room(self, hint: int = 0) -> memoryview:
        """Memory to receive into: at least `hint` bytes, and at least what is `missing`."""
        wanted = max(hint, self.missing)
        if len(self._memory) - self._stop < wanted:
            self._move(wanted)
        return memoryview(self._memory)[self._stop :]

    def received(self, count: int) -> None:
        """`count` bytes were put into `room()`."""
        self._stop += count

    def feed(self, data: Buffer) -> None:
        """Take a copy of `data`."""
        size = memoryview(data).nbytes
        self.room(size)[:size] = data
        self._stop += size

    def frames(self) -> Iterator[Frame | Damaged]:
        """What is complete, in order. Noise is reported once, until a frame has come again."""
        while (found := self._next()) is not None:
            yield found
        self._quiet = False
        if self._start == self._stop and not self._lent:
            self._start = self._stop = self._fence = 0

    def flush(self) -> None:
        """The line has been quiet for so long that what is half there will not be completed.

        `frames` then reports it damaged, and gives the whole frames that a false length had hidden.
        """
        self._quiet = True
        self._lost = self._lost and self.is_midway

    # -- inside ---------------------------------------------------------------------------------------------------

    def _next(self) -> Frame | Damaged | None:
        if self._header is None:
            passed = self._seek()
            if passed and not self._lost:
                self._lost = True
                return Damaged(f"{passed} bytes that begin no frame")
        if self._header is None:
            return None
        kind, number, status, length = self._header
        end = self._start + OVERHEAD + length
        if end <= self._stop:
            body = memoryview(self._memory)[self._start + HEADER_SIZE : end - _CRC.size]
            if _CRC.unpack_from(self._memory, end - _CRC.size)[0] == crc32(body):
                self._start, self._header, self._lost = end, None, False
                return Frame(kind, number, status, self._lend(body))
            problem = f"the payload of {length} bytes of frame {number} fails its check"
        elif self._quiet:
            problem = f"frame {number} of {length} bytes breaks off {end - self._stop} bytes before its end"
        else:
            return None
        # Bytes may have been lost: another frame can begin inside this one. Each byte is looked at once more only,
        # or nested headers would cost the square of their number.
        self._start = max(self._start + HEADER_SIZE, min(self._fence, self._stop))
        self._fence, self._header, self._lost = min(end, self._stop), None, True
        return Damaged(problem)

    def _seek(self) -> int:
        """Go to the next header that holds, or to what may become one; how many bytes were passed over."""
        memory, before = self._memory, self._start
        while True:
            at = memory.find(START, self._start, self._stop)
            if at < 0:
                at = self._stop - self._begun()
            self._start = at
            if self._stop - at < HEADER_SIZE:
                if self._quiet:
                    self._start = self._stop
                return self._start - before
            _, kind, number, status, length = _HEAD.unpack_from(memory, at)
            check = crc32(memoryview(memory)[at : at + _HEAD.size])
            if length <= self.limit and _CRC.unpack_from(memory, at + _HEAD.size)[0] == check:
                self._header = (kind, number, status, length)
                return at - before
            self._start = at + 1

    def _begun(self) -> int:
        """How many of the last bytes are the beginning of a `START`."""
        for size in (2, 1):
            if self._stop - self._start >= size and self._memory[self._stop - size : self._stop] == START[:size]:
                return size
        return 0

    def _lend(self, body: memoryview) -> memoryview:
        if len(body) < _LENT_SIZE:
            return memoryview(bytes(body))
        self._lent = True
        return body.toreadonly()

    def _move(self, wanted: int) -> None:
        """Bring what is left to the front, of other memory where somebody looks at this."""
        size = self._stop - self._start
        left = memoryview(self._memory)[self._start : self._stop]
        if self._lent or len(self._memory) < size + wanted:
            self._memory = bytearray(max(_SMALLEST_MEMORY, size + wanted))
            self._lent = False
        memoryview(self._memory)[:size] = left
        self._fence = max(self._fence - self._start, 0)
        self._start, self._stop = 0, size
