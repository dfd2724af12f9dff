"""A simulated board on a TCP port of this process, where a test can look behind the wire."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from labctl.array import Operation, PulseBatch, Scale
from labctl.drivers.test_board import TestBoard
from labctl.simulated_instruments.instruments.test_board import SimulatedBoard, build
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.wire import Site

DAC = Scale(5.0 / 65_536, 0.0, 16, "V")


class ServedBoard:
    """The board, its chip, and how to reach them. `restart` is a power cycle at the same address."""

    def __init__(self, folder: Path, **options: object) -> None:
        self._folder = folder
        self._options = {"chip": "T-1", "rows": 32, "cols": 32, **options}
        self._port = 0
        self._start()

    def _start(self) -> None:
        self.board: SimulatedBoard = build(self._options, Site(self._folder))
        self.server = TcpServer(self.board.wire, port=self._port)
        self.server.start()
        self._port = self.server.port

    def close(self) -> None:
        self.server.close()
        self.board.close()

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

    def driver(self, resource_name: str | None = None, **settings: object) -> TestBoard:
        """A driver for it that is not yet connected, small time-outs in its settings."""
        given = {"rows": self._options["rows"], "cols": self._options["cols"], "timeout": 1.0, **settings}
        name = resource_name or self.resource_name
        return TestBoard(TestBoard.Settings(driver="test_board", resource_name=name, visa_library="@py", **given))  # type: ignore[arg-type]


@contextlib.contextmanager
def served_board(folder: Path, **options: object) -> Iterator[ServedBoard]:
    served = ServedBoard(folder, **options)
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
