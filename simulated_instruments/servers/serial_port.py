"""A serial port inside this process: pyserial's face, and a simulated instrument of a bench file behind it.

The instrument is the one that the same process reaches through the in-process VISA backend, if it does.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import serial

from labctl.links.blocks import Buffer

from ..wire import Conversation, HungUp, Patient
from .hosting import HostingError
from .sharing import Hold, hold

_WINDOW = 1024 * 1024


def open_port(bench: Path | None, resource_name: str, timeout_s: float) -> SimulatedPort:
    """A port to the instrument of the bench file (None: the package's own) that answers at `resource_name`.

    Raises HostingError, a ValueError with one sentence, where the file is wrong or has no such instrument. The
    instruments are powered on by the first port or PyVISA resource manager that opens the file, and switched off,
    their state saved, when the last one closes.
    """
    holding = hold(bench)
    try:
        entry = holding.bench.find(resource_name)
        if entry is None:
            there = ", ".join(each.resource_name for each in holding.bench.wired) or "none"
            raise HostingError(f"{bench or 'the bench of the package'}: nothing at {resource_name}; there are: {there}")
        return SimulatedPort(resource_name, holding, holding.bench.wire(entry).connect(stream=True), timeout_s)
    except BaseException:
        holding.close()
        raise


class SimulatedPort(serial.SerialBase):  # type: ignore[misc, unused-ignore]
    """What `serial.Serial` is, without the cable: read, readinto, write, in_waiting, time-outs, buffers.

    Nothing happens while one waits, as the instrument answers while it is written to, in the writer's thread. So a
    read that finds less than it wants is at its time-out *at once*. Baud rate and line settings change nothing.
    Raises serial.SerialException once the instrument has hung up, and PortNotOpenError after `close()`.
    """

    def __init__(self, resource_name: str, holding: Hold, conversation: Conversation, timeout_s: float | None) -> None:
        super().__init__(timeout=timeout_s, write_timeout=timeout_s)
        self.name = resource_name
        self.is_open = True
        self._holding = holding
        self._conversation = conversation
        self._patient = conversation if isinstance(conversation, Patient) else None
        self._hung_up = False

    def close(self) -> None:
        """May be called twice. Raises what switching the instruments off raises, where this was their last user."""
        self.is_open = False
        self._holding.close()

    @property
    def in_waiting(self) -> int:
        return int(self._call(lambda: self._conversation.pending))

    def read(self, size: int = 1) -> bytes:
        """Up to `size` bytes; fewer is a time-out."""
        pieces = []
        deadline = self._deadline()
        while size > 0 and (piece := self._piece(size, deadline)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        done, deadline = 0, self._deadline()
        while done < len(view) and (piece := self._piece(len(view) - done, deadline)):
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def write(self, data: Buffer, /) -> int:
        """All of `data`. Raises serial.SerialTimeoutException where the instrument has stopped to listen."""
        view = data if isinstance(data, bytes) else memoryview(data).cast("B")
        if self._call(lambda: self._conversation.backlog) > _WINDOW:
            raise serial.SerialTimeoutException("Write timeout")
        self._call(lambda: self._conversation.write(view))
        return len(view)

    def flush(self) -> None:
        """What was written has arrived already."""

    def reset_input_buffer(self) -> None:
        if self._patient is not None:
            self._patient.patience = 0.0
        while self._call(self._conversation.take):
            pass

    def reset_output_buffer(self) -> None:
        """Nothing waits to be written, ever."""

    def _deadline(self) -> float | None:
        return None if self.timeout is None else time.monotonic() + self.timeout

    def _piece(self, size: int, deadline: float | None) -> Buffer:
        """What is there; of a conversation whose answers may be late, what comes before `deadline`."""
        if self._patient is not None:
            self._patient.patience = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        piece: Buffer = self._call(lambda: self._conversation.read(size))[0]
        return piece

    def _call(self, function: Any) -> Any:
        if not self.is_open:
            raise serial.PortNotOpenError
        if self._hung_up:
            raise serial.SerialException(f"{self.name}: the instrument has hung up")
        try:
            return function()
        except HungUp:
            self._hung_up = True
            raise serial.SerialException(f"{self.name}: the instrument has hung up") from None

    def _reconfigure_port(self) -> None:
        """Called by pyserial's properties."""
