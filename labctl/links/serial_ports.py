"""Serial ports by their resource name: pyserial's, a socket as one, or a simulated instrument in this process.

Which calls are used is what is fast or slow: `read(n)` fetches what is there at once, and reading in place copies less
still, while `readline` and `read_until` fetch single bytes, and setting a time-out configures the whole port anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import time
from pathlib import Path
from typing import Any

from labctl.errors import LinkClosedError, LinkError, UsageError
from labctl.plugins import load_plugin

IN_PROCESS = "@labctl"

LOST = "the port was lost: "
"""How a link begins what it says of a port whose calls fail."""

SLICE_S = 0.05
"""How long one read of a port waits: what `read` gives earlier and short is all that waiting would bring."""

_SOCKET = re.compile(r"socket://[^/:]+:\d{1,5}(/.*)?", re.IGNORECASE)
_SYSTEM = re.compile(r"\[Errno \d+\] ([^:\['(]+)|\(\d+, '([^']+)'\)")
_RESOURCE = re.compile(r"ASRL(?P<board>.+?)(::INSTR)?", re.IGNORECASE)


def port_address(resource_name: str, windows: bool = os.name == "nt") -> str:
    """What pyserial calls the port: `/dev/ttyUSB0`, `COM3`, `socket://127.0.0.1:5000`.

    A number is that of the COM port, and elsewhere than on Windows, counting from 1, of `/dev/ttyS0` and on. Raises
    LinkError where the name is not that of a serial port.
    """
    found = _RESOURCE.fullmatch(resource_name)
    if found is None:
        raise LinkError(
            f"{resource_name}: not the name of a serial port: write one like 'ASRL/dev/ttyUSB0::INSTR', "
            "'ASRL3::INSTR' or 'ASRLsocket://127.0.0.1:5000::INSTR'"
        )
    board = found["board"]
    if board.lower().startswith("socket:") and not _SOCKET.fullmatch(board):
        raise LinkError(f"{resource_name}: a socket is written like 'ASRLsocket://127.0.0.1:5000::INSTR'")
    if not board.isdecimal():
        return board
    return f"COM{board}" if windows else f"/dev/ttyS{int(board) - 1}"


def canonical_port(resource_name: str) -> str:
    """The one spelling of all names of a port: number, path, link to that. Raises LinkError as `port_address`."""
    address = port_address(resource_name)
    if address.startswith("/"):
        address = os.path.realpath(address)
    elif re.fullmatch(r"com\d+", address, re.IGNORECASE):
        address = address.upper()
    return f"ASRL{address}::INSTR"


def open_port(resource_name: str, serial_library: str, baud_rate: int, timeout_s: float) -> Any:
    """An open port with pyserial's face. Raises LinkError with one sentence."""
    if serial_library and not serial_library.endswith(IN_PROCESS):
        raise LinkError(
            f"{resource_name}: serial_library is empty or ends with {IN_PROCESS} or @replay, not {serial_library!r}"
        )
    import serial

    address = port_address(resource_name)
    try:
        if serial_library:
            bench = serial_library.removesuffix(IN_PROCESS)
            return load_plugin("labctl.servers", "serial")(Path(bench) if bench else None, resource_name, SLICE_S)
        alone = True if os.name == "posix" else None  # elsewhere a port is opened once anyhow
        port = serial.serial_for_url(address, baud_rate, timeout=SLICE_S, write_timeout=timeout_s, exclusive=alone)
    except UsageError as problem:
        raise LinkError(f"{resource_name}: could not be opened through {serial_library}: {problem}") from None
    except (OSError, ValueError) as problem:
        reason = LinkError if serial_library else LinkClosedError
        raise reason(f"{resource_name}: could not be opened: {_why(problem)}") from None
    inner = _socket_of(port)
    if inner is not None:
        inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return port


def _why(problem: Exception) -> str:
    """What the system said, out of pyserial's account of it, which repeats the port and itself."""
    text = str(problem)
    if "exclusively lock" in text:
        return "another program has it open"
    *_, last = ["", *_SYSTEM.findall(text)]
    return "".join(last).strip() or text


def close_port(port: Any) -> None:
    """Never raises for a port that is broken already: that is closed enough."""
    inner = _socket_of(port)
    if inner is not None:  # pyserial leaves a socket open whose other end is gone, and sleeps after closing one
        inner.close()
        port.is_open = False
    with contextlib.suppress(OSError):
        port.close()


def receive(port: Any, view: memoryview) -> int:
    """Put what comes within a slice of time into `view`, until that is full; how many bytes came.

    In place where the port has a descriptor, as POSIX's ports and sockets have, and by the port's own `read` else.
    Raises OSError where the port is lost.
    """
    descriptor = _descriptor_of(port)
    if descriptor is None:
        data = port.read(len(view))
        view[: len(data)] = data
        return len(data)
    done, until = 0, time.monotonic() + SLICE_S
    while done < len(view) and (left := until - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        try:
            count = os.readv(descriptor, [view[done:]])
        except BlockingIOError:  # what was there has gone
            continue
        if not count:
            raise OSError("the other end has hung up")
        done += count
    return done


def _descriptor_of(port: Any) -> int | None:
    """Of pyserial's own ports, where the system has descriptors to read in place."""
    if not hasattr(os, "readv"):
        return None
    inner = _socket_of(port)
    found = getattr(port, "fd", None) if inner is None else inner.fileno()
    return found if isinstance(found, int) and found >= 0 else None


def _socket_of(port: Any) -> socket.socket | None:
    """The socket inside pyserial's `socket://` port; None for any other."""
    found = getattr(port, "_socket", None)
    return found if isinstance(found, socket.socket) else None
