"""All simulated instruments of a bench file on TCP ports, for other processes, languages and machines."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pyvisa import rname

from .hosting import Entry, HostingError, load
from .tcp import TcpServer


class Bound(NamedTuple):
    """Where an instrument is served."""

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


def serve(path: Path | None, *, host: str = "127.0.0.1", port: int | None = None) -> Service:
    """Serve every simulated instrument of the bench file at `path` (None: the package's own).

    Ports are those of the file's `TCPIP...::SOCKET` names; what has none, as a GPIB instrument, gets a free
    one. `port` replaces them: the first instrument's, counting up from there, or 0 for free ones. Raises
    HostingError where the file is wrong or a port is taken; nothing is left running then.
    """
    with ExitStack() as opened:
        bench = load(path)
        opened.callback(bench.close)
        bound = []
        for index, entry in enumerate(bench.wired):
            wanted = _port_of(entry) if port is None else port + index * (port > 0)
            server = TcpServer(bench.wire(entry), host, wanted)
            try:
                server.start()
            except (OSError, OverflowError) as problem:
                raise HostingError(f"cannot serve {entry.name!r} on {host} port {wanted}: {problem}") from None
            opened.callback(server.close)
            bound.append(Bound(entry.name, server.resource_name))
        return Service(tuple(bound), opened.pop_all())


def _port_of(entry: Entry) -> int:
    """The port an instrument's resource name says; 0 where it says none."""
    parsed = rname.parse_resource_name(entry.resource_name)
    return int(parsed.port) if isinstance(parsed, rname.TCPIPSocket) else 0
