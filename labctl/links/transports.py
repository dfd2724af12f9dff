"""How bytes move on an open VISA session, kept in one place because the fast way is particular.

Three ways with one face. `VisaTransport` uses PyVISA's own calls and works with every backend. `SocketTransport` uses
the Python socket inside a pyvisa-py `SOCKET` session: PyVISA's defaults there cost a 44 ms stall after every write
that is followed by a read (Nagle's algorithm against delayed acknowledgement), a scan of every block for a
termination character, and a time-out instead of an error when the other side closes. `SerialTransport` uses the
pyserial port inside a pyvisa-py `ASRL` session, which for itself reads one byte a call. For HiSLIP see `hislip`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

from labctl.errors import LinkClosedError, LinkError, LinkTimeoutError

if TYPE_CHECKING:
    from collections.abc import Buffer, Sequence  # type: ignore[attr-defined,unused-ignore]

    from pyvisa.resources import MessageBasedResource

NEWLINE = 0x0A
MAX_LINE = 1 << 20
_QUIET_S = 0.02
_SMALL = 1 << 14  # bytes that are quicker copied into one piece than sent from many
_MOST_PARTS = 512  # of one sendmsg call; systems allow 1024 at least
_MAX_DISCARDED = 1 << 26


class Transport(Protocol):
    """An open session. Deadlines are in `time.monotonic()` seconds, and hold however busily the other side talks.

    reopening_clears: a new session begins with nothing half sent or half answered, as a new TCP connection does.
    unfinished: what had arrived of the piece that was being read when a call failed.
    """

    reopening_clears: bool
    unfinished: bytes

    def send(self, parts: Sequence[Buffer], deadline: float) -> None:
        """All of `parts` as one message."""

    def read_into(self, view: memoryview, deadline: float) -> None:
        """Exactly `len(view)` bytes."""

    def read_exactly(self, size: int, deadline: float) -> bytes:
        """So many bytes: a few, as of a block's header."""

    def read_line(self, deadline: float) -> bytes:
        """All up to a newline, without it."""

    def read_some(self, deadline: float) -> bytes:
        """What has arrived, waiting for the first byte of it."""

    def discard(self, deadline: float) -> bytes:
        """Forget what has arrived and what the device still meant to say; returns what is thus thrown away."""

    def arrived(self, deadline: float) -> bytes:
        """What has arrived, waiting for the first byte of it, which is still to be read."""

    def skip(self, count: int) -> None:
        """Of what has arrived, so many bytes are read."""

    def has_unasked(self) -> bool:
        """Whether something has come that no message asked for, or the connection has ended meanwhile."""


def open_transport(resource: MessageBasedResource | Buffered) -> Transport:
    """The fastest safe transport for what `ResourceManagers.open` gives: that of a replay is one itself."""
    if isinstance(resource, Buffered):
        return cast("Transport", resource)
    found = _pyvisa_py_interface(resource)
    is_port = type(found).__module__.startswith("serial.")
    inner = getattr(found, "_socket", None) if is_port else found  # what pyserial's `socket://` wraps is quicker itself
    if isinstance(inner, socket.socket) and inner.type == socket.SOCK_STREAM:
        return SocketTransport(inner, reopening_clears=not is_port)
    channels = (getattr(found, name, None) for name in ("_sync", "_async"))
    if all(isinstance(channel, socket.socket) for channel in channels):
        from labctl.links.hislip import HislipTransport

        return HislipTransport(found)
    return SerialTransport(found) if is_port else VisaTransport(resource)


def _pyvisa_py_interface(resource: Any) -> Any:
    """What moves the bytes inside a pyvisa-py session; None for any other backend."""
    if not type(resource.visalib).__module__.startswith("pyvisa_py"):
        return None
    return getattr(resource.visalib.sessions.get(resource.session), "interface", None)


