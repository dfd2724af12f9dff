"""One VISA session to one simulated instrument: reading, writing and the status codes VISA gives for them.

A session of class INSTR exchanges messages whose ends are marked; one of class SOCKET, and a serial one, is
a stream. Reading with nothing to say is a time-out *at once*: the instrument answered while it was written
to, in this very thread, so nothing can come later and waiting would only make tests slow. An instrument that
hangs up is a connection that is lost.
"""

from __future__ import annotations

import contextlib

from pyvisa import constants, rname
from pyvisa.constants import BufferOperation, ResourceAttribute, SerialTermination, StatusCode

from ..wire import HungUp, Patient, Wire
from .visa_attributes import SessionAttributes
from .visa_locks import ResourceLocks

_DISCARDS_INPUT = (
    BufferOperation.discard_read_buffer
    | BufferOperation.discard_read_buffer_no_io
    | BufferOperation.discard_receive_buffer
    | BufferOperation.discard_receive_buffer2
)
_WINDOW = 1024 * 1024


class VisaSession:
    """`number` is its handle, `manager` the resource manager's. Service requests are queued once enabled."""

    def __init__(
        self,
        number: int,
        manager: int,
        parsed: rname.ResourceName,
        wire: Wire,
        locks: ResourceLocks,
    ) -> None:
        self.number = number
        self.attributes = SessionAttributes(parsed, manager)
        self.locks = locks
        self.events_enabled = False
        self._serial = isinstance(parsed, rname.ASRLInstr)
        self._stream = self._serial or isinstance(parsed, rname.TCPIPSocket)
        self._exchange = wire.connect(stream=self._stream)
        self._patient = self._exchange if isinstance(self._exchange, Patient) else None
        self._requests_told = 0

    def write(self, data: bytes) -> StatusCode:
        end = not self._stream and bool(self.attributes[ResourceAttribute.send_end_enabled])
        try:
            if self._exchange.backlog > _WINDOW:
                return StatusCode.error_timeout  # as a socket whose other end has stopped to listen
            self._exchange.write(data, end)
        except HungUp:
            return StatusCode.error_connection_lost
        return StatusCode.success

    def read(self, count: int) -> tuple[bytes, StatusCode]:
        until = self._termination()
        if self._patient is not None:
            self._be_patient(self._patient, self.attributes[ResourceAttribute.timeout_value])
        try:
            data, end = self._exchange.read(count, until)
        except HungUp:
            return b"", StatusCode.error_connection_lost
        if not data:
            return b"", StatusCode.error_timeout
        if end and not self._stream:
            status = StatusCode.success
        elif until is not None and data[-1] == until:
            status = StatusCode.success_termination_character_read
        elif len(data) == count:
            status = StatusCode.success_max_count_read
        elif self.attributes[ResourceAttribute.suppress_end_enabled]:
            status = StatusCode.error_timeout  # a stream that stops short: its end is still waited for
        else:
            status = StatusCode.success
        return bytes(data), status

    def clear(self) -> StatusCode:
        """Device clear; on a stream, which cannot carry one, what was received is dropped."""
        if self._stream:
            return self.discard_received()
        try:
            self._exchange.clear()
        except HungUp:
            return StatusCode.error_connection_lost
        return StatusCode.success

    def flush(self, mask: int) -> StatusCode:
        """Nothing waits to be written, ever; what waits to be read is dropped where the mask asks for it."""
        return self.discard_received() if mask & _DISCARDS_INPUT and self._stream else StatusCode.success

    def discard_received(self) -> StatusCode:
        if self._patient is not None:
            self._be_patient(self._patient, 0)
        try:
            while self._exchange.take():
                pass
        except HungUp:
            return StatusCode.error_connection_lost
        return StatusCode.success

    def status_byte(self) -> tuple[int, StatusCode]:
        """A serial poll, which a stream has no means for."""
        if self._stream:
            return 0, StatusCode.error_nonsupported_operation
        try:
            return self._exchange.status_byte(), StatusCode.success
        except HungUp:
            return 0, StatusCode.error_connection_lost

    def enable_events(self) -> None:
        """Queue service requests from now on, and one that is still standing."""
        self.events_enabled = True
        with contextlib.suppress(HungUp):
            self._requests_told = self._exchange.service_requests - self._exchange.requests_service

    def take_service_request(self) -> bool:
        """Whether the instrument requested service since it was last asked; never, once it has hung up."""
        try:
            requests = self._exchange.service_requests
        except HungUp:
            return False
        is_news = requests > self._requests_told
        self._requests_told = requests
        return is_news

    @property
    def pending(self) -> int:
        """Bytes that can be read."""
        try:
            return self._exchange.pending
        except HungUp:
            return 0

    @staticmethod
    def _be_patient(patient: Patient, milliseconds: int) -> None:
        """How long a conversation whose answers may be late may keep us waiting."""
        forever = milliseconds == constants.VI_TMO_INFINITE
        patient.patience = None if forever else milliseconds / 1000

    def _termination(self) -> int | None:
        """The byte that ends a reading, if one does."""
        enabled = self.attributes[ResourceAttribute.termchar_enabled]
        if self._serial:
            enabled |= self.attributes[constants.VI_ATTR_ASRL_END_IN] == SerialTermination.termination_char
        return int(self.attributes[ResourceAttribute.termchar]) if enabled else None
