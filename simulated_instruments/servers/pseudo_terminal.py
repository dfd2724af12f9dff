"""A simulated instrument on a serial port of this machine, which is a pseudo-terminal: for any program, POSIX only.

The line is binary clean and has no echo. As at the end of a real cable, the instrument does not see programs come and
go, and speed and framing are nothing to it (`pacing.PacedWire` keeps to a speed). What is under way to a program that
leaves, or flushes its input as pyserial does on opening, is lost.

Systems give the number of a terminal away again. So on Linux the port's link leads there by way of this process
(`/proc`): where that was killed, it leads nowhere, and never to somebody else's terminal.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ..scpi.formatting import Segment
from ..wire import Conversation, HungUp, Wire

if sys.platform != "win32":
    import fcntl
    import termios
    import tty

_LINGER = 0.5  # s for a program to take what was sent before the instrument hung up
_PATIENCE = 5.0  # s to wait at closing for a handler that is at work
_LOOK = 0.01
_QUIET = 0.05  # s in which nothing waits to be taken, as what was sent takes a moment to show


class PtyServer:
    """Serves what is behind `wire` from `start()` to `close()`, to one program after another."""

    def __init__(self, wire: Wire, path: Path | None = None) -> None:
        """path: of the port, made as a link to the terminal; None for one in a folder of its own."""
        self._wire = wire
        self._path = path
        self._folder: str | None = None
        self._thread: threading.Thread | None = None

    @property
    def resource_name(self) -> str:
        """Where VISA finds the instrument; stays so when it hangs up and another terminal has to be opened."""
        return f"ASRL{self._path}::INSTR"

    def start(self) -> None:
        """Raises OSError where the port cannot be made: the path is taken, or the system has no pseudo-terminals."""
        if sys.platform == "win32":
            raise OSError("there are no pseudo-terminals on Windows: name it as in ASRLsocket://127.0.0.1:5000::INSTR")
        if self._path is None:
            self._folder = tempfile.mkdtemp(prefix="labctl-")
            self._path = Path(self._folder) / "port"
        if os.path.lexists(self._path) and (self._path.exists() or not self._path.is_symlink()):
            raise FileExistsError(f"{self._path} is there already")
        self._alarm, self._ring = os.pipe()
        try:
            self._terminal = _Terminal(self._path)
        except BaseException:
            os.close(self._alarm)
            os.close(self._ring)
            raise
        self._thread = threading.Thread(target=self._serve, name=f"port {self._path}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up, and take the port away. May be called twice."""
        if self._thread is not None:
            os.close(self._ring)
            self._thread.join(_PATIENCE)
            self._thread = None
            if self._path is not None:
                self._path.unlink(missing_ok=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> PtyServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        """Until the other end of the alarm is closed. An instrument that hangs up comes back on a new terminal."""
        try:
            while True:
                try:
                    self._converse(self._terminal, self._wire.connect(stream=True))
                    return
                except HungUp:
                    before = self._terminal
                    before.drain()
                    assert self._path is not None
                    self._terminal = _Terminal(self._path)
                    before.close()
        finally:
            self._terminal.close()
            os.close(self._alarm)

    def _converse(self, terminal: _Terminal, exchange: Conversation) -> None:
        """Until the alarm. Raises HungUp where the instrument does."""
        while terminal.wait(self._alarm):
            count, is_over = terminal.receive(exchange.writable())
            if is_over:
                _forget(exchange)
                terminal.flush()
            if count:
                exchange.received(count)
                while segments := exchange.take():
                    if not self._send(terminal, segments):
                        break

    def _send(self, terminal: _Terminal, segments: list[Segment]) -> bool:
        """False where nobody waits for it any longer, which `receive` will notice, or the alarm came."""
        for segment in segments:
            left = memoryview(segment)
            while len(left):
                if not terminal.wait_to_send(self._alarm):
                    return False
                left = left[terminal.send(left) :]
        return True


class _Terminal:
    """One pseudo-terminal, to which `path` leads from now on.

    Only programs keep its other end open, so that it shows when they leave.
    """

    def __init__(self, path: Path) -> None:
        self._ours, theirs = os.openpty()
        self._status = memoryview(bytearray(1))
        self._is_used = False
        self._marker = -1
        try:
            self._name = os.ttyname(theirs)
            tty.setraw(theirs)
            os.close(theirs)
            os.set_blocking(self._ours, False)
            fcntl.ioctl(self._ours, termios.TIOCPKT, struct.pack("i", 1))  # each read begins with what was done
            other = path.with_name(f"{path.name}.{os.getpid()}")
            other.unlink(missing_ok=True)
            other.symlink_to(self._lasting_name())
            other.replace(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._ours)
        if self._marker >= 0:
            os.close(self._marker)

    def _lasting_name(self) -> str:
        """What leads to the programs' end for as long as this process lives; just its name where there is no such."""
        if hasattr(os, "O_PATH"):
            self._marker = os.open(self._name, os.O_PATH)  # marks it without opening it
            lasting = f"/proc/{os.getpid()}/fd/{self._marker}"
            with contextlib.suppress(OSError):
                if os.path.samefile(lasting, self._name):
                    return lasting
        return self._name

    def wait(self, alarm: int) -> bool:
        """Until something may have come; False where it is the alarm."""
        ready = self._poll(select.POLLIN | select.POLLPRI, alarm, None)
        if not ready.get(self._ours, 0) & select.POLLHUP or self._is_used:
            return alarm not in ready
        return alarm not in self._poll(0, alarm, _LOOK)  # nobody is there: it hangs up again and again

    def wait_to_send(self, alarm: int) -> bool:
        """Until something can be sent; False where the program has left or has flushed its input, or for the alarm."""
        ready = self._poll(select.POLLOUT | select.POLLPRI, alarm, None)
        return alarm not in ready and not ready[self._ours] & (select.POLLPRI | select.POLLHUP)

    def _poll(self, events: int, alarm: int, seconds: float | None) -> dict[int, int]:
        poller = select.poll()
        poller.register(alarm, select.POLLIN)
        if events:
            poller.register(self._ours, events)
        return dict(poller.poll(None if seconds is None else seconds * 1e3))

    def receive(self, memory: memoryview) -> tuple[int, bool]:
        """Bytes that came, and whether nobody waits any longer for what was sent before: gone, or flushed."""
        try:
            count = os.readv(self._ours, [self._status, memory])
        except BlockingIOError:
            return 0, False
        except OSError:
            count = 0
        if not count:
            was_used, self._is_used = self._is_used, False
            return 0, was_used
        self._is_used = True
        if self._status[0] == termios.TIOCPKT_DATA:
            return count - 1, False
        return 0, bool(self._status[0] & termios.TIOCPKT_FLUSHREAD)

    def flush(self) -> None:
        """Take back what was sent; for the next program, if the last one has left, with the line as it was."""
        with contextlib.suppress(termios.error):
            termios.tcflush(self._ours, termios.TCOFLUSH)
        if self._is_used:
            return
        with contextlib.suppress(OSError, termios.error), _opened(self._name) as theirs:
            tty.setraw(theirs)
            termios.tcflush(theirs, termios.TCIFLUSH)
            os.readv(self._ours, [self._status])  # says that somebody has flushed: these were we

    def send(self, data: memoryview) -> int:
        """How much was taken."""
        try:
            return os.write(self._ours, data)
        except BlockingIOError:
            return 0

    def drain(self) -> None:
        """Until the program has taken what was sent, for a while. Closing would take it back."""
        deadline = time.monotonic() + _LINGER
        quiet_until = time.monotonic() + _QUIET
        with contextlib.suppress(OSError), _opened(self._name) as theirs:
            while time.monotonic() < min(quiet_until, deadline):
                time.sleep(_LOOK)
                if struct.unpack("i", fcntl.ioctl(theirs, termios.FIONREAD, struct.pack("i", 0)))[0]:
                    quiet_until = time.monotonic() + _QUIET


@contextlib.contextmanager
def _opened(name: str) -> Iterator[int]:
    """The programs' end."""
    theirs = os.open(name, os.O_RDWR | os.O_NOCTTY)
    try:
        yield theirs
    finally:
        os.close(theirs)


def _forget(exchange: Conversation) -> None:
    """What the instrument still had to say."""
    while exchange.take():
        pass
