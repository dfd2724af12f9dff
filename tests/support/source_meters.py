"""A simulated source-measure unit with a resistor on its lead, spoken to by PyVISA over a socket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pyvisa
from instruments import served

from labctl.simulated_instruments.instruments.resistor import build as build_resistor
from labctl.simulated_instruments.wire import Site


class Bench:
    """The instrument's end of a PyVISA session, and the clock of the resistor it works on."""

    def __init__(self, session: Any, clock: Any) -> None:
        self._session, self._clock = session, clock

    def tell(self, message: str) -> None:
        """Raises AssertionError where the instrument has something against it."""
        assert self.complaints(message) == []

    def ask(self, message: str) -> str:
        return str(self._session.query(message))

    def numbers(self, message: str) -> list[float]:
        return [float(each) for each in self.ask(message).split(",")]

    def complaints(self, message: str) -> list[int]:
        """The numbers of the errors that `message`, which asks nothing, makes."""
        self._session.write(message)
        found = []
        while number := int(self.ask(":SYST:ERR?").partition(",")[0]):
            found.append(number)
        return found

    def seconds(self, message: str) -> float:
        """How long `message`, which asks something, takes on the bench's clock."""
        begun = self._clock.now()
        self.ask(message)
        return float(self._clock.now() - begun)

    @property
    def session(self) -> Any:
        return self._session


@contextlib.contextmanager
def wired(build: Callable[..., Any], resistance: float | None = 10e3, **options: Any) -> Iterator[Bench]:
    """The instrument that `build` makes of `options`, on a resistor in Ohm; None: on nothing."""
    load = build_resistor({"resistance": resistance or 1.0}, Site(None))  # type: ignore[arg-type]
    to = {} if resistance is None else {"wired_to": "load.hi"}
    with served(build, {**to, **options}, load=load) as instrument:
        manager = pyvisa.ResourceManager("@py")
        session: Any = manager.open_resource(
            instrument.resource_name, read_termination="\n", write_termination="\n", timeout=5000
        )
        try:
            yield Bench(session, load.resistor.clock)
        finally:
            session.close()
            manager.close()
