"""Simulated instruments as HiSLIP has them (IVI-6.1, versions 1.0 to 2.0): what VISA calls a TCPIP `INSTR`.

A port carries any number of instruments, told apart by their sub-addresses `hislip0`, `hislip1`, as a gateway's are.
Overlapped mode and secure connections are not offered; a client that prefers the one gets synchronized mode.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Mapping

from ..wire import HungUp, Wire
from .hislip_messages import Fatal, Header, Kind, message
from .hislip_session import Gone, Session, read_header, read_payload, send_away
from .listener import Listener
from .sending import send
from .visa_locks import ResourceLocks

STANDARD_PORT = 4880
_VENDOR = b"LC"
_NEWEST = 0x0200
_SESSIONS = 1 << 16
_GLANCE = 0.05  # s between looks at whether an instrument requests service
_PATIENCE = 5.0  # s to wait at closing for an instrument that is at work


class HislipServer:
    """Serves `instruments`, by sub-address, from `start()` to `close()`, to any number of clients at once.

    Clients share an instrument's status, errors and settings; buffers and locks are each one's own.
    """

    def __init__(self, instruments: Mapping[str, Wire], host: str = "127.0.0.1", port: int = STANDARD_PORT) -> None:
        """port: 0 for any free one; `port` tells which after `start()`."""
        self.host = host
        self._instruments = {name.casefold(): (wire, ResourceLocks()) for name, wire in instruments.items()}
        self._listener = Listener(host, port, self._serve)
        self._lock = threading.Lock()
        self._numbers = itertools.cycle(range(1, _SESSIONS))
        self._sessions: dict[int, Session] = {}
        self._closed = threading.Event()
        self._watchers: list[threading.Thread] = []

    @property
    def port(self) -> int:
        return self._listener.port

    def resource_name(self, sub_address: str) -> str:
        """Where VISA finds the instrument at `sub_address`."""
        port = "" if self.port == STANDARD_PORT else f",{self.port}"
        return f"TCPIP0::{self.host}::{sub_address}{port}::INSTR"

    def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had."""
        self._listener.start()
        self._closed.clear()
        for name, (wire, _) in self._instruments.items():
            watcher = threading.Thread(target=self._watch, args=(wire,), name=f"requests of {name}", daemon=True)
            self._watchers.append(watcher)
            watcher.start()

    def close(self) -> None:
        """Stop listening and hang up on every client. May be called twice."""
        self._closed.set()
        self._listener.close()
        while self._watchers:
            self._watchers.pop().join(_PATIENCE)

    def __enter__(self) -> HislipServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self, wire: Wire) -> None:
        """Tell clients of an instrument when it requests service for what somebody else, or time, has brought about."""
        while not self._closed.wait(_GLANCE):
            with self._lock:
                sessions = [session for session in self._sessions.values() if session.wire is wire]
            for session in sessions:
                with contextlib.suppress(Gone, HungUp):  # its own threads will notice
                    session.announce()

    def _serve(self, connection: socket.socket) -> None:
        """One of a client's two channels; the first message says which."""
        with contextlib.suppress(Gone):
            header = read_header(connection)
            payload = read_payload(connection, header)
            if header.kind == Kind.INITIALIZE:
                self._serve_synchronous(connection, header, payload)
            elif header.kind == Kind.ASYNC_INITIALIZE:
                self._serve_asynchronous(connection, header)
            else:
                send_away(connection, Fatal.BAD_INITIALIZATION, "a channel begins with its initialization")

    def _serve_synchronous(self, connection: socket.socket, header: Header, payload: bytes) -> None:
        name = payload.decode("latin-1").casefold() or "hislip0"
        if name not in self._instruments:
            there = ", ".join(self._instruments)
            send_away(connection, Fatal.BAD_INITIALIZATION, f"no instrument at {name}; there are: {there}")
        session = self._open(connection, *self._instruments[name])
        if session is None:
            send_away(connection, Fatal.TOO_MANY_CLIENTS, "every session number is taken")
        try:
            version = min(header.parameter >> 16, _NEWEST)
            response = message(Kind.INITIALIZE_RESPONSE, 0, version << 16 | session.number)
            if send(connection, [response]):
                session.attend_synchronous()
        finally:
            session.close()
            with self._lock:
                del self._sessions[session.number]

    def _serve_asynchronous(self, connection: socket.socket, header: Header) -> None:
        with self._lock:
            session = self._sessions.get(header.parameter & (_SESSIONS - 1))
        if session is None or not session.take_asynchronous(connection):
            send_away(connection, Fatal.BAD_INITIALIZATION, "no session of this number waits for its second channel")
        session.attend_asynchronous(_VENDOR)

    def _open(self, connection: socket.socket, wire: Wire, locks: ResourceLocks) -> Session | None:
        """None where there are as many sessions as numbers."""
        with self._lock:
            number = next(
                (each for each in itertools.islice(self._numbers, _SESSIONS) if each not in self._sessions), 0
            )
            if not number:
                return None
            session = self._sessions[number] = Session(number, wire, locks, connection)
            return session
