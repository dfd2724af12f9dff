"""All simulated instruments of a bench file at once, for other processes, languages and machines.

What is served goes by the resource name: `SOCKET` is a raw TCP port, `INSTR` on TCPIP a HiSLIP server, `ASRL` a
pseudo-terminal or pyserial's `socket://`. What needs a cable that no computer has, GPIB or USB, is on a free TCP port
and on HiSLIP.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from pyvisa import rname

from ..wire import Wire
from .hislip import STANDARD_PORT, HislipServer
from .hosting import Entry, HostingError, SimulatedBench
from .pacing import PacedWire
from .pseudo_terminal import PtyServer
from .sharing import hold
from .tcp import TcpServer

_HISLIP_DEVICE = re.compile(r"(?P<name>hislip\d+)(,(?P<port>\d+))?", re.IGNORECASE)


class Bound(NamedTuple):
    """Where an instrument is served; one that is served in two ways has two."""

    name: str
    resource_name: str


@dataclass(frozen=True, slots=True)
class Service:
    """Instruments being served, until `close()`, which saves their state."""

    bound: tuple[Bound, ...]
    _closing: ExitStack

    def close(self) -> None:
        """May be called twice."""
        self._closing.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(
    path: Path | None,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    hislip: int | None = None,
    baud_rate: int | None = None,
    faults: Path | None = None,
) -> Service:
    """Serve every simulated instrument of the bench file at `path` (None: the package's own).

    port: instead of the TCP ports that the resource names say; the first one's, counting up from there, or 0 for free
    ones. hislip: a port on which every instrument is served over HiSLIP too, 0 for a free one, in the file's order as
    `hislip0`, `hislip1` and so on where its name does not say which. baud_rate: what serial ports keep to; None: as
    fast as they can. faults: a plan of what is to go wrong on all their wires (`docs/faults.md`). Raises HostingError
    where a file is wrong, a port is taken or cannot be; nothing is left running then.
    """
    with ExitStack() as opened:
        holding = hold(path, faults)
        opened.callback(holding.close)
        plan = _Plan(holding.bench, host, port, hislip, baud_rate)
        for entry in holding.bench.wired:
            plan.add(entry)
        bound = plan.start(opened)
        opened.callback(holding.bench.hang_up)
        return Service(bound, opened.pop_all())


class _Server(Protocol):
    def start(self) -> None: ...

    def close(self) -> None: ...


class _Plan:
    """Which servers there are to be, and which instrument is where on them."""

    def __init__(
        self, bench: SimulatedBench, host: str, port: int | None, hislip: int | None, baud_rate: int | None
    ) -> None:
        self._bench = bench
        self._host = host
        self._next_port = port
        self._hislip = hislip
        self._baud_rate = baud_rate
        self._servers: list[tuple[_Server, str]] = []
        self._gateways: dict[int, dict[str, Wire]] = {}
        self._where: list[tuple[str, Callable[[dict[int, HislipServer]], str]]] = []

    def add(self, entry: Entry) -> None:
        """Raises HostingError where its simulator or its plan of faults cannot be had."""
        wire = self._bench.wire(entry)
        parsed = rname.ResourceName.from_string(entry.resource_name)
        device = _hislip_device(parsed)
        if isinstance(parsed, rname.ASRLInstr):
            self._add_serial(entry, wire, str(parsed.board))
        elif device is None:
            server = TcpServer(wire, self._host, self._port(_port_of(parsed)))
            self._add_server(entry, server, server.port)
            self._where.append((entry.name, lambda _: server.resource_name))
        is_on_hislip = device is not None or not isinstance(parsed, (rname.ASRLInstr, rname.TCPIPSocket))
        if is_on_hislip or self._hislip is not None:
            self._add_hislip(entry, wire, device)

    def start(self, opened: ExitStack) -> tuple[Bound, ...]:
        """Everything, to be closed with `opened`. Raises HostingError."""
        gateways = {}
        for port, instruments in self._gateways.items():
            gateways[port] = HislipServer(instruments, self._host, port)
            self._servers.append((gateways[port], f"HiSLIP on {self._host} port {port}"))
        for server, what in self._servers:
            try:
                server.start()
            except (OSError, OverflowError) as problem:
                raise HostingError(f"cannot serve {what}: {problem}") from None
            opened.callback(server.close)
        return tuple(Bound(name, resource_name(gateways)) for name, resource_name in self._where)

    def _add_server(self, entry: Entry, server: TcpServer, port: int) -> None:
        self._servers.append((server, f"{entry.name!r} on {self._host} port {port}"))

    def _add_serial(self, entry: Entry, wire: Wire, board: str) -> None:
        if self._baud_rate is not None:
            wire = PacedWire(wire, self._baud_rate)
        if "://" in board:
            server = TcpServer(wire, self._host, self._port(_port_of_url(entry, board)))
            self._add_server(entry, server, server.port)
            self._where.append((entry.name, lambda _: server.serial_resource_name))
            return
        is_ours = board.startswith("/") and not board.startswith("/dev/")
        terminal = PtyServer(wire, Path(board) if is_ours else None)
        self._servers.append((terminal, f"{entry.name!r} on a serial port"))
        self._where.append((entry.name, lambda _: terminal.resource_name))

    def _add_hislip(self, entry: Entry, wire: Wire, device: re.Match[str] | None) -> None:
        """On the one port there is for all, or the one that the resource name says, or a free one."""
        port = self._hislip
        if port is None:
            port = 0 if device is None or self._next_port is not None else int(device["port"] or STANDARD_PORT)
        instruments = self._gateways.setdefault(port, {})
        wanted = device["name"].lower() if device is not None else ""
        numbers = (f"hislip{number}" for number in range(len(instruments) + 1))
        name = wanted if wanted and wanted not in instruments else next(n for n in numbers if n not in instruments)
        instruments[name] = wire
        self._where.append((entry.name, lambda gateways: gateways[port].resource_name(name)))

    def _port(self, said: int) -> int:
        """The next one; `said` is what the resource name says."""
        if self._next_port is None:
            return said
        port = self._next_port
        self._next_port += port > 0
        return port


def _hislip_device(parsed: rname.ResourceName) -> re.Match[str] | None:
    return _HISLIP_DEVICE.fullmatch(parsed.lan_device_name) if isinstance(parsed, rname.TCPIPInstr) else None


def _port_of(parsed: rname.ResourceName) -> int:
    """The port an instrument's resource name says; 0 where it says none."""
    return int(parsed.port) if isinstance(parsed, rname.TCPIPSocket) else 0


def _port_of_url(entry: Entry, url: str) -> int:
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError as problem:
        raise HostingError(f"cannot serve {entry.name!r}: {url}: {problem}") from None
    if split.scheme != "socket":
        raise HostingError(f"cannot serve {entry.name!r}: of the ports that are no terminals, only socket:// is served")
    return port or 0
