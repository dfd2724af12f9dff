"""Where a message ends, of whichever kind: what is lost, doubled or damaged on a wire is a message."""

from __future__ import annotations

import re

from labctl.links.blocks import Buffer
from labctl.links.frames import HEADER_SIZE, OVERHEAD, START

from ..scpi.framing import INCOMPLETE, Framer
from ..scpi.input_buffer import InputBuffer

_LENGTH = slice(8, 12)  # of a frame's header: bytes of payload, little-endian
_WORDS = re.compile(rb"[:*A-Za-z][^\s#]*\s?")
_LARGEST = 1 << 40  # what is too long for the instrument is for the instrument to say


def header_of(message: Buffer) -> int:
    """How many bytes at the beginning of a message say what it is; 0 where its text is all content."""
    begins = bytes(message[: len(START)])
    if begins == START:
        return min(HEADER_SIZE, len(message))
    if begins.startswith(b"#"):
        return 1
    found = _WORDS.match(message)
    return found.end() if found else 0


class Cutter:
    """Cuts what arrives into messages: frames of the serial board, else lines with their strings and blocks."""

    def __init__(self, stream: bool) -> None:
        """`stream`: the transport marks no ends."""
        self._framer = Framer(_LARGEST, _LARGEST, end_flag=not stream)
        self._input = InputBuffer()

    def writable(self) -> memoryview:
        """Memory to receive into."""
        return self._input.room(self._framer.expected)

    def append(self, data: Buffer) -> None:
        self._input.append(data, 0)

    def received(self, count: int) -> None:
        self._input.received(count)

    def clear(self) -> None:
        self._framer.reset()
        self._input.clear()

    def messages(self, end: bool) -> list[tuple[bytes, bool]]:
        """Those that are whole now, each with whether the transport's END ended it."""
        found = []
        while message := self._next():
            found.append((message, False))
        if end and len(self._input):
            waiting = self._input
            found.append((bytes(waiting.memory[waiting.start : waiting.stop]), True))
        elif end and found:
            found[-1] = (found[-1][0], True)
        if end:
            self.clear()
        return found

    def _next(self) -> bytes:
        waiting = self._input
        start, memory = waiting.start, waiting.memory
        begins = bytes(memory[start : min(start + len(START), waiting.stop)])
        stop = self._frame_stop() if START.startswith(begins) else self._line_stop()
        if stop is None:
            return b""
        message = bytes(memory[start:stop])
        waiting.consumed(stop, stop)
        return message

    def _frame_stop(self) -> int | None:
        waiting = self._input
        start = waiting.start
        if len(waiting) < HEADER_SIZE:
            return None
        payload = int.from_bytes(waiting.memory[start : start + HEADER_SIZE][_LENGTH], "little")
        stop = start + OVERHEAD + payload
        return stop if stop <= waiting.stop else None

    def _line_stop(self) -> int | None:
        waiting = self._input
        found = self._framer.scan(waiting.memory, waiting.scanned, waiting.stop)
        waiting.scanned = waiting.stop if found == INCOMPLETE else found
        if found == INCOMPLETE:
            return None
        self._framer.reset()
        return found
