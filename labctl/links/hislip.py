"""HiSLIP (IVI-6.1) straight on the two sockets of a pyvisa-py session.

pyvisa-py's own calls copy every block twice, lose count where a read breaks off in the middle, and end a device clear
with an error where an answer was still under way. Here blocks are sent and received in place, whatever broke off goes
on where it was, and clearing takes late answers away.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
from typing import TYPE_CHECKING, Any

from labctl.errors import LinkClosedError, LinkError
from labctl.links.transports import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Buffer, Sequence  # type: ignore[attr-defined,unused-ignore]

_HEADER = struct.Struct("!2sBBIQ")
_FIRST = 0xFFFF_FF00  # number of the first message, and of the first after a device clear
_ANY = 0xFFFF_FFFF  # number of an answer that belongs to whatever was sent last
_DELIVERED = 1  # control bit: the end of the last answer was read
_LARGEST_TEXT = 4096


class _Kind(enum.IntEnum):
    FATAL_ERROR = 2
    ERROR = 3
    DATA = 6
    DATA_END = 7
    DEVICE_CLEAR_COMPLETE = 8
    DEVICE_CLEAR_ACKNOWLEDGE = 9
    ASYNC_DEVICE_CLEAR = 19
    ASYNC_DEVICE_CLEAR_ACKNOWLEDGE = 23


class _Clearing(enum.Enum):
    """How far a device clear has come."""

    NO = enum.auto()
    BEGUN = enum.auto()  # on the asynchronous channel
    ENDING = enum.auto()  # on the synchronous one


class _Channel(SocketTransport):
    """One of the two connections: messages with a header and a payload, of which any part may be there yet."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._header = memoryview(bytearray(_HEADER.size))
        self._of_header = 0
        self._scratch = memoryview(bytearray(1 << 16))
        self.left = 0
        """Bytes of the present payload that have not come."""

    def say(self, kind: _Kind, control: int, parameter: int, parts: Sequence[Buffer], deadline: float) -> None:
        size = sum(len(part) for part in parts)
        super().send([_HEADER.pack(b"HS", kind, control, parameter, size), *parts], deadline)

    def hear(self, deadline: float) -> tuple[int, int]:
        """Kind and parameter of the next message; what is left of the last one goes by."""
        while self.left:
            self.take(self._scratch, deadline)
        while self._of_header < _HEADER.size:
            count = super()._receive(self._header[self._of_header :], deadline)
            self._arrived -= count  # those who are told how much came do not mean headers
            self._of_header += count
        self._of_header = 0
        prologue, kind, control, parameter, self.left = _HEADER.unpack(self._header)
        if prologue != b"HS":
            raise LinkClosedError("what came is no HiSLIP")
        if kind in (_Kind.FATAL_ERROR, _Kind.ERROR):
            raise LinkClosedError(f"the instrument ended the session: {self._text(deadline) or f'code {control}'}")
        return kind, parameter

    def take(self, view: memoryview, deadline: float) -> int:
        """Some of the present payload."""
        count = super()._receive(view[: self.left], deadline)
        self.left -= count
        return count

    def _text(self, deadline: float) -> str:
        memory = memoryview(bytearray(min(self.left, _LARGEST_TEXT)))
        done = 0
        with contextlib.suppress(LinkError):
            while done < len(memory):
                done += self.take(memory[done:], deadline)
        return bytes(memory[:done]).decode("latin-1")


class HislipTransport(_Channel):
    """The synchronous channel, and the asynchronous one for clearing."""

    def __init__(self, session: Any) -> None:
        """`session`: pyvisa-py's, whose two sockets and message size this takes over."""
        super().__init__(session._sync)
        self.reopening_clears = False
        self._asynchronous = _Channel(session._async)
        self._most = session._max_msg_size - _HEADER.size
        self._number = self._last = _FIRST
        self._is_delivered = self._ends = False
        self._is_torn = False  # a message is half sent
        self._clearing = _Clearing.NO

    def send(self, parts: Sequence[Buffer], deadline: float) -> None:
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        self._is_torn = True
        while views:
            batch, size = [], 0
            while views and size < self._most:
                batch.append(views[0][: self._most - size])
                size += len(batch[-1])
                views[0] = views[0][len(batch[-1]) :]
                if not len(views[0]):
                    views.pop(0)
            control = _DELIVERED if self._is_delivered else 0
            self.say(_Kind.DATA if views else _Kind.DATA_END, control, self._number, batch, deadline)
            self._last, self._number = self._number, (self._number + 2) & 0xFFFF_FFFF
            self._is_delivered = self._ends = False
        self._is_torn = False

    def discard(self, deadline: float) -> bytes:
        """Device clear. What comes until it is acknowledged is what was still meant to be said.

        One that was not acknowledged in time, as an instrument that is at work does, is waited for further.
        """
        if self._is_torn:
            raise LinkClosedError("the dialogue cannot be taken up in the middle of a message")
        thrown = self._forget()
        self._begin()
        if self._clearing is _Clearing.NO:
            self._clearing = _Clearing.BEGUN
            self._asynchronous.say(_Kind.ASYNC_DEVICE_CLEAR, 0, 0, [], deadline)
        if self._clearing is _Clearing.BEGUN:
            while self._asynchronous.hear(deadline)[0] != _Kind.ASYNC_DEVICE_CLEAR_ACKNOWLEDGE:
                pass
            self._clearing = _Clearing.ENDING
            self.say(_Kind.DEVICE_CLEAR_COMPLETE, 0, 0, [], deadline)
        while self.hear(deadline)[0] != _Kind.DEVICE_CLEAR_ACKNOWLEDGE:
            pass
        self._clearing = _Clearing.NO
        self._number = self._last = _FIRST
        self._is_delivered = self._ends = False
        return thrown

    def _receive(self, view: memoryview, deadline: float) -> int:
        while not self.left:
            kind, number = self.hear(deadline)
            if kind in (_Kind.DATA, _Kind.DATA_END) and number in (self._last, _ANY):
                self._ends = kind == _Kind.DATA_END
                self._is_delivered = self._ends and not self.left
            else:  # an answer to what was sent before, or word of an interruption
                self._drop(deadline)
        count = self.take(view, deadline)
        self._is_delivered = self._ends and not self.left
        return count

    def _drop(self, deadline: float) -> None:
        arrived = self._arrived
        while self.left:
            self.take(self._scratch, deadline)
        self._arrived = arrived
