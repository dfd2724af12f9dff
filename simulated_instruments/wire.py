"""Where servers and simulated instruments meet: a connection carries bytes, whatever they mean.

A server knows a `Wire` and nothing of what is behind it: SCPI, a script language, binary frames, or a wrapper that
loses some of it on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from labctl.links.blocks import Buffer

from .scpi.formatting import Segment

FRAME_SILENCE = 0.25
"""s without a byte, after which a frame that is half there is given up (`docs/board-frames.md`)."""


class HungUp(Exception):
    """Raised by any call of a conversation: the instrument's side of the connection is gone, at this very byte."""


class Conversation(Protocol):
    """One connection to an instrument: bytes in, bytes out. What the calls promise is said in `scpi.exchange`."""

    def write(self, data: Buffer, end: bool = False) -> None: ...

    def writable(self) -> memoryview: ...

    def received(self, count: int, end: bool = False) -> None: ...

    def read(self, size: int, until: int | None = None) -> tuple[Segment, bool]: ...

    def take(self) -> list[Segment]: ...

    def clear(self) -> None: ...

    def status_byte(self) -> int: ...

    @property
    def requests_service(self) -> bool: ...

    @property
    def service_requests(self) -> int: ...

    @property
    def pending(self) -> int: ...

    @property
    def backlog(self) -> int: ...


class WrappedConversation:
    """What a conversation that changes how bytes travel passes on of the one it is around, `inner`, as it is."""

    def __init__(self, inner: Conversation) -> None:
        self._inner = inner

    def status_byte(self) -> int:
        return self._inner.status_byte()

    @property
    def requests_service(self) -> bool:
        return self._inner.requests_service

    @property
    def service_requests(self) -> int:
        return self._inner.service_requests


@runtime_checkable
class Patient(Protocol):
    """A conversation whose answers may be late. Calls that give them out wait: `patience` s, for ever where None."""

    patience: float | None


@runtime_checkable
class Interruptible(Protocol):
    """A conversation that minds when an answer it has given out was not read, as IEEE 488.2 does."""

    def interrupt(self) -> None:
        """A new message has come in front of that; to be called before it is passed on."""


class Wire(Protocol):
    """What a server connects to. `stream`: the transport is a raw socket or a serial port, which marks no ends."""

    def connect(self, stream: bool = False) -> Conversation: ...


def _nobody(name: str) -> Any:
    raise ValueError(f"there is no [simulated.{name}]: this instrument stands alone")


@dataclass(frozen=True, slots=True)
class Site:
    """Where an instrument is built. `folder`: what its relative paths start from. `find`: another one by its name.

    `find` gives the built object of that `[simulated.NAME]` table; it raises ValueError with one sentence.
    """

    folder: Path
    find: Callable[[str], Any] = _nobody
