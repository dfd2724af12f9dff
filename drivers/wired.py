"""The half of a driver that is the same for everything at the end of a wire: its link, its life, its wire log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, Self

from labctl.links.wire_log import WireLog

if TYPE_CHECKING:
    from types import TracebackType


class Link(Protocol):
    """As far as the life of a driver goes."""

    wire_log: WireLog | None
    timeout_s: float

    @property
    def idn(self) -> str: ...

    def connect(self) -> None: ...

    def close(self) -> None: ...


class WireKeys(Protocol):
    """What a bench file says of the wire, as far as the life of a driver goes."""

    @property
    def resource_name(self) -> str: ...

    @property
    def wire_log(self) -> str | None: ...


class WiredDriver(ABC):
    """Connect it with `with`, or as a bench does: `connect`, `safe_state`, `close`."""

    link: Link

    def __init__(self, settings: WireKeys) -> None:
        self.settings: Any = settings
        self._log: WireLog | None = None

    @abstractmethod
    def _begin(self) -> None:
        """With the link open: see that it is the right instrument and put it in a known state with outputs off."""

    @abstractmethod
    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Outputs off within `timeout_s`. Raises LinkError, InstrumentError where that was not reached."""

    def connect(self) -> None:
        """Open the link, see that it is such an instrument, and set it up with outputs off."""
        if self.settings.wire_log and self._log is None:
            self._log = self.link.wire_log = WireLog(self.settings.wire_log)
        try:
            self.link.connect()
            self._begin()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the instrument as it is. May be called twice."""
        try:
            self.link.close()
        finally:
            if self._log is not None:
                self._log.close()
            self._log = self.link.wire_log = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.safe_state()
        finally:
            self.close()

    def _logged(self) -> dict[str, Any]:
        """What a snapshot says of the wire log, where there is one."""
        log = self._log
        return {"wire_log": log.path.name, "wire_log_span": log.span, "wire_log_sha256": log.digest} if log else {}
