"""A simulated instrument on a TCP port, as instruments have a raw socket: a stream, answers as they come.

It receives into the exchange's memory and sends from the handler's. The instrument is not locked while bytes travel,
so a client that does not read holds up nobody else. pyserial's `socket://` is the same stream.
"""

from __future__ import annotations

import socket

from ..wire import Conversation, HungUp, Wire
from .listener import Listener, end
from .sending import receive, send


class TcpServer:
    """Serves what is behind `wire` from `start()` to `close()`, to any number of clients at once.

    Each connection begins with empty buffers and, as on a real instrument, shares status, errors and settings
    with the others. What a client sent of an unfinished message is dropped when it leaves.
    """

    def __init__(self, wire: Wire, host: str = "127.0.0.1", port: int = 0) -> None:
        """port: 0 for any free one; `port` tells which after `start()`."""
        self.host = host
        self._wire = wire
        self._listener = Listener(host, port, self._serve)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def resource_name(self) -> str:
        """Where VISA finds the instrument."""
        return f"TCPIP0::{self.host}::{self.port}::SOCKET"

    @property
    def serial_resource_name(self) -> str:
        """Where VISA finds it as a serial port of pyserial's."""
        return f"ASRLsocket://{self.host}:{self.port}::INSTR"

    def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had."""
        self._listener.start()

    def close(self) -> None:
        """Stop listening and hang up on every client. May be called twice."""
        self._listener.close()

    def __enter__(self) -> TcpServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            _converse(connection, self._wire.connect(stream=True))
        except HungUp:
            end(connection)


def _converse(connection: socket.socket, exchange: Conversation) -> None:
    """Until the client hangs up. Raises HungUp where the instrument does."""
    while count := receive(connection, exchange.writable()):
        exchange.received(count)
        while segments := exchange.take():
            if not send(connection, segments):
                return
