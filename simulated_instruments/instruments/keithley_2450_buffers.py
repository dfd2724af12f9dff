"""The reading buffers of the 2450, and what TRACe:DATA?, READ? and FETCh? tell of the readings in them.

Status words: Model 2450 Reference Manual (2450-901-01 Rev. B), bufferVar.statuses and bufferVar.sourcestatuses.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..scpi import ScpiError
from .keithley import nr3, statistics

DEFAULT = "defbuffer1"
DEFAULTS = (DEFAULT, "defbuffer2")
FEWEST, MOST, FIRST_SIZE = 10, 1_000_000, 100_000

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}


class SourceStatus(enum.IntFlag):
    """Bits of SOURSTATus."""

    READBACK = 1 << 3
    LIMIT = 1 << 5
    REMOTE_SENSE = 1 << 6
    OUTPUT = 1 << 7


class SenseStatus(enum.IntFlag):
    """Bits of STATus."""

    FRONT = 1 << 3


@dataclass(frozen=True, slots=True)
class Stored:
    """One reading: what was measured, what was sourced, each with its unit; time in s since 1970."""

    reading: float
    unit: str
    source: float
    source_unit: str
    time: float
    status: SenseStatus
    source_status: SourceStatus


class Buffer:
    """Up to `size` readings. `once`: then no more are stored; otherwise the oldest ones make room."""

    def __init__(self, size: int, once: bool) -> None:
        self.once = once
        self._stored: deque[Stored] = deque()
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        """Another size empties it."""
        self._size = size
        self._stored.clear()

    def __len__(self) -> int:
        return len(self._stored)

    def clear(self) -> None:
        self._stored.clear()

    def store(self, stored: Stored) -> None:
        if len(self._stored) >= self._size:
            if self.once:
                return
            self._stored.popleft()
        self._stored.append(stored)

    def last(self) -> Stored:
        """Raises ScpiError -230 where it is empty."""
        if not self._stored:
            raise ScpiError(-230, "the reading buffer is empty")
        return self._stored[-1]

    def between(self, first: int, last: int) -> list[Stored]:
        """The readings `first` to `last`, counted from 1. Raises ScpiError -222."""
        if not 1 <= first <= last <= len(self._stored):
            raise ScpiError(-222, f"there are readings 1 to {len(self._stored)}, not {first} to {last}")
        return [self._stored[index] for index in range(first - 1, last)]

    def told(self, readings: Sequence[Stored], elements: Sequence[str]) -> list[float | str]:
        """The `elements` of each reading, one reading behind the other."""
        begun = self._stored[0].time if self._stored else 0.0
        return [_ELEMENTS[each](stored, begun) for stored in readings for each in elements]

    def statistic(self, kind: str) -> float:
        return statistics(kind, [[stored.reading for stored in self._stored]])[0]


class Buffers:
    """All of them by name, without regard to case."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The two that are always there, empty."""
        self._named: dict[str, Buffer] = {name: Buffer(FIRST_SIZE, once=False) for name in DEFAULTS}

    def __getitem__(self, name: str) -> Buffer:
        """Raises ScpiError -224 where there is none of that name."""
        try:
            return self._named[name.casefold()]
        except KeyError:
            raise ScpiError(-224, f"there is no reading buffer {name}") from None

    def make(self, name: str, size: int) -> None:
        if not (name.isidentifier() and name.isascii()):
            raise ScpiError(-224, f"{name!r} is no name for a reading buffer")
        if name.casefold() in self._named:
            raise ScpiError(-221, f"there is a reading buffer {name} already")
        self._named[name.casefold()] = Buffer(size, once=True)

    def delete(self, name: str) -> None:
        if name.casefold() in DEFAULTS:
            raise ScpiError(-221, f"{name} cannot be deleted")
        self[name]
        del self._named[name.casefold()]


def _moment(stored: Stored) -> datetime:
    return datetime.fromtimestamp(stored.time, UTC)


def _clock(stored: Stored) -> str:
    return f"{_moment(stored):%H:%M:%S}.{_moment(stored).microsecond // 100:04d}"


def engineering(number: float, unit: str) -> str:
    """As on the display: `+50.00012 uA`."""
    if not math.isfinite(number):
        return "Overflow"
    power = 0 if number == 0 else 3 * math.floor(math.log10(abs(number)) / 3)
    power = min(max(power, min(_PREFIXES)), max(_PREFIXES))
    return f"{number / 10.0**power:+#.7g} {_PREFIXES[power]}{unit}"


_ELEMENTS: Mapping[str, Callable[[Stored, float], float | str]] = {
    "DATE": lambda stored, _: f"{_moment(stored):%m/%d/%Y}",
    "FORM": lambda stored, _: engineering(stored.reading, stored.unit),
    "FRAC": lambda stored, _: stored.time % 1.0,
    "READ": lambda stored, _: stored.reading,
    "REL": lambda stored, begun: stored.time - begun,
    "SEC": lambda stored, _: str(math.floor(stored.time)),  # ten digits, which NR3 would not hold
    "SOUR": lambda stored, _: stored.source,
    "SOURFORM": lambda stored, _: engineering(stored.source, stored.source_unit),
    "SOURSTAT": lambda stored, _: str(int(stored.source_status)),
    "SOURUNIT": lambda stored, _: stored.source_unit,
    "STAT": lambda stored, _: str(int(stored.status)),
    "TIME": lambda stored, _: _clock(stored),
    "TST": lambda stored, _: f"{_moment(stored):%m/%d/%Y} {_clock(stored)}",
    "UNIT": lambda stored, _: stored.unit,
}
ELEMENTS = (
    "DATE",
    "FORMatted",
    "FRACtional",
    "READing",
    "RELative",
    "SEConds",
    "SOURce",
    "SOURFORMatted",
    "SOURSTATus",
    "SOURUNIT",
    "STATus",
    "TIME",
    "TSTamp",
    "UNIT",
)
"""The words for what is told of a reading, as the manual writes them."""


def as_text(told: Sequence[float | str]) -> str:
    return ",".join(each if isinstance(each, str) else nr3(each) for each in told)
