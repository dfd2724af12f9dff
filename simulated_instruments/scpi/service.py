"""What a conversation says of the status behind it: the status byte and the service request line (IEEE 488.2 11.3)."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from .errors import ScpiError
from .status import ServiceRequest, Status


class Serviced(ABC):
    """A conversation with an instrument that has this `status`, which is looked at under its `lock`."""

    def __init__(self, status: Status, lock: threading.RLock) -> None:  # type: ignore[valid-type, unused-ignore]
        self._status = status
        self._lock = lock
        self._service = ServiceRequest(status)

    @property
    @abstractmethod
    def message_available(self) -> bool:
        """The status byte's MAV: whether an answer waits here."""

    def status_byte(self) -> int:
        """What a serial poll reads. Bit 6 is RQS: set by a new reason for service, cleared by this poll."""
        with self._lock:
            return self._service.poll(self.message_available)

    @property
    def requests_service(self) -> bool:
        """Whether the service request line is pulled: a new reason for service was not polled yet."""
        with self._lock:
            self._update_request()
            return self._service.pulled

    @property
    def service_requests(self) -> int:
        """How often the line was pulled since the connection was made."""
        with self._lock:
            self._update_request()
            return self._service.count

    def _report(self, error: ScpiError) -> None:
        self._status.report(error)
        self._update_request()

    def _update_request(self) -> None:
        if self._service.is_wanted:
            self._service.update(self.message_available)
