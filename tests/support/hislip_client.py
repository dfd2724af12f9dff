"""A HiSLIP client that says what it is told to, message by message, right or wrong."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_HEADER = struct.Struct("!2sBBIQ")
FIRST_MESSAGE = 0xFFFF_FF00


class Heard(NamedTuple):
    kind: int
    control: int
    parameter: int
    payload: bytes


class Channel:
    """One of the two connections."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, kind: int, control: int = 0, parameter: int = 0, payload: bytes = b"") -> None:
        self.socket.sendall(_HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)

    def receive(self) -> Heard:
        """Raises EOFError where the server has hung up."""
        prologue, kind, control, parameter, length = _HEADER.unpack(self._read(16))
        assert prologue == b"HS"
        return Heard(kind, control, parameter, self._read(length))

    def ask(self, kind: int, control: int = 0, parameter: int = 0, payload: bytes = b"") -> Heard:
        self.send(kind, control, parameter, payload)
        return self.receive()

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)


class Client:
    """Both channels, initialized; a context manager that closes them."""

    def __init__(self, port: int, sub_address: bytes = b"hislip0", version: int = 0x0100) -> None:
        self.sync = Channel(port)
        self.initialized = self.sync.ask(0, 0, version << 16 | 0x5454, sub_address)
        self.session = self.initialized.parameter & 0xFFFF
        self.asynchronous = Channel(port)
        self.asynchronous.ask(17, 0, self.session)
        self.number = FIRST_MESSAGE

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sync.socket.close()
        self.asynchronous.socket.close()

    def write(self, data: bytes, delivered: bool = True, kind: int = 7) -> int:
        """The number of the message."""
        number, self.number = self.number, (self.number + 2) & 0xFFFF_FFFF
        self.sync.send(kind, int(delivered), number, data)
        return number

    def query(self, data: bytes) -> bytes:
        """Data messages up to the end of the answer."""
        number = self.write(data)
        answer = b""
        while True:
            heard = self.sync.receive()
            assert heard.kind in (6, 7)
            assert heard.parameter == number
            answer += heard.payload
            if heard.kind == 7:
                return answer

    def status(self, delivered: bool = False) -> int:
        heard = self.asynchronous.ask(21, int(delivered), self.number)
        assert heard.kind == 22
        return heard.control
