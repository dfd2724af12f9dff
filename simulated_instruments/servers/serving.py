"""All simulated instruments of a bench file at once, for other processes, languages and machines.

What is served goes by the resource name: `SOCKET` is a raw TCP port, `INSTR` on TCPIP a HiSLIP server, `ASRL` a
pseudo-terminal or pyserial's `socket://`. What needs a cable that no computer has, GPIB or USB, is on a free TCP port
and on HiSLIP.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
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
    ones. Instruments that say the same port, as those of different hosts may, get it once, the others a free one.
    hislip: a port on which every instrument is served over HiSLIP too, 0 for a free one, in the file's order as
    `hislip0`, `hislip1` and so on; those with a HiSLIP name of their own keep that and its port. baud_rate: what serial
    ports keep to; None: as fast as they can. faults: a plan of what is to go wrong on all their wires
    (`docs/faults.md`). Raises HostingError where a file is wrong, there is nothing to serve, a port is taken by
    somebody else or cannot be; nothing is left running then.
    """
    with ExitStack() as opened:
        holding = hold(path, faults)
        opened.callback(holding.close)
        if not holding.bench.wired:
            raise HostingError(f"{holding.bench.source}: no [simulated.NAME] table with a resource_name")
        plan = _Plan(holding.bench, host, port, hislip, baud_rate)
        plan.add(holding.bench.wired)
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
        self._servers: list[tuple[_Server, int, str]] = []
        self._taken: set[int] = {hislip} if hislip else set()
        self._gateways: dict[int, dict[str, Wire]] = {}
        self._where: list[tuple[str, Callable[[dict[int, HislipServer]], str]]] = []

    def add(self, entries: Sequence[Entry]) -> None:
        """Raises HostingError where a simulator or a plan of faults cannot be had."""
        named = {entry.name: self._gateway(entry) for entry in entries if _hislip_device(entry) is not None}
        for entry in entries:
            self._add(entry, named.get(entry.name))

    def start(self, opened: ExitStack) -> tuple[Bound, ...]:
        """Everything, to be closed with `opened`. Raises HostingError."""
        gateways = {}
        for port, instruments in self._gateways.items():
            gateways[port] = HislipServer(instruments, self._host, port)
            self._servers.append((gateways[port], port, f"HiSLIP on {self._host} port {port}"))
        for server, _, what in sorted(self._servers, key=lambda each: not each[1]):  # free ports must not be those
            try:
                server.start()
            except (OSError, OverflowError) as problem:
                raise HostingError(f"cannot serve {what}: {_reason(problem)}") from None
            opened.callback(server.close)
        return tuple(Bound(name, resource_name(gateways)) for name, resource_name in self._where)

    def _add(self, entry: Entry, gateway: tuple[int, str] | None) -> None:
        """`gateway`: where the instrument is on HiSLIP by a name of its own."""
        wire = self._bench.wire(entry)
        parsed = rname.ResourceName.from_string(entry.resource_name)
        if isinstance(parsed, rname.ASRLInstr):
            self._add_serial(entry, wire, str(parsed.board))
        elif gateway is None:
            server = TcpServer(wire, self._host, self._port(_port_of(parsed)))
            self._add_server(entry, server)
            self._where.append((entry.name, lambda _: server.resource_name))
        is_on_cable = isinstance(parsed, (rname.ASRLInstr, rname.TCPIPSocket))
        if gateway is None and (self._hislip is not None or not is_on_cable):
            gateway = self._gateway(entry)
        if gateway is not None:
            port, name = gateway
            self._where.append((entry.name, lambda gateways: gateways[port].resource_name(name)))

    def _add_server(self, entry: Entry, server: TcpServer) -> None:
        self._servers.append((server, server.port, f"{entry.name!r} on {self._host} port {server.port}"))

    def _add_serial(self, entry: Entry, wire: Wire, board: str) -> None:
        if self._baud_rate is not None:
            wire = PacedWire(wire, self._baud_rate)
        if "://" in board:
            server = TcpServer(wire, self._host, self._port(_port_of_url(entry, board)))
            self._add_server(entry, server)
            self._where.append((entry.name, lambda _: server.serial_resource_name))
            return
        is_ours = board.startswith("/") and not board.startswith("/dev/")
        terminal = PtyServer(wire, Path(board) if is_ours else None)
        self._servers.append((terminal, 0, f"{entry.name!r} on a serial port"))
        self._where.append((entry.name, lambda _: terminal.resource_name))

    def _gateway(self, entry: Entry) -> tuple[int, str]:
        """The port and the name that are now this instrument's on HiSLIP.

        Those that its resource name says where that is HiSLIP's; else the port that there is for all, or a free one.
        """
        device = _hislip_device(entry)
        port = self._hislip or 0
        if device is not None and self._next_port is None:
            port = int(device["port"] or STANDARD_PORT)
        self._taken.add(port)
        names = self._gateways.setdefault(port, {})
        wanted = device["name"].lower() if device is not None else ""
        numbers = (f"hislip{number}" for number in range(len(names) + 1))
        name = wanted if wanted and wanted not in names else next(n for n in numbers if n not in names)
        names[name] = self._bench.wire(entry)
        return port, name

    def _port(self, said: int) -> int:
        """The next one that no other instrument has; `said` is what the resource name says, 0 if that is another's."""
        if self._next_port is None:
            port = 0 if said in self._taken else said
        else:
            while self._next_port and self._next_port in self._taken:
                self._next_port += 1
            port = self._next_port
        self._taken.add(port)
        return port


def _reason(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
        return "it is in use by another program"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return str(problem)


def _hislip_device(entry: Entry) -> re.Match[str] | None:
    parsed = rname.ResourceName.from_string(entry.resource_name)
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
