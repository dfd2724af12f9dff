"""The reference firmware of `docs/firmware`, compiled, and a serial line to it that can be made to fail."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).parents[2] / "docs" / "firmware"
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")

Spoil = Callable[[bytes], bytes]


def compile_demo_board(folder: Path) -> Path:
    """The program, with what its Makefile asks of the compiler; the test is skipped where there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here to build the reference firmware with")
    program = folder / "demo_board"
    sources = [str(FIRMWARE / name) for name in ("demo_board.c", "labframe.c")]
    subprocess.run([compiler, *FLAGS, "-o", str(program), *sources], check=True, capture_output=True, text=True)
    return program


class DemoLine:
    """A running demo board at the end of a line whose bytes pass through here.

    to_board, to_link: what becomes of the bytes each way, as they come; the very same where None. seconds_per_byte:
    what the board's answers take. `restart` is a power cycle of the board, `hang_up` a cable pulled out and put back.
    """

    def __init__(self, program: Path, kind: str) -> None:
        self.to_board: Spoil | None = None
        self.to_link: Spoil | None = None
        self.seconds_per_byte = 0.0
        self._program = program
        self._listener = socket.create_server(("127.0.0.1", 0)) if kind == "socket" else None
        self._pty = os.openpty() if kind == "pty" else None
        self._near: socket.socket | int | None = self._pty[0] if self._pty else None
        self._stopping = threading.Event()
        if self._pty:
            _make_raw(self._pty[1])
        self._start_board()
        self._pump = threading.Thread(target=self._carry, daemon=True)
        self._pump.start()

    @property
    def resource_name(self) -> str:
        if self._pty:
            return f"ASRL{os.ttyname(self._pty[1])}::INSTR"
        assert self._listener is not None
        return f"ASRLsocket://127.0.0.1:{self._listener.getsockname()[1]}::INSTR"

    def restart(self) -> None:
        self._stop_board()
        self._start_board()

    def hang_up(self) -> None:
        near = self._near
        assert isinstance(near, socket.socket)
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stopping.set()
        self._pump.join(5)
        self._stop_board()
        if isinstance(self._near, socket.socket):
            self._near.close()
        if self._listener is not None:
            self._listener.close()
        for end in self._pty or ():
            os.close(end)

    def _start_board(self) -> None:
        self._far, theirs = socket.socketpair()
        self._board = subprocess.Popen([self._program], stdin=theirs, stdout=theirs)
        theirs.close()

    def _stop_board(self) -> None:
        self._far.close()  # end of file ends the program
        self._board.wait(5)

    def _carry(self) -> None:
        while not self._stopping.is_set():
            ends = [end for end in (self._near, self._listener, self._far) if end is not None]
            with contextlib.suppress(OSError, ValueError):  # an end that is closed meanwhile
                for end in select.select(ends, [], [], 0.02)[0]:
                    self._carry_from(end)

    def _carry_from(self, end: socket.socket | int) -> None:
        if end is self._listener:
            if isinstance(self._near, socket.socket):
                self._near.close()
            self._near = self._listener.accept()[0]
            return
        data = os.read(end if isinstance(end, int) else end.fileno(), 1 << 16)
        spoil = self.to_link if end is self._far else self.to_board
        if not data and end is self._near:
            self._near.close()
            self._near = None
        data = data if spoil is None else spoil(data)
        other = self._near if end is self._far else self._far
        if other is not None:
            step = 16 if self.seconds_per_byte and end is self._far else len(data)
            for start in range(0, len(data), step or 1):
                piece = data[start : start + step]
                time.sleep(len(piece) * self.seconds_per_byte if end is self._far else 0.0)
                _write_all(other, piece)


@contextlib.contextmanager
def demo_line(program: Path, kind: str) -> Iterator[DemoLine]:
    line = DemoLine(program, kind)
    try:
        yield line
    finally:
        line.close()


def _make_raw(terminal: int) -> None:
    import tty

    tty.setraw(terminal)


def _write_all(end: socket.socket | int, data: bytes) -> None:
    if isinstance(end, socket.socket):
        end.sendall(data)
        return
    while data:
        data = data[os.write(end, data) :]
