"""Where a message ends, of whichever kind: what is lost, doubled or damaged on a wire is a message."""

from __future__ import annotations

import re
import time

from labctl.links.blocks import Buffer
from labctl.links.frames import HEADER_SIZE, OVERHEAD, START

from ..scpi.framing import INCOMPLETE, Framer
from ..scpi.input_buffer import InputBuffer
from ..wire import FRAME_SILENCE

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
        self._given_up: list[bytes] = []
        self._last_arrival = time.monotonic()

    def writable(self) -> memoryview:
        """Memory to receive into."""
        return self._input.room(self._framer.expected)

    def append(self, data: Buffer) -> None:
        if self._is_given_up:
            waiting = self._input
            self._given_up.append(bytes(waiting.memory[waiting.start : waiting.stop]))
            waiting.clear()
        self._input.append(data, 0)
        self._last_arrival = time.monotonic()

    def received(self, count: int) -> None:
        if self._is_given_up:
            self.append(bytes(self.writable()[:count]))
            return
        self._input.received(count)
        self._last_arrival = time.monotonic()

    def clear(self) -> None:
        self._framer.reset()
        self._input.clear()
        self._given_up.clear()

    def messages(self, end: bool) -> list[tuple[bytes, bool]]:
        """Those that are whole now, each with whether the transport's END ended it; and frames that never will be."""
        found = [(half, False) for half in self._given_up]
        self._given_up.clear()
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

    @property
    def _is_given_up(self) -> bool:
        """Whether a frame has begun and been followed by a silence."""
        waiting = self._input
        begins = bytes(waiting.memory[waiting.start : min(waiting.start + len(START), waiting.stop)])
        return begins == START and time.monotonic() - self._last_arrival > FRAME_SILENCE

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
