"""The wire's other end as tests need it: instruments that misbehave on real sockets, and a cable that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

IDN = "Rogues,R1,7,1.0"
NO_ERROR = b'0,"No error"'


class Peer:
    """One connection as the instrument sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._lines = connection.makefile("rb")

    def lines(self) -> Iterator[bytes]:
        """Messages as they come, without their newlines, until the client leaves."""
        with contextlib.suppress(OSError):
            for line in self._lines:
                yield line.rstrip(b"\n")

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class RogueInstrument:
    """Serves each connection with `behave(peer)` in a thread of its own, from `with` to its end."""

    def __init__(self, behave: Callable[[Peer], None]) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    @property
    def resource_name(self) -> str:
        return f"TCPIP0::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._connections)

    def __enter__(self) -> RogueInstrument:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._connections.append(connection)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        peer = Peer(connection)
        try:
            self._behave(peer)
        finally:
            peer._lines.close()
            connection.close()


def scripted(answers: dict[bytes, bytes | Callable[[Peer], None]]) -> Callable[[Peer], None]:
    """A well-behaved instrument but for `answers`: of a message that begins with a key, the raw bytes to send or what
    to do. It answers `*IDN?`, `*ESR?`, its error query, and any other message with `0,"No error"`."""

    def behave(peer: Peer) -> None:
        for line in peer.lines():
            special = next((answer for key, answer in answers.items() if line.startswith(key)), None)
            if callable(special):
                special(peer)
            elif special is not None:
                peer.send(special)
            elif line == b"*IDN?":
                peer.send(IDN.encode() + b"\n")
            elif line.startswith(b"ECHO? "):
                peer.send(line.split(b";")[0][6:] + b";" + NO_ERROR + b"\n")
            elif line:
                peer.send(NO_ERROR + b"\n")

    return behave


@dataclass
class Cable:
    """A TCP cable to `port` that fails where it is told to, once for each of `faults`.

    A fault meets the next message to the instrument that contains `trigger`:
    `before`: cut, nothing arrives. `half`: cut in the middle of the message. `after`: it arrives, and the cable is
    cut when the answer comes back. `swallow`: it arrives, the answer is lost, the cable holds.
    """

    port: int
    trigger: bytes = b":PULSe:"
    faults: deque[str] = field(default_factory=deque)
    on_cut: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def resource_name(self) -> str:
        return f"TCPIP0::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"

    def __enter__(self) -> Cable:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for ends in self._ends:
            _cut(*ends)
        for thread in self._threads:
            thread.join(5)
        for end in (end for ends in self._ends for end in ends):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.port))
                except OSError:
                    near.close()
                    continue
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._ends.append((near, far))
                losing = threading.Event()
                cutting = threading.Event()
                for carry in (self._carry_out, self._carry_back):
                    thread = threading.Thread(target=carry, args=(near, far, losing, cutting), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _carry_out(
        self, near: socket.socket, far: socket.socket, losing: threading.Event, cutting: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(1 << 20):
                fault = self.faults.popleft() if self.faults and self.trigger in data else ""
                if fault in ("before", "half"):
                    far.sendall(data[: len(data) // 2] if fault == "half" else b"")
                    self._fail(near, far)
                    return
                (cutting if fault == "after" else losing if fault == "swallow" else threading.Event()).set()
                far.sendall(data)
        _cut(near, far)

    def _carry_back(
        self, near: socket.socket, far: socket.socket, losing: threading.Event, cutting: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(1 << 20):
                if cutting.is_set():
                    self._fail(near, far)
                    return
                if losing.is_set():
                    losing.clear()
                    continue
                near.sendall(data)
        _cut(near, far)

    def _fail(self, near: socket.socket, far: socket.socket) -> None:
        self.on_cut()
        _cut(near, far)


def _cut(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
