"""An instrument's wire that ends where it is told to: after so many bytes in, or so many out."""

from __future__ import annotations

from typing import Any

from labctl.simulated_instruments.wire import HungUp


class BreakingWire:
    """`wire`, but the first connection hangs up behind the byte `after` that the instrument says."""

    def __init__(self, wire: Any, after: int) -> None:
        self._wire = wire
        self._after: int | None = after

    def connect(self, stream: bool = False) -> Any:
        after, self._after = self._after, None
        conversation = self._wire.connect(stream)
        return conversation if after is None else _Breaking(conversation, after)


class _Breaking:
    def __init__(self, conversation: Any, left: int) -> None:
        self._conversation = conversation
        self._left = left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conversation, name)

    def take(self) -> list[Any]:
        segments = []
        for segment in self._conversation.take():
            segments.append(memoryview(segment).cast("B")[: self._left])
            self._left -= len(segments[-1])
        return self._said(segments, [each for each in segments if len(each)])

    def read(self, size: int, until: int | None = None) -> Any:
        data, end = self._conversation.read(min(size, max(self._left, 1)), until)
        data = data[: self._left]
        self._left -= len(data)
        return self._said(data, (data, end))

    def _said(self, data: Any, answer: Any) -> Any:
        if self._left <= 0 and not any(len(piece) for piece in (data if isinstance(data, list) else [data])):
            raise HungUp
        return answer
