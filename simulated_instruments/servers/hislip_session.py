"""One HiSLIP client: its two channels, what was said on which, and the exchange with the instrument.

Synchronized mode (IVI-6.1, 3.1): a message that comes before the answer to the last one was read interrupts it.
Each channel is read by a thread of its own, and the second one answers while the instrument is at work. What the
instrument has to say leaves at once, as HiSLIP wants it; whether the client has *read* it, it tells with its next
message, and message available in the status byte goes by that.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

from pyvisa.constants import AccessModes

from ..scpi.formatting import Segment
from ..wire import Conversation, HungUp, Interruptible, Wire
from .hislip_messages import FIRST_OF_VENDORS, HEADER_SIZE, Fatal, Header, Kind, Refused, message, unpack
from .listener import end, hang_up
from .sending import receive, send
from .visa_locks import ResourceLocks

LARGEST_MESSAGE = 1 << 30  # what a client may send at once: the instrument's own limits are below
_LARGEST_CONTROL = 4096  # bytes of what carries no data
_SMALLEST_MESSAGE = 256
_UNTIL_TOLD = 1 << 20  # bytes of a message to a client that has not said what it takes
_GLANCE = 0.1  # s between looks at whether a client has left that waits for a lock
_PATIENCE = 5.0  # s for messages to be carried out before a lock is released behind them
_MESSAGE_AVAILABLE = 0x10
_REQUESTS_SERVICE = 0x40
_DELIVERED = 1  # control bit: the end of the last answer was read


class Gone(Exception):
    """The client has left, or is sent away: nothing more is to be said on either channel."""


class Session:
    """number: among the server's sessions. Made when the synchronous channel is; `attend` is given both."""

    def __init__(self, number: int, wire: Wire, locks: ResourceLocks, synchronous: socket.socket) -> None:
        self.number = number
        self.wire = wire
        self._exchange: Conversation = wire.connect(stream=False)
        self._locks = locks
        self._synchronous = synchronous
        self._asynchronous: socket.socket | None = None
        self._sending = threading.Lock()  # on the asynchronous channel, which two threads do
        self._polling = threading.Lock()  # of the status byte, which two threads do
        self._state = threading.Condition()
        self._largest = _UNTIL_TOLD
        self._unread = False
        self._clearing = False
        self._closed = False
        self._handled: int | None = None
        self._requested = False
        self._requests_told = 0

    def close(self) -> None:
        """Hang up on both channels and let go of every lock."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        for channel in (self._synchronous, self._asynchronous):
            if channel is not None:
                hang_up(channel)
        self._locks.release(self.number)

    # The synchronous channel

    def attend_synchronous(self) -> None:
        """Carry out what comes, until either side hangs up."""
        try:
            while True:
                self._on_synchronous(read_header(self._synchronous))
        except HungUp:
            end(self._synchronous)
        except Gone:
            pass
        finally:
            self.close()

    def _on_synchronous(self, header: Header) -> None:
        if self._asynchronous is None:
            send_away(self._synchronous, Fatal.CHANNELS_MISSING, "the asynchronous channel is not open")
        if header.kind == Kind.DEVICE_CLEAR_COMPLETE:
            self._finish_clear(header)
        elif self._clearing:
            skip(self._synchronous, header.length)
        elif header.kind in (Kind.DATA, Kind.DATA_END):
            self._on_data(header)
        elif header.kind == Kind.TRIGGER:
            read_payload(self._synchronous, header)
            self._begin_message(header)
            self._exchange.write(b"*TRG\n", True)
            self._answer(header.parameter)
        else:
            refuse(self._synchronous, header)

    def _on_data(self, header: Header) -> None:
        if header.length > LARGEST_MESSAGE:
            refuse(self._synchronous, header, Refused.TOO_LARGE)
            return
        self._begin_message(header)
        left = header.length
        is_last = header.kind == Kind.DATA_END
        if not left:
            self._exchange.received(0, is_last)
        while left:
            count = receive(self._synchronous, self._exchange.writable()[:left])
            if not count:
                raise Gone
            left -= count
            if not self._clearing:
                self._exchange.received(count, is_last and not left)
        self._answer(header.parameter)

    def _begin_message(self, header: Header) -> None:
        """Wait for other clients' locks to go, and see whether the last answer was read."""
        while not self._locks.wait_admitted(self.number, _GLANCE):
            if self._closed:
                raise Gone
            if self._clearing:
                break
        with self._state:
            interrupted = self._unread and not header.control & _DELIVERED
            self._unread = False
        if interrupted:
            self._send_synchronous([message(Kind.INTERRUPTED, 0, header.parameter)])
            self._send_asynchronous(message(Kind.ASYNC_INTERRUPTED, 0, header.parameter))
            if isinstance(self._exchange, Interruptible):
                self._exchange.interrupt()

    def _answer(self, number: int) -> None:
        """Send what there is to be said to the message of that number."""
        try:
            while not self._clearing and (segments := self._said()):
                is_last = not self._exchange.pending
                with self._state:
                    self._unread = is_last
                self._send_answer(segments, number, is_last)
        finally:
            with self._state:
                self._handled = number
                self._state.notify_all()
        self.announce()

    def _said(self) -> list[Segment]:
        """What is to be sent, uncopied where the conversation hands it out so."""
        segments = self._exchange.take()
        if not segments and (pending := self._exchange.pending):
            segments = [self._exchange.read(pending)[0]]
        return segments

    def _send_answer(self, segments: list[Segment], number: int, is_last: bool) -> None:
        """As messages that the client takes; clearing ends them, but not within one."""
        batches = list(_cut(segments, self._largest - HEADER_SIZE))
        for index, batch in enumerate(batches):
            if self._clearing:
                return
            kind = Kind.DATA_END if is_last and index == len(batches) - 1 else Kind.DATA
            header = Header(kind, 0, number, sum(len(piece) for piece in batch))
            self._send_synchronous([header.pack(), *batch])

    def _finish_clear(self, header: Header) -> None:
        """The client's last word on clearing: it has taken everything that was under way."""
        read_payload(self._synchronous, header)
        self._exchange.clear()
        with self._state:
            self._clearing = self._unread = False
        self._send_synchronous([message(Kind.DEVICE_CLEAR_ACKNOWLEDGE)])  # synchronized mode, whatever it wishes

    def _send_synchronous(self, pieces: list[Segment]) -> None:
        if not send(self._synchronous, pieces):
            raise Gone

    # The asynchronous channel

    def take_asynchronous(self, channel: socket.socket) -> bool:
        """Have `channel` as the second one; False where there is one already."""
        with self._state:
            is_free = self._asynchronous is None and not self._closed
            if is_free:
                self._asynchronous = channel
            return is_free

    def attend_asynchronous(self, vendor: bytes) -> None:
        """Answer what is asked there, and say when the instrument requests service."""
        channel = self._asynchronous
        assert channel is not None
        try:
            self._send_asynchronous(message(Kind.ASYNC_INITIALIZE_RESPONSE, 0, int.from_bytes(vendor, "big")))
            while True:
                self._on_asynchronous(channel, read_header(channel))
        except HungUp:
            end(channel)
        except Gone:
            pass
        finally:
            self.close()

    def _on_asynchronous(self, channel: socket.socket, header: Header) -> None:
        answers = {
            Kind.ASYNC_STATUS_QUERY: self._on_status_query,
            Kind.ASYNC_DEVICE_CLEAR: self._on_device_clear,
            Kind.ASYNC_LOCK_INFO: self._on_lock_info,
            Kind.ASYNC_REMOTE_LOCAL_CONTROL: self._on_remote_local,
            Kind.ASYNC_LOCK: self._on_lock,
            Kind.ASYNC_MAX_MESSAGE_SIZE: self._on_message_size,
        }
        if header.kind in answers:
            answer = answers[Kind(header.kind)](header, read_payload(channel, header))
            self._send_asynchronous(answer)
        else:
            refuse(channel, header)

    def _on_message_size(self, _: Header, payload: bytes) -> bytes:
        self._largest = max(int.from_bytes(payload, "big"), _SMALLEST_MESSAGE)
        return message(Kind.ASYNC_MAX_MESSAGE_SIZE_RESPONSE, payload=struct.pack("!Q", LARGEST_MESSAGE))

    def _on_status_query(self, header: Header, _: bytes) -> bytes:
        """The status byte as a serial poll reads it. Bit 6 stands until it is read, though it was announced."""
        if header.control & _DELIVERED:
            self._unread = False
        with self._polling:
            byte = self._exchange.status_byte()
            byte |= (_MESSAGE_AVAILABLE if self._unread else 0) | (_REQUESTS_SERVICE if self._requested else 0)
            self._requested = False
            self._requests_told = self._exchange.service_requests
        return message(Kind.ASYNC_STATUS_RESPONSE, byte)

    def _on_device_clear(self, _: Header, __: bytes) -> bytes:
        self._clearing = True
        return message(Kind.ASYNC_DEVICE_CLEAR_ACKNOWLEDGE)  # synchronized mode is preferred

    def _on_lock_info(self, _: Header, __: bytes) -> bytes:
        is_exclusive = self._locks.state == AccessModes.exclusive_lock
        return message(Kind.ASYNC_LOCK_INFO_RESPONSE, int(is_exclusive), self._locks.holders)

    def _on_remote_local(self, _: Header, __: bytes) -> bytes:
        """There is no front panel to lock out."""
        return message(Kind.ASYNC_REMOTE_LOCAL_RESPONSE)

    def _on_lock(self, header: Header, key: bytes) -> bytes:
        return message(Kind.ASYNC_LOCK_RESPONSE, self._lock(header, key))

    def _lock(self, header: Header, key: bytes) -> int:
        """What a request comes to: 0 not in time, 1 done (2: of a shared lock's release), 3 not to be asked for."""
        held = self._locks.held_by(self.number)
        if header.control == 0:
            return self._unlock(header.parameter, held)
        wanted = AccessModes.shared_lock if key else AccessModes.exclusive_lock
        if header.control != 1 or held in (wanted, AccessModes.exclusive_lock):
            return 3
        deadline = time.monotonic() + header.parameter / 1000
        while not self._take_lock(key.decode("latin-1"), min(_GLANCE, max(deadline - time.monotonic(), 0))):
            if self._closed:
                raise Gone
            if time.monotonic() >= deadline:
                return 0
        return 1

    def _take_lock(self, key: str, seconds: float) -> bool:
        if key:
            return self._locks.lock_shared(self.number, seconds, key) is not None
        return self._locks.lock_exclusive(self.number, seconds)

    def _unlock(self, after: int, held: AccessModes) -> int:
        """Behind the message numbered `after`, if there was one (0: none)."""
        if held == AccessModes.no_lock:
            return 3
        with self._state:
            self._state.wait_for(lambda: self._closed or after in (0, self._handled), _PATIENCE)
        self._locks.unlock(self.number)
        return 2 if held == AccessModes.shared_lock else 1

    def announce(self) -> None:
        """Tell the client of a request for service, once until it asks for the status byte. Raises HungUp, Gone."""
        if self._requested or self._exchange.service_requests <= self._requests_told or self._asynchronous is None:
            return
        with self._polling:
            byte = self._exchange.status_byte() | _REQUESTS_SERVICE | (_MESSAGE_AVAILABLE if self._unread else 0)
            self._requested = True
            self._requests_told = self._exchange.service_requests
        self._send_asynchronous(message(Kind.ASYNC_SERVICE_REQUEST, byte))

    def _send_asynchronous(self, data: bytes) -> None:
        assert self._asynchronous is not None
        with self._sending:
            if not send(self._asynchronous, [data]):
                raise Gone


