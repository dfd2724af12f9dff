"""A small board behind a faulty wire, reached by real clients."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from labctl.simulated_instruments.faults import FaultyWire
from labctl.simulated_instruments.faults.plan import parse_plan
from labctl.simulated_instruments.instruments.board import SimulatedBoard
from labctl.simulated_instruments.instruments.test_board import build
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.wire import Site


class Faulty:
    """A board of 4 x 4 cells on a TCP port, with faults on its wire, and connections to it."""

    def __init__(self, folder: Path, faults: list[dict[str, Any]], seed: int = 1) -> None:
        self.board: SimulatedBoard[Any] = build({"chip": "T-1", "rows": 4, "cols": 4}, Site(folder))
        self.wire = FaultyWire(self.board, parse_plan({"seed": seed, "faults": faults}, "plan", folder), "board")
        self.server = TcpServer(self.wire)
        self.server.start()
        self._opened = ExitStack()

    def connect(self) -> Client:
        return Client(self._opened.enter_context(socket.create_connection(("127.0.0.1", self.server.port), timeout=5)))

    @property
    def injected(self) -> list[tuple[int, str]]:
        return [(each.message, each.kind) for each in self.wire.record.injected]

    def close(self) -> None:
        self._opened.close()
        self.wire.close()
        self.server.close()


class Client:
    """A plain socket. `receive`: what comes within `seconds`; None once the other side has hung up."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def send(self, message: bytes) -> None:
        self.socket.sendall(message)

    def receive(self, seconds: float = 0.1) -> bytes | None:
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1 << 16) or None
        except TimeoutError:
            return b""
        except ConnectionError:
            return None

    def line(self, seconds: float = 5.0) -> bytes:
        received = b""
        while not received.endswith(b"\n"):
            piece = self.receive(seconds)
            assert piece, received
            received += piece
        return received

    def ask(self, message: bytes) -> bytes:
        self.send(message)
        return self.line()


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Any]:
    made: list[Faulty] = []

    def make(*faults: dict[str, Any], seed: int = 1) -> Faulty:
        made.append(Faulty(tmp_path, list(faults), seed))
        return made[-1]

    yield make
    for each in made:
        each.close()
