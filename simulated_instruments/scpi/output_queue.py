"""What waits to be read, in pieces, so that an array leaves from the memory it was made in."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

from .formatting import Segment


class OutputQueue:
    """First in, first out. `pending` is the number of bytes that wait."""

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()
        self.pending = 0

    def put(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self._segments.append(segment)
            self.pending += len(segment)

    def take_all(self) -> list[Segment]:
        """Every piece, uncopied; the queue is empty then."""
        segments = list(self._segments)
        self.clear()
        return segments

    def take(self, size: int, until: int | None = None) -> Segment:
        """Up to `size` bytes, ending with the first byte that is `until`.

        A view of a piece where one piece has them all, else joined.
        """
        pieces: list[Segment] = []
        missing = size
        found = False
        while missing and self._segments and not found:
            segment = self._segments.popleft()
            stop, found = _end_within(segment, missing, until)
            if stop < len(segment):
                self._segments.appendleft(memoryview(segment)[stop:])
                segment = memoryview(segment)[:stop]
            pieces.append(segment)
            missing -= stop
        self.pending -= size - missing
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def clear(self) -> None:
        self._segments.clear()
        self.pending = 0


def _end_within(segment: Segment, size: int, until: int | None) -> tuple[int, bool]:
    """How much of `segment` to take, and whether the byte `until` is the reason."""
    size = min(size, len(segment))
    if until is None:
        return size, False
    found = re.compile(re.escape(bytes([until]))).search(segment, 0, size)
    return (found.end(), True) if found else (size, False)
