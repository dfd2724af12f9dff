"""A simulated instrument on a TCP port, as instruments have a raw socket: a stream, answers as they come.

Every connection has a thread of its own, which receives into the exchange's memory and sends from the
handler's. The instrument is not locked while bytes travel, so a client that does not read holds up nobody
else.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading

from ..scpi.formatting import Segment
from ..wire import Conversation, Wire

_BACKLOG = 16
_SMALL = 8 * 1024
_MOST_PIECES = 512  # of one sendmsg call; systems allow 1024 at least
_CAN_GATHER = hasattr(socket.socket, "sendmsg")  # not on Windows
_PATIENCE = 5.0  # s to wait at closing for a handler that is at work


class TcpServer:
    """Serves what is behind `wire` from `start()` to `close()`, to any number of clients at once.

    Each connection begins with empty buffers and, as on a real instrument, shares status, errors and settings
    with the others. What a client sent of an unfinished message is dropped when it leaves.
    """

    def __init__(self, wire: Wire, host: str = "127.0.0.1", port: int = 0) -> None:
        """port: 0 for any free one; `port` tells which after `start()`."""
        self.host = host
        self.port = port
        self._wire = wire
        self._listener: socket.socket | None = None
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()

    @property
    def resource_name(self) -> str:
        """Where VISA finds the instrument."""
        return f"TCPIP0::{self.host}::{self.port}::SOCKET"

    def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)  # a client may have gone again by the time it is accepted
        self.port = self._listener.getsockname()[1]
        self._alarm, alarm = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept,
            args=(self._listener, alarm),
            name=f"accept {self.resource_name}",
            daemon=True,
        )
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening and hang up on every client. May be called twice."""
        if self._listener is None:
            return
        self._alarm.close()
        self._acceptor.join()
        self._listener.close()
        self._listener = None
        with self._lock:
            clients = dict(self._clients)
        for connection, thread in clients.items():
            _hang_up(connection)
            thread.join(_PATIENCE)

    def __enter__(self) -> TcpServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, listener: socket.socket, alarm: socket.socket) -> None:
        """Take clients in until the other end of `alarm` closes: closing a listener wakes no `select`."""
        with alarm:
            while alarm not in select.select([listener, alarm], [], [])[0]:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    continue
                self._take_in(connection)

    def _take_in(self, connection: socket.socket) -> None:
        connection.setblocking(True)  # some systems let it inherit the listener's way
        thread = threading.Thread(
            target=self._serve, args=(connection,), name=f"client of {self.resource_name}", daemon=True
        )
        with self._lock:
            self._clients[connection] = thread
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                with contextlib.suppress(OSError):  # it may have left already
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _converse(connection, self._wire.connect(stream=True))
        finally:
            with self._lock:
                del self._clients[connection]


def _converse(connection: socket.socket, exchange: Conversation) -> None:
    """Until either side hangs up."""
    while count := _receive(connection, exchange.writable()):
        exchange.received(count)
        while segments := exchange.take():
            if not _send(connection, segments):
                return


def _receive(connection: socket.socket, memory: memoryview) -> int:
    """Bytes received; 0 where the client has left, however it did that."""
    try:
        return connection.recv_into(memory)
    except OSError:
        return 0


def _send(connection: socket.socket, segments: list[Segment]) -> bool:
    """Send every piece; False where the client has left."""
    pieces = _joined(segments)
    try:
        if len(pieces) > 1 and _CAN_GATHER:
            _send_gathered(connection, pieces)
        else:
            for piece in pieces:
                connection.sendall(piece)
    except OSError:
        return False
    return True


def _joined(segments: list[Segment]) -> list[Segment]:
    """The same bytes with small neighbours made one: copying those costs less than a packet each."""
    pieces: list[Segment] = []
    small: list[Segment] = []
    for segment in segments:
        if len(segment) <= _SMALL:
            small.append(segment)
            continue
        if small:
            pieces.append(b"".join(small))
            small = []
        pieces.append(segment)
    if small:
        pieces.append(b"".join(small))
    return pieces


def _send_gathered(connection: socket.socket, pieces: list[Segment]) -> None:
    """One call, and so one packet, for a header and the beginning of its block."""
    first = 0
    while first < len(pieces):
        sent = connection.sendmsg(pieces[first : first + _MOST_PIECES])
        while first < len(pieces) and sent >= len(pieces[first]):
            sent -= len(pieces[first])
            first += 1
        if sent:
            pieces[first] = memoryview(pieces[first])[sent:]


def _hang_up(connection: socket.socket) -> None:
    """Wake the thread that waits on it, sending or receiving."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
