"""Keithley 707B and 3706A switch mainframes: slots of crosspoints, told in scripts.

A channel is `1A03` on a 707B (slot, row, column) and `1103` on a 3706A. Rows are inputs and go through all slots,
columns are outputs, slot after slot. Functions are those of the 707B and 708B Reference Manual (707B-901-01, section 7)
and the Series 3700A Reference Manual (3700AS-901-01), from memory of them: not checked word by word. Left out: scans,
triggers, labels, the meter of a 3706A and `channel.setpole`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..network import Device
from ..scpi.errors import ScpiError
from ..tsp import Function, Table, TspInstrument
from ..tsp.tables import Attribute, Numbered, Value, constants, number, one_of, stored, text
from .switch_matrix import Crosspoint, MatrixOptions, Relays

BREAK_BEFORE_MAKE, MAKE_BEFORE_BREAK, OFF = 1, 2, 0
_PATTERN = re.compile(r"[A-Za-z]\w{0,18}")


@dataclass(frozen=True, slots=True)
class _Mainframe:
    """rows: their names. settling: s, of a card's relays, an estimate. card: what is in every slot."""

    rows: str
    columns: int
    settling: float
    card: str
    slots: int = 6


MODELS: Mapping[str, _Mainframe] = {
    "707B": _Mainframe("ABCDEFGH", 12, 3e-3, "7174A,8x12 Low-Current Matrix,00.00a,0000000"),
    "3706A": _Mainframe("123456", 16, 4e-3, "3730,6x16 High Density Matrix,01.40h,0000000"),
}


