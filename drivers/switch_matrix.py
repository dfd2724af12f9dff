"""Switch matrices: Keithley 707B/708B and 3706A (TSP), Keysight B2200A/B2201A (SCPI).

A crosspoint is an input (the side of the instruments) and an output (the side of the devices), both counted from 1.
Every call is one message, and says afterwards which crosspoints are closed, so that a relay that the instrument refused
is no open cell.

Commands: Keithley, Models 707B and 708B Reference Manual, 707B-901-01; Series 3700A Reference Manual, 3700AS-901-01;
Keysight, B2200A/B2201A SCPI Command Reference, B2200-90020.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from labctl.bench.settings import VisaSettings
from labctl.drivers.visa_instrument import VisaInstrument
from labctl.errors import InstrumentError
from labctl.links.dialects import Scpi, Tsp
from labctl.units import Second

Crosspoint = tuple[int, int]
Crosspoints = frozenset[Crosspoint]


@runtime_checkable
class SwitchMatrix(Protocol):
    """Calls raise LinkError, InstrumentError, and ValueError for crosspoints that are not there."""

    @property
    def inputs(self) -> int: ...

    @property
    def outputs(self) -> int: ...

    def close_exactly(self, crosspoints: Collection[Crosspoint]) -> None:
        """Close these and open all others, which comes first; returns when they have settled."""

    def open_all(self) -> None: ...

    def closed(self) -> Crosspoints: ...

    @property
    def last_closed(self) -> Crosspoints | None:
        """What is closed, as far as is known without asking; None: not known."""

    def snapshot(self) -> Mapping[str, Any]: ...

    def safe_state(self, timeout_s: float = 2.0) -> None: ...


class SwitchMatrixSettings(VisaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """settling: s to wait once the relays have been switched, besides what the instrument waits by itself."""

    settling: Second = Second(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.settling <= 10:
            raise ValueError(f"settling must be 0 to 10 s, not {self.settling:g}")


class _Matrix(VisaInstrument):
    """What the two languages share."""

    Settings = SwitchMatrixSettings
    inputs: ClassVar[int]
    outputs: ClassVar[int]
    opening: ClassVar[str]
    """What opens everything."""
    last_closed: Crosspoints | None = None

    def set_up(self) -> None:
        self.last_closed = None
        self._open_anew()
        self.last_closed = frozenset()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self.last_closed = None
        self.link.write(self.opening, timeout_s=timeout_s)
        self.last_closed = frozenset()

    def close_exactly(self, crosspoints: Collection[Crosspoint]) -> None:
        wanted = frozenset(crosspoints)
        for point in wanted:
            self._check(point)
        self.last_closed = None
        closed = self.last_closed = self._switch(wanted)
        if closed != wanted:
            raise InstrumentError(
                f"{self.settings.resource_name}: {_shown(closed)} are closed where {_shown(wanted)} should be"
            )

    def open_all(self) -> None:
        self.close_exactly(())

    def settings_now(self) -> Mapping[str, Any]:
        return {"closed": [list(point) for point in sorted(self.closed())]}

    @abstractmethod
    def closed(self) -> Crosspoints: ...

    @abstractmethod
    def _open_anew(self) -> None:
        """Events cleared, everything open."""

    @abstractmethod
    def _switch(self, wanted: Crosspoints) -> Crosspoints:
        """Returns what is closed then."""

    def _check(self, point: Crosspoint) -> None:
        if not (1 <= point[0] <= self.inputs and 1 <= point[1] <= self.outputs):
            raise ValueError(
                f"crosspoint {point[0]}, {point[1]} is not on a matrix of {self.inputs} inputs and "
                f"{self.outputs} outputs"
            )

    def _understood(self, answer: str, pattern: str) -> list[tuple[str, ...]]:
        """The groups of every channel in a list. Raises InstrumentError where it is none."""
        words = [word for word in re.split(r"[;,]", answer.strip("(@) \t")) if word.strip()]
        found = [re.fullmatch(pattern, word.strip()) for word in words]
        if not all(found):
            raise InstrumentError(f"{self.settings.resource_name}: {answer[:60]!r} is no list of closed channels")
        return [each.groups() for each in found if each is not None]


class _TspMatrix(_Matrix):
    """Slots of rows, which are inputs and go through all slots, by columns, which are outputs, slot after slot."""

    dialect = Tsp()
    slots: ClassVar[int] = 6
    columns: ClassVar[int]
    rows: ClassVar[str]
    """The names of the rows, one character each."""
    opening = 'channel.open("allslots")'

    def _open_anew(self) -> None:
        self.link.write("*CLS")
        self.link.write(f"errorqueue.clear() {self.opening}")

    def closed(self) -> Crosspoints:
        return self._points(self.link.query('print(channel.getclose("allslots"))'))

    def _switch(self, wanted: Crosspoints) -> Crosspoints:
        wait = f" delay({self.settings.settling:.9g})" if self.settings.settling else ""
        names = ",".join(self._name(point) for point in sorted(wanted))
        switch = f'channel.exclusiveclose("{names}")' if names else self.opening
        return self._points(self.link.query(f'{switch}{wait} print(channel.getclose("allslots"))'))

    def _name(self, point: Crosspoint) -> str:
        slot, column = divmod(point[1] - 1, self.columns)
        return f"{slot + 1}{self.rows[point[0] - 1]}{column + 1:02d}"

    def _points(self, answer: str) -> Crosspoints:
        if answer.strip() == "nil":
            return frozenset()
        found = self._understood(answer, rf"(\d)([{self.rows}])(\d\d)")
        return frozenset(
            (self.rows.index(row) + 1, (int(slot) - 1) * self.columns + int(column)) for slot, row, column in found
        )


class Keithley707B(_TspMatrix):
    """A 707B (or 708B, of one slot) with 8 x 12 cards such as the 7174A: inputs A to H, 12 outputs a slot."""

    models = ("MODEL 707B", "MODEL 708B")
    rows = "ABCDEFGH"
    columns = 12
    inputs = 8
    outputs = 72


class Keithley3706A(_TspMatrix):
    """A 3706A with 6 x 16 cards (3730): 6 inputs, 16 outputs a slot."""

    models = ("MODEL 3706", "MODEL 3707")
    rows = "123456"
    columns = 16
    inputs = 6
    outputs = 96


class KeysightB2201A(_Matrix):
    """A B2200A or B2201A of four cards in its auto configuration: 14 inputs, 48 outputs."""

    dialect = Scpi(":SYST:ERR?")
    models = ("B2200A", "B2201A")
    inputs = 14
    outputs = 48
    opening = ":OPEN:CARD 0"

    def _open_anew(self) -> None:
        self.link.exchange("*CLS;*RST;:CONN:RULE 0,FREE;:CONN:SEQ 0,BBM")

    def closed(self) -> Crosspoints:
        return self._points(self.link.query(":CLOS:CARD? 0"))

    def _switch(self, wanted: Crosspoints) -> Crosspoints:
        names = ",".join(f"0{row:02d}{column:02d}" for row, column in sorted(wanted))
        close = f";:CLOS (@{names})" if names else ""
        return self._points(self.link.query(f"{self.opening}{close};:CLOS:CARD? 0"))

    def _points(self, answer: str) -> Crosspoints:
        return frozenset((int(row), int(column)) for _, row, column in self._understood(answer, r"(\d)(\d\d)(\d\d)"))


def _shown(points: Crosspoints) -> str:
    return ", ".join(f"{row}-{column}" for row, column in sorted(points)) or "none"