class Buffered:
    """Reads what arrives into one buffer and hands it out in pieces; large pieces are received in place."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(1 << 16))
        self._start = self._end = 0
        self._arrived = 0
        self.unfinished = b""

    def read_into(self, view: memoryview, deadline: float) -> None:
        done = self._take(view)
        try:
            while len(view) - done >= len(self._buffer):
                done += self._receive(view[done:], deadline)
            while done < len(view):
                self._refill(deadline)
                done += self._take(view[done:])
        except BaseException:
            self.unfinished = bytes(view[:done])
            raise

    def read_exactly(self, size: int, deadline: float) -> bytes:
        start, stop = self._start, self._start + size
        if stop <= self._end:  # as nearly always
            self._start = stop
            return bytes(self._buffer[start:stop])
        found = bytearray(size)
        self.read_into(memoryview(found), deadline)
        return bytes(found)

    def read_some(self, deadline: float) -> bytes:
        if self._start == self._end:
            self._refill(deadline)
        return self._forget()

    def read_line(self, deadline: float) -> bytes:
        line = bytearray()
        try:
            while True:
                if self._start == self._end:
                    self._refill(deadline)
                arrived = bytes(self._buffer[self._start : self._end])
                stop = arrived.find(NEWLINE)
                if stop >= 0:
                    self._start += stop + 1
                    return bytes(line + arrived[:stop])
                line += arrived
                self._start = self._end
                if len(line) > MAX_LINE:
                    raise LinkError(f"an answer of more than {MAX_LINE} bytes has no end of line")
        except BaseException:
            self.unfinished = bytes(line)
            raise

    def arrived(self, deadline: float) -> bytes:
        if self._start == self._end:
            self._refill(deadline)
        return bytes(self._buffer[self._start : self._end])

    def skip(self, count: int) -> None:
        self._start += count

    def has_unasked(self) -> bool:
        """As far as it has been received."""
        return self._start < self._end

    def _begin(self) -> None:
        """A message goes out: what is unfinished and what arrived are counted from here."""
        self._arrived, self.unfinished = 0, b""

    def _refill(self, deadline: float) -> None:
        self._start = self._end = 0
        self._end = self._receive(self._buffer, deadline)

    def _forget(self) -> bytes:
        left = bytes(self._buffer[self._start : self._end])
        self._start = self._end = 0
        return left

    def _discard_stream(self, deadline: float) -> bytes:
        """Take what arrives until nothing does."""
        thrown = bytearray(self._forget())
        self._begin()
        while len(thrown) < _MAX_DISCARDED:
            try:
                count = self._receive(self._buffer, min(deadline, time.monotonic() + _QUIET_S))
            except LinkTimeoutError:
                break
            thrown += self._buffer[:count]
        return bytes(thrown)

    def _left(self, deadline: float) -> float:
        """Seconds until `deadline`. Raises LinkTimeoutError where there are none."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> LinkTimeoutError:
        if self._arrived:
            return LinkTimeoutError(f"the answer did not go on after {self._arrived} bytes")
        return LinkTimeoutError("no answer")

    def _take(self, view: memoryview) -> int:
        count = min(len(view), self._end - self._start)
        view[:count] = self._buffer[self._start : self._start + count]
        self._start += count
        return count

    def _receive(self, view: memoryview, deadline: float) -> int:
        """Between one byte and `len(view)` of what has arrived, waiting for the first."""
        raise NotImplementedError


class SocketTransport(Buffered):
    """Straight on the socket: one system call a message out, blocks received in place."""

    def __init__(self, connection: socket.socket, reopening_clears: bool = True) -> None:
        """reopening_clears: not where the socket leads to a serial line."""
        super().__init__()
        self.reopening_clears = reopening_clears
        self._socket = connection
        self._timeout = 0.0  # s, as the socket has been told; 0 where it has not
        try:
            if refused := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(refused, os.strerror(refused))  # pyvisa-py takes a refused connection for an open one
            connection.getpeername()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as problem:
            raise LinkClosedError(f"nothing answers there ({problem.strerror or problem})") from None

    def send(self, parts: Sequence[Buffer], deadline: float) -> None:
        self._begin()
        is_small = sum(len(part) for part in parts) <= _SMALL
        views = [memoryview(b"".join(parts))] if is_small else [memoryview(part).cast("B") for part in parts]
        try:
            while views:
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError
                self._arm(left)
                sent = self._send_some(views)
                while views and sent >= len(views[0]):
                    sent -= len(views.pop(0))
                if sent:
                    views[0] = views[0][sent:]
        except TimeoutError:
            raise LinkTimeoutError("the message was not taken") from None
        except OSError as problem:
            raise LinkClosedError(f"the connection broke while sending ({problem.strerror or problem})") from None

    def has_unasked(self) -> bool:
        try:
            return super().has_unasked() or bool(select.select([self._socket], [], [], 0)[0])
        except (OSError, ValueError):  # closed, or more sockets than `select` takes
            return False

    def discard(self, deadline: float) -> bytes:
        return self._discard_stream(deadline)

    def _arm(self, left: float) -> None:
        """Give the next call the `left` seconds, or a little more: telling the system takes a call of it."""
        if not 0.9 * self._timeout <= left <= self._timeout:
            self._timeout = left
            self._socket.settimeout(left)

    def _send_some(self, views: list[memoryview]) -> int:
        if hasattr(self._socket, "sendmsg"):
            return self._socket.sendmsg(views[:_MOST_PARTS])
        return self._socket.send(views[0])

    def _receive(self, view: memoryview, deadline: float) -> int:
        self._arm(self._left(deadline))
        try:
            count = self._socket.recv_into(view)
        except TimeoutError:
            raise self._late() from None
        except OSError as problem:
            raise LinkClosedError(f"the connection broke ({problem.strerror or problem})") from None
        if count == 0:
            raise LinkClosedError("the other side closed the connection")
        self._arrived += count
        return count


