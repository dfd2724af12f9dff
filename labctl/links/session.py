"""What links have in common whatever the wire: they are used with `with`, and know when a recording plays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from labctl.links.resources import ResourceManagers


class Session(ABC):
    """A link with an instrument, open between `connect` and `close`."""

    _managers: ResourceManagers
    _library: str

    @abstractmethod
    def connect(self) -> None:
        """Open it. Raises LinkError."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is open. May be called twice."""

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def recorded_time(self) -> Callable[[], float] | None:
        """In a replay, what gives the s since 1970 at which what was played last had happened; else None."""
        recording = self._managers.recording(self._library)
        return None if recording is None else lambda: recording.time
