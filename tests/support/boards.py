"""A simulated board on a TCP port of this process, where a test can look behind the wire."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from labctl.array import Operation, PulseBatch, Scale
from labctl.drivers.numbered_board import NumberedBoard
from labctl.drivers.serial_board import SerialBoard
from labctl.drivers.test_board import TestBoard
from labctl.simulated_instruments.instruments import serial_board, test_board
from labctl.simulated_instruments.instruments.board import SimulatedBoard
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.wire import Site, Wire

DAC = Scale(5.0 / 65_536, 0.0, 16, "V")


class ServedBoard:
    """The board, its chip, and how to reach them. `restart` is a power cycle at the same address."""

    build = staticmethod(test_board.build)
    shape: Mapping[str, int] = {"rows": 32, "cols": 32}

    def __init__(self, folder: Path, **options: object) -> None:
        self._folder = folder
        self._options = {"chip": "T-1", **self.shape, **options}
        self._port = 0
        self._start()

    def _start(self) -> None:
        self.board: SimulatedBoard = self.build(self._options, Site(self._folder))
        self.server = TcpServer(self.wrap(self.board.wire), port=self._port)
        self.server.start()
        self._port = self.server.port

    def wrap(self, wire: Wire) -> Wire:
        """What is served instead of the board's own wire."""
        return wire

    def close(self) -> None:
        self.server.close()
        self.board.close()

    def serve_again(self) -> None:
        """The same board, reachable again after its server was closed."""
        self.server = TcpServer(self.wrap(self.board.wire), port=self._port)
        self.server.start()

    def restart(self) -> None:
        self.close()
        self._start()

    @property
    def port(self) -> int:
        return self._port

    @property
    def resource_name(self) -> str:
        return self.server.resource_name

    @property
    def pulses(self) -> np.ndarray:
        """Pulses each cell has had, (cells,)."""
        with self.board.wire.lock:
            return self.board.firmware.chip.pulse_counts.ravel().copy()

    @property
    def reads(self) -> np.ndarray:
        """Reads each cell has had, (cells,)."""
        with self.board.wire.lock:
            return self.board.firmware.chip.read_counts.ravel().copy()

    def driver(self, resource_name: str | None = None, **settings: object) -> NumberedBoard:
        """A driver for it that is not yet connected, small time-outs in its settings."""
        given = self._given(settings)
        name = resource_name or self.resource_name
        return TestBoard(TestBoard.Settings(driver="test_board", resource_name=name, visa_library="@py", **given))  # type: ignore[arg-type]

    def _given(self, settings: dict[str, object]) -> dict[str, object]:
        return {**{name: self._options[name] for name in self.shape}, "timeout": 1.0, **settings}


class ServedSerialBoard(ServedBoard):
    """The same with a serial board, which TCP carries as pyserial's `socket://` does."""

    build = staticmethod(serial_board.build)

    @property
    def resource_name(self) -> str:
        return self.server.serial_resource_name

    def driver(self, resource_name: str | None = None, **settings: object) -> NumberedBoard:
        name = resource_name or self.resource_name
        return SerialBoard(SerialBoard.Settings(driver="serial_board", resource_name=name, **self._given(settings)))  # type: ignore[arg-type]


@contextlib.contextmanager
def served_board(folder: Path, kind: type[ServedBoard] = ServedBoard, **options: object) -> Iterator[ServedBoard]:
    served = kind(folder, **options)
    try:
        yield served
    finally:
        served.close()


def batch_of(
    cells: object, volts: float = 3.5, operation: Operation = Operation.FORM, width: float = 1e-6, gate: float = 1.5
) -> PulseBatch:
    """One pulse of `volts` on each of `cells`."""
    where = np.array(cells, np.uint32)
    return PulseBatch(operation, where, np.full(len(where), round(volts / DAC.step), np.uint16), width, gate)