class TspMatrix:
    """The firmware."""

    def __init__(self, mainframe: _Mainframe, relays: Relays, wire: TspInstrument) -> None:
        self._mainframe = mainframe
        self._relays = relays
        self.wire = wire
        self._names = {self._point(name): name for name in self._every()}
        self._points = {name: point for point, name in self._names.items()}
        self._reset()
        slots = Numbered({n: Table({"idn": mainframe.card}) for n in range(1, mainframe.slots + 1)})
        wire.power_on({"channel": self._table(), "slot": slots}, on_reset=self._reset)

    @classmethod
    def of(cls, options: MatrixOptions, device: Device) -> tuple[Relays, TspMatrix]:
        mainframe = MODELS[options.model]
        outputs = mainframe.slots * mainframe.columns
        relays = Relays(len(mainframe.rows), outputs, device, mainframe.settling, options.ground)
        identity = ("KEITHLEY INSTRUMENTS INC.", f"MODEL {options.model}", options.serial, "01.30a")
        return relays, cls(mainframe, relays, TspInstrument(identity, device.clock))

    def _table(self) -> Table:
        return Table(
            {
                "close": Function(lambda given: self._switch(self._closed | self._listed(given)), 1, 1),
                "open": Function(self._open, 1, 1),
                "exclusiveclose": Function(lambda given: self._exactly(self._listed(given)), 1, 1),
                "exclusiveslotclose": Function(self._exclusive_slot_close, 1, 1),
                "getclose": Function(self._get_close, 1, 1),
                "getstate": Function(self._get_state, 1, 1),
                "getcount": Function(self._get_count, 1, 1),
                "setdelay": Function(self._set_delay, 2, 2),
                "getdelay": Function(self._get_delay, 1, 1),
                "setforbidden": Function(lambda given: self._forbid(self._plain(given)), 1, 1),
                "clearforbidden": Function(lambda given: self._allow(self._plain(given)), 1, 1),
                "getforbidden": Function(lambda given: self._shown(self._forbidden & self._plain(given)), 1, 1),
                "reset": Function(lambda given: self._switch(self._closed - self._plain(given)), 1, 1),
                "connectrule": stored(self, "_rule", one_of(OFF, BREAK_BEFORE_MAKE, MAKE_BEFORE_BREAK)),
                "connectsequential": stored(self, "_sequential", one_of(0, 1)),
                "pattern": Table(
                    {
                        "setimage": Function(self._set_image, 2, 2),
                        "snapshot": Function(lambda name: self._keep(name, self._closed), 1, 1),
                        "getimage": Function(self._get_image, 1, 1),
                        "delete": Function(self._delete, 1, 1),
                        "catalog": Attribute(lambda: ",".join(self._patterns)),
                    }
                ),
                **constants(BREAK_BEFORE_MAKE=1, MAKE_BEFORE_BREAK=2, OFF=0, ON=1, IND_OPEN=0, IND_CLOSE=1),
            }
        )

    def _reset(self) -> None:
        self._rule = BREAK_BEFORE_MAKE
        self._sequential = 0
        self._closed: frozenset[Crosspoint] = frozenset()
        self._forbidden: frozenset[Crosspoint] = frozenset()
        self._patterns: dict[str, frozenset[Crosspoint]] = {}
        self._delays: dict[Crosspoint, float] = {}
        self._counts: dict[Crosspoint, int] = {}
        self._relays.switch(())

    # -- switching ------------------------------------------------------------------------------------------------

    def _switch(self, wanted: frozenset[Crosspoint]) -> None:
        """Raises ScpiError, with nothing switched, where one to be closed is forbidden."""
        closing = wanted - self._closed
        if closing & self._forbidden:
            raise ScpiError(-224, f"{self._shown(closing & self._forbidden)} is forbidden")
        steps = [wanted]
        if self._sequential:
            kept = self._closed & wanted
            steps = [kept | frozenset(sorted(closing)[: n + 1]) for n in range(len(closing))] or steps
        for step in steps:
            self._relays.switch(step)
        self._closed = wanted
        for point in closing:
            self._counts[point] = self._counts.get(point, 0) + 1
        self.wire.spend(max((self._delays.get(point, 0.0) for point in closing), default=0.0))

    def _exactly(self, wanted: frozenset[Crosspoint]) -> None:
        """These and no others, by the connection rule."""
        if (wanted - self._closed) & self._forbidden:
            self._switch(wanted)
        if self._rule == BREAK_BEFORE_MAKE:
            self._switch(self._closed & wanted)
        elif self._rule == MAKE_BEFORE_BREAK:
            self._switch(self._closed | wanted)
        self._switch(wanted)

    def _open(self, given: Value) -> None:
        self._switch(self._closed - self._plain(given))

    def _exclusive_slot_close(self, given: Value) -> None:
        wanted = self._listed(given)
        slots = {self._names[point][0] for point in wanted}
        others = frozenset(point for point in self._closed if self._names[point][0] not in slots)
        self._exactly(others | wanted)

    # -- what is so -----------------------------------------------------------------------------------------------

    def _get_close(self, given: Value) -> str | None:
        return self._shown(self._closed & self._plain(given)) or None

    def _get_state(self, given: Value) -> str:
        return ";".join(str(int(point in self._closed)) for point in self._in_order(self._plain(given)))

    def _get_count(self, given: Value) -> str:
        return ";".join(str(self._counts.get(point, 0)) for point in self._in_order(self._plain(given)))

    def _set_delay(self, given: Value, seconds: Value) -> None:
        delay = number(0, 99_999)(seconds)
        self._delays.update(dict.fromkeys(self._plain(given), float(delay)))

    def _get_delay(self, given: Value) -> str:
        return ",".join(f"{self._delays.get(point, 0.0):.6e}" for point in self._in_order(self._plain(given)))

    def _forbid(self, points: frozenset[Crosspoint]) -> None:
        self._forbidden |= points
        self._switch(self._closed - points)

    def _allow(self, points: frozenset[Crosspoint]) -> None:
        self._forbidden -= points

    def _set_image(self, given: Value, name: Value) -> None:
        self._keep(name, self._listed(given))

    def _keep(self, name: Value, points: frozenset[Crosspoint]) -> None:
        if not _PATTERN.fullmatch(text(name)) or name in self._points:
            raise ScpiError(-224, "a pattern has a name of up to 19 letters and digits")
        self._patterns[name] = points

    def _get_image(self, name: Value) -> str:
        if text(name) not in self._patterns:
            raise ScpiError(-224, "no such pattern")
        return self._shown(self._patterns[name])

    def _delete(self, name: Value) -> None:
        if self._patterns.pop(text(name), None) is None:
            raise ScpiError(-224, "no such pattern")

    # -- names ----------------------------------------------------------------------------------------------------

    def _every(self) -> list[str]:
        frame = self._mainframe
        return [
            f"{slot}{row}{column:02d}"
            for slot in range(1, frame.slots + 1)
            for row in frame.rows
            for column in range(1, frame.columns + 1)
        ]

    def _point(self, name: str) -> Crosspoint:
        slot, row, column = int(name[0]), name[1], int(name[2:])
        return self._mainframe.rows.index(row) + 1, (slot - 1) * self._mainframe.columns + column

    def _listed(self, given: Value) -> frozenset[Crosspoint]:
        """What a channel list names; no slots, as what would close them all is a mistake. Raises ScpiError."""
        return self._parsed(given, slots=False)

    def _plain(self, given: Value) -> frozenset[Crosspoint]:
        """What a channel list names, with `slot1` and `allslots`. Raises ScpiError."""
        return self._parsed(given, slots=True)

    def _parsed(self, given: Value, slots: bool) -> frozenset[Crosspoint]:
        found: set[Crosspoint] = set()
        for word in re.split("[,;]", text(given)):
            if word.strip():
                found.update(self._word(word.strip(), slots))
        return frozenset(found)

    def _word(self, word: str, slots: bool) -> Iterable[Crosspoint]:
        upper = word.upper()
        if slots and upper == "ALLSLOTS":
            return self._points.values()
        if slots and (slot := re.fullmatch(r"SLOT(\d)", upper)) and 1 <= int(slot[1]) <= self._mainframe.slots:
            return [point for name, point in self._points.items() if name[0] == slot[1]]
        first, colon, last = (part.strip() for part in upper.partition(":"))
        if colon and first in self._points and last in self._points:
            every = list(self._points)
            low, high = sorted((every.index(first), every.index(last)))
            return [self._points[name] for name in every[low : high + 1]]
        if upper in self._points:
            return [self._points[upper]]
        if word in self._patterns:
            return self._patterns[word]
        raise ScpiError(-224, f"{word[:30]} is no channel")

    def _in_order(self, points: frozenset[Crosspoint]) -> list[Crosspoint]:
        return [point for point in self._names if point in points]

    def _shown(self, points: frozenset[Crosspoint]) -> str:
        return ";".join(self._names[point] for point in self._in_order(points))
