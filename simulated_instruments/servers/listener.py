"""Connections taken in on a TCP port, each served by a thread of its own, and all of them hung up at closing."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable

_BACKLOG = 16
_LAST_PORT = 65_535
_PATIENCE = 5.0  # s to wait at closing for a handler that is at work
_LINGER = 0.2  # s for a client to take what was sent before the end


class Listener:
    """Gives every connection to `serve`, from `start()` to `close()`. A connection is closed when `serve` returns."""

    def __init__(self, host: str, port: int, serve: Callable[[socket.socket], None]) -> None:
        """port: 0 for any free one; `port` tells which after `start()`."""
        self.host = host
        self.port = port
        self._serve = serve
        self._listener: socket.socket | None = None
        self._clients: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had, OverflowError where there can be no such port."""
        if not 0 <= self.port <= _LAST_PORT:
            raise OverflowError(f"ports are 0 to {_LAST_PORT}")  # found here, as Python leaves a socket behind then
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)  # a client may have gone again by the time it is accepted
        self.port = self._listener.getsockname()[1]
        self._alarm, alarm = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept,
            args=(self._listener, alarm),
            name=f"accept on port {self.port}",
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
        for connection in clients:
            hang_up(connection)
        for thread in clients.values():
            thread.join(_PATIENCE)

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
            target=self._attend, args=(connection,), name=f"client on port {self.port}", daemon=True
        )
        with self._lock:
            self._clients[connection] = thread
        thread.start()

    def _attend(self, connection: socket.socket) -> None:
        try:
            with connection:
                with contextlib.suppress(OSError):  # it may have left already
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._serve(connection)
        finally:
            with self._lock:
                del self._clients[connection]


def hang_up(connection: socket.socket) -> None:
    """Wake the thread that waits on it, sending or receiving."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def end(connection: socket.socket) -> None:
    """Hang up behind what was sent: closing with bytes unread would take that back from the client."""
    deadline = time.monotonic() + _LINGER
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_LINGER)
        while connection.recv(1 << 16) and time.monotonic() < deadline:
            pass
