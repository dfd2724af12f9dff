"""Reading buffers: `smua.nvbuffer1` and those a script makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..scpi.errors import ScpiError
from .tables import Attribute, Function, Table, Value, one_of, stored

Series: TypeAlias = Callable[[], list[float]]
"""The values of a buffer, asked for when they are printed."""

_COLUMNS = ("readings", "sourcevalues", "timestamps")


class Column(Table):
    """`buffer.readings` and its like: numbered from 1."""

    def __init__(self, values: Series) -> None:
        super().__init__({})
        self.values = values

    def item(self, key: Value) -> Value:
        values = self.values()
        return values[int(key) - 1] if isinstance(key, (int, float)) and 1 <= key <= len(values) else None


class Buffer(Table):
    """Readings, with what was sourced and when; `capacity` of them.

    collects_sources, collects_times: as they are set before a measurement; they cannot change while there are readings.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.append_mode = 0
        self.collects_sources = 0
        self.collects_times = 0
        self.base_time = 0.0
        self._values: dict[str, list[float]] = {name: [] for name in _COLUMNS}
        columns = {name: Column(lambda name=name: self._values[name]) for name in _COLUMNS}  # type: ignore[misc]
        super().__init__(
            {
                **columns,
                "n": Attribute(lambda: len(self._values["readings"])),
                "capacity": Attribute(lambda: self.capacity),
                "basetimestamp": Attribute(lambda: self.base_time),
                "appendmode": stored(self, "append_mode", one_of(0, 1)),
                "collectsourcevalues": self._fixed("collects_sources"),
                "collecttimestamps": self._fixed("collects_times"),
                "clear": Function(self.clear, 0, 1),
            }
        )

    def _fixed(self, name: str) -> Attribute:
        accept = one_of(0, 1)

        def write(value: Value) -> None:
            wanted = accept(value)
            if self._values["readings"] and wanted != getattr(self, name):
                raise ScpiError(-221)
            setattr(self, name, wanted)

        return Attribute(lambda: getattr(self, name), write)

    def item(self, key: Value) -> Value:
        return self._column("readings").item(key)

    @property
    def series(self) -> Series:
        return self._column("readings").values

    def clear(self, *_: Value) -> None:
        for values in self._values.values():
            values.clear()

    def begin(self) -> None:
        """A measurement goes into it: what it held goes, unless it appends."""
        if not self.append_mode:
            self.clear()

    def add(self, reading: float, source: float, time: float) -> None:
        """time: s since 1970. Raises ScpiError where it is full."""
        if len(self._values["readings"]) >= self.capacity:
            raise ScpiError(-225)
        if not self._values["readings"]:
            self.base_time = time
        self._values["readings"].append(reading)
        if self.collects_sources:
            self._values["sourcevalues"].append(source)
        if self.collects_times:
            self._values["timestamps"].append(time - self.base_time)

    def _column(self, name: str) -> Column:
        column = self.members[name]
        assert isinstance(column, Column)
        return column


def buffer_of(value: Value) -> Buffer:
    """The buffer that a script named. Raises ScpiError."""
    if not isinstance(value, Buffer):
        raise ScpiError(-104)
    return value


def series_of(value: Value) -> Series:
    """The column, or the readings of the buffer, that a script named. Raises ScpiError."""
    if isinstance(value, Column):
        return value.values
    return buffer_of(value).series