class SerialTransport(Buffered):
    """Straight on a pyserial port: what has arrived is fetched at once, and a block in one call."""

    reopening_clears = False

    def __init__(self, port: Any) -> None:
        super().__init__()
        self._port = port

    def send(self, parts: Sequence[Buffer], deadline: float) -> None:
        import serial

        self._begin()
        try:
            self._port.write_timeout = self._left(deadline)
            self._port.write(b"".join(parts))
        except serial.SerialTimeoutException:
            raise LinkTimeoutError("the message was not taken") from None
        except OSError as problem:
            raise LinkClosedError(f"the port broke while sending ({problem.strerror or problem})") from None

    def discard(self, deadline: float) -> bytes:
        return self._discard_stream(deadline)

    def _receive(self, view: memoryview, deadline: float) -> int:
        left = self._left(deadline)
        try:
            if not 0.9 * (self._port.timeout or 0.0) <= left <= (self._port.timeout or 0.0):
                self._port.timeout = left  # only where it has to be: it takes many system calls
            is_exact = view is not self._buffer
            data = self._port.read(len(view) if is_exact else min(max(self._port.in_waiting, 1), len(view)))
        except OSError as problem:
            raise LinkClosedError(f"the port broke ({problem.strerror or problem})") from None
        if not data:
            raise self._late()
        view[: len(data)] = data
        self._arrived += len(data)
        return len(data)


class VisaTransport(Buffered):
    """PyVISA's own calls: any backend, any interface.

    No termination character, which would make a block be scanned; a read ends with the message, or on a stream
    (`VI_ATTR_SUPPRESS_END_EN` off) with what has arrived.
    """

    def __init__(self, resource: Any) -> None:
        from pyvisa import errors
        from pyvisa.constants import InterfaceType, ResourceAttribute, StatusCode

        super().__init__()
        self._errors = errors
        self._resource = resource
        self._read = resource.visalib.read
        self._timeout = 0.0
        resource.write_termination = None
        resource.read_termination = None
        self.reopening_clears = resource.resource_class == "SOCKET"
        self._is_stream = self.reopening_clears or resource.interface_type == InterfaceType.asrl
        if self.reopening_clears:
            resource.set_visa_attribute(ResourceAttribute.suppress_end_enabled, False)
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(resource.ignore_warning(StatusCode.success_max_count_read))

    def send(self, parts: Sequence[Buffer], deadline: float) -> None:
        self._begin()
        self._arm(deadline)
        self._call(self._resource.visalib.write, self._resource.session, b"".join(parts))

    def discard(self, deadline: float) -> bytes:
        """Device clear. Streams carry none, and pyvisa-py's stand-in for it never ends on a socket that is closed."""
        if self._is_stream:
            return self._discard_stream(deadline)
        self._begin()
        self._arm(deadline)
        self._call(self._resource.clear)
        return self._forget()

    def _receive(self, view: memoryview, deadline: float) -> int:
        self._arm(deadline)
        data, _ = self._call(self._read, self._resource.session, len(view))
        view[: len(data)] = data
        self._arrived += len(data)
        return len(data)

    def _arm(self, deadline: float) -> None:
        """Give the next call what is left; VISA's time-out is in ms, and not touched while it is about right."""
        left = max(self._left(deadline) * 1e3, 1.0)
        if not 0.9 * self._timeout <= left <= self._timeout:
            self._resource.timeout = self._timeout = left

    def _call(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._errors.VisaIOError as problem:
            from pyvisa.constants import StatusCode

            if problem.error_code == StatusCode.error_timeout:
                raise self._late() from None
            if problem.error_code in (StatusCode.error_connection_lost, StatusCode.error_invalid_object):
                raise LinkClosedError("the connection is gone") from None
            raise LinkError(problem.description) from None
        except self._errors.InvalidSession:
            raise LinkClosedError("the session is closed") from None
        except TimeoutError:  # and so it does this one, where HiSLIP's asynchronous channel is silent
            raise self._late() from None
        except OSError as problem:  # pyvisa-py lets those of its sockets and ports through
            raise LinkClosedError(f"the connection broke ({problem.strerror or problem})") from None
        except (RuntimeError, AssertionError) as problem:  # and what its HiSLIP says where the dialogue has come apart
            raise LinkClosedError(f"the connection broke ({problem})") from None