def read_header(channel: socket.socket) -> Header:
    """Raises Gone where the client has left, or has sent what is none and was told so."""
    header = unpack(_read(channel, HEADER_SIZE))
    if header is None:
        send_away(channel, Fatal.BAD_HEADER, "a message begins with HS")
    return header


def read_payload(channel: socket.socket, header: Header) -> bytes:
    """Of a message that carries no data. Raises Gone as `read_header` does."""
    if header.length > _LARGEST_CONTROL:
        send_away(channel, Fatal.BAD_HEADER, f"{header.length} bytes are too many for a message of type {header.kind}")
    return bytes(_read(channel, header.length))


def skip(channel: socket.socket, length: int) -> None:
    """Let a payload go by, however long it is."""
    memory = memoryview(bytearray(min(length, 1 << 16)))
    while length:
        count = receive(channel, memory[:length])
        if not count:
            raise Gone
        length -= count


def refuse(channel: socket.socket, header: Header, reason: Refused | None = None) -> None:
    """Say that this message is not carried out, and go on behind it."""
    if reason is None:
        reason = Refused.VENDOR_MESSAGE if header.kind >= FIRST_OF_VENDORS else Refused.MESSAGE_TYPE
    if header.kind == Kind.FATAL_ERROR:
        raise Gone
    skip(channel, header.length)
    if header.kind != Kind.ERROR and not send(channel, [message(Kind.ERROR, reason)]):
        raise Gone


def send_away(channel: socket.socket, reason: Fatal, sentence: str) -> NoReturn:
    """Say what was wrong, and hang up."""
    send(channel, [message(Kind.FATAL_ERROR, reason, payload=sentence.encode("ascii", "replace"))])
    end(channel)
    raise Gone


def _read(channel: socket.socket, size: int) -> memoryview:
    memory = memoryview(bytearray(size))
    done = 0
    while done < size:
        count = receive(channel, memory[done:])
        if not count:
            raise Gone
        done += count
    return memory


def _cut(segments: list[Segment], size: int) -> Iterator[list[Segment]]:
    """Batches of at most `size` bytes, of pieces that are not copied."""
    batch: list[Segment] = []
    room = size
    for segment in segments:
        rest = memoryview(segment).cast("B")
        while len(rest):
            batch.append(rest[:room])
            rest, room = rest[room:], room - len(batch[-1])
            if not room:
                yield batch
                batch, room = [], size
    if batch:
        yield batch
