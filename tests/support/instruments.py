"""Simulated bench instruments on TCP ports of this process, and leads that remember what was put on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from labctl.simulated_instruments.instruments.clocks import VirtualClock
from labctl.simulated_instruments.network import Bias, Sensed
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.wire import Site


class ServedInstrument:
    """A simulator's instrument and where it answers. `restart` is a power cycle at the same address."""

    def __init__(self, build: Callable[..., Any], options: dict[str, Any], site: Site) -> None:
        self._build, self._options, self._site = build, options, site
        self._port = 0
        self._start()

    def _start(self) -> None:
        self.simulated = self._build(dict(self._options), self._site)
        self.server = TcpServer(self.simulated.wire, port=self._port)
        self.server.start()
        self._port = self.server.port

    def close(self) -> None:
        self.server.close()
        self.simulated.close()

    def restart(self) -> None:
        self.close()
        self._start()

    @property
    def resource_name(self) -> str:
        return self.server.resource_name

    def driver(self, kind: Any, **settings: Any) -> Any:
        """One of `kind` for it, not yet connected."""
        given = {"driver": "x", "resource_name": self.resource_name, "visa_library": "@py", "timeout": 2.0, **settings}
        return kind(kind.Settings(**given))


@contextlib.contextmanager
def served(build: Callable[..., Any], options: dict[str, Any], **others: Any) -> Iterator[ServedInstrument]:
    """The instrument that `build` makes of `options`; `others` are what it finds by name."""
    instrument = ServedInstrument(build, options, Site(Path(), others.__getitem__))
    try:
        yield instrument
    finally:
        instrument.close()


class ResistorLead:
    """`ohms` to ground. `told`: (s, what was held or pulsed) in turn, of a clock that begins at 0."""

    def __init__(self, ohms: float) -> None:
        self.ohms = ohms
        self.clock = VirtualClock(0.0)
        self.told: list[tuple[float, Bias | tuple[float, float] | None]] = []
        self._held: Bias | None = None

    def hold(self, bias: Bias | None) -> None:
        self._held = bias
        self.told.append((self.clock.now(), bias))

    def sense(self, seconds: float) -> Sensed:
        self.clock.spend(seconds)
        if self._held is None:
            return Sensed(0.0, 0.0, False)
        is_voltage = self._held.kind == "voltage"
        other = self._held.level / self.ohms if is_voltage else self._held.level * self.ohms
        limited = abs(other) > self._held.limit
        other = min(max(other, -self._held.limit), self._held.limit)
        return Sensed(other * self.ohms, other, limited) if is_voltage else Sensed(other, other / self.ohms, limited)

    def pulse(self, volts: float, width: float) -> None:
        self.told.append((self.clock.now(), (volts, width)))
        self.clock.spend(width)

    def held_for(self, level: float) -> float:
        """s that a voltage of `level` was held before the next thing was, the last time it was."""
        at, begun = next(
            (at, moment)
            for at, (moment, bias) in reversed(list(enumerate(self.told)))
            if isinstance(bias, Bias) and bias.level == level and self._changes(at)
        )
        after = next(moment for moment, bias in self.told[at:] if not (isinstance(bias, Bias) and bias.level == level))
        return after - begun

    def _changes(self, at: int) -> bool:
        before = self.told[at - 1][1] if at else None
        now = self.told[at][1]
        return not (isinstance(before, Bias) and isinstance(now, Bias) and before.level == now.level)


class Leads:
    """A fixture whose leads all end in resistors of `ohms`, each on its own."""

    def __init__(self, ohms: float = 1e4) -> None:
        self._ohms = ohms
        self.leads: dict[str, ResistorLead] = {}

    def lead(self, name: str) -> ResistorLead:
        return self.leads.setdefault(name, ResistorLead(self._ohms))
