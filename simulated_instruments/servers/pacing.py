"""A wire on which bytes take their time, as on a serial line: ten bits each, start and stop bit included."""

from __future__ import annotations

import time

from labctl.links.blocks import Buffer

from ..scpi.formatting import Segment
from ..scpi.output_queue import OutputQueue
from ..wire import Conversation, Wire, WrappedConversation

_BITS = 10
_GRAIN = 0.01  # s of bytes moved at once


class PacedWire:
    """`wire` at `baud_rate` bits a second."""

    def __init__(self, wire: Wire, baud_rate: int) -> None:
        self._wire = wire
        self._baud_rate = baud_rate

    def connect(self, stream: bool = False) -> PacedConversation:
        return PacedConversation(self._wire.connect(stream), self._baud_rate)


class PacedConversation(WrappedConversation):
    """Each call that moves bytes takes the seconds they need."""

    def __init__(self, conversation: Conversation, baud_rate: int) -> None:
        super().__init__(conversation)
        self._seconds_per_byte = _BITS / baud_rate
        self._grain = max(int(_GRAIN / self._seconds_per_byte), 1)
        self._waiting = OutputQueue()
        self._free_at = 0.0

    def write(self, data: Buffer, end: bool = False) -> None:
        self._spend(len(data))
        self._inner.write(data, end)

    def writable(self) -> memoryview:
        return self._inner.writable()[: self._grain]

    def received(self, count: int, end: bool = False) -> None:
        self._spend(count)
        self._inner.received(count, end)

    def read(self, size: int, until: int | None = None) -> tuple[Segment, bool]:
        self._fetch()
        data = self._waiting.take(size, until)
        self._spend(len(data))
        return data, not self._waiting.pending

    def take(self) -> list[Segment]:
        self._fetch()
        if not self._waiting.pending:
            return []
        piece = self._waiting.take(self._grain)
        self._spend(len(piece))
        return [piece]

    def clear(self) -> None:
        self._waiting.clear()
        self._inner.clear()

    @property
    def pending(self) -> int:
        return self._waiting.pending + self._inner.pending

    @property
    def backlog(self) -> int:
        return self._inner.backlog

    def _fetch(self) -> None:
        if not self._waiting.pending:
            self._waiting.put(self._inner.take())

    def _spend(self, count: int) -> None:
        """On a schedule, so that sleeping a little too long each time adds up to nothing."""
        self._free_at = max(self._free_at, time.monotonic() - _GRAIN) + count * self._seconds_per_byte
        time.sleep(max(self._free_at - time.monotonic(), 0.0))
