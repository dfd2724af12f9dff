"""Any PyMeasure instrument as an auxiliary: what it reads is recorded in every run.

[instruments.chuck]
driver = "pymeasure"
class = "pymeasure.instruments.lakeshore.LakeShore331"
resource_name = "GPIB0::12::INSTR"
record = { "input_A.kelvin" = "K" }            # property, of a channel here, and its unit
set = { "output_1.setpoint" = 300.0 }          # on connecting
safe = { "output_1.heater_range" = "off" }     # for safe state
"""

from __future__ import annotations

import contextlib
import importlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from labctl.bench.settings import VisaSettings
from labctl.errors import BenchError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.units import is_unit

Value = str | float | int | bool | None

_OWN_OPTIONS = {"adapter": "resource_name", "resource_name": "resource_name", "visa_library": "visa_library"} | {
    "timeout": "timeout"
}
"""What the constructor is given anyway -> the key of the table that says it."""
_PROPERTY = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")


class PyMeasureSettings(VisaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """class_name (`class`): the instrument's class, from its module on. options: for its constructor, as
    `read_termination`.

    Nothing need be recorded, set or made safe: then the instrument only stands in the snapshots of the runs.

    record: property to unit. set, safe: property to value, written on connecting and for safe state, in this order. A
    property of a channel or another part is written with dots; a method is called (`shutdown = true`).
    """

    class_name: str = msgspec.field(name="class")
    options: dict[str, Value] = msgspec.field(default_factory=dict)
    record: dict[str, str] = msgspec.field(default_factory=dict)
    set: dict[str, Value] = msgspec.field(default_factory=dict)
    safe: dict[str, Value] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wire_log is not None:
            raise ValueError("wire_log: PyMeasure keeps the messages of its instruments to itself")
        if not _PROPERTY.fullmatch(self.class_name) or "." not in self.class_name:
            raise ValueError(
                f"class must be like 'pymeasure.instruments.lakeshore.LakeShore331', not {self.class_name!r}"
            )
        for name in (*self.record, *self.set, *self.safe):
            if not _PROPERTY.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a property, like 'temperature' or 'input_A.kelvin'")
        for option in self.options:
            if option in _OWN_OPTIONS:
                raise ValueError(f"options: {option!r} is what {_OWN_OPTIONS[option]} says: leave it out here")
        columns: dict[str, str] = {}
        for name, unit in self.record.items():
            if not is_unit(unit):
                raise ValueError(f"record: {unit!r} is no unit for {name!r}: write its symbol, like 'V', 'K' or 'mbar'")
            other = columns.setdefault(_column(name), name)
            if other != name:
                raise ValueError(f"record: {other!r} and {name!r} would both be recorded as {_column(name)!r}")


class PyMeasureAuxiliary:
    """An instrument of PyMeasure, read along with runs. Not an array: it pulses nothing."""

    Settings = PyMeasureSettings

    def __init__(self, settings: PyMeasureSettings, managers: object = None) -> None:
        """managers: not used, PyMeasure opens its own."""
        del managers
        self.settings = settings
        self._instrument: Any = None

    @classmethod
    def quantities(cls, settings: PyMeasureSettings) -> dict[str, str]:
        """Name (dots become underscores) to unit of what is recorded."""
        return {_column(name): unit for name, unit in settings.record.items()}

    def connect(self) -> None:
        """Open it, write what `set` says, and see that there is what `safe` sets and that `record` can be read."""
        if self._instrument is not None:
            return
        kind, settings = self._load(), self.settings
        with self._said("could not be opened"):
            self._instrument = kind(
                settings.resource_name,
                visa_library=settings.visa_library,
                timeout=max(int(settings.timeout * 1e3), 1),
                **settings.options,
            )
        try:
            for name, value in settings.safe.items():
                self._see(name, value)
            self._write(settings.set)
            self.read()
        except BaseException:
            self.close()
            raise

    def read(self) -> dict[str, float]:
        return {_column(name): self._number(name) for name in self.settings.record}

    def snapshot(self) -> Mapping[str, Any]:
        return {"class": self.settings.class_name, "name": str(self._live.name), **self.read()}

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Write what `safe` says, in its order and each even where another fails, and read it back where that can be.

        Nothing where it says nothing. Raises LinkError with all that was not reached.
        """
        milliseconds = max(int(timeout_s * 1e3 / max(len(self.settings.safe), 1)), 1)
        connection: Any = getattr(self._live.adapter, "connection", None)
        with contextlib.suppress(Exception):  # what carries no time-out keeps its own
            connection.timeout = milliseconds
        problems = []
        for name, value in self.settings.safe.items():
            try:
                self._write({name: value})
                self._confirm(name, value)
            except LinkError as problem:
                problems.append(str(problem))
        with contextlib.suppress(Exception):
            connection.timeout = max(int(self.settings.timeout * 1e3), 1)
        if problems:
            raise LinkError("; ".join(problems))

    def close(self) -> None:
        """Let go of it as it is. May be called twice."""
        instrument, self._instrument = self._instrument, None
        if instrument is not None:
            with contextlib.suppress(Exception):  # a session that is already dead is closed enough
                instrument.adapter.close()

    @property
    def _live(self) -> Any:
        if self._instrument is None:
            raise LinkClosedError(f"{self.settings.resource_name}: not connected")
        return self._instrument

    def _load(self) -> Any:
        """The instrument's class. Raises BenchError."""
        module, _, name = self.settings.class_name.rpartition(".")
        try:
            base = importlib.import_module("pymeasure.instruments").Instrument
        except ImportError:
            raise BenchError("PyMeasure is not installed: pip install 'labctl[peers]'") from None
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as problem:
            raise BenchError(f"{self.settings.class_name} cannot be loaded: {problem}") from None
        if not (isinstance(kind, type) and issubclass(kind, base)):
            raise BenchError(f"{self.settings.class_name} is no class of a PyMeasure instrument")
        return kind

    def _number(self, name: str) -> float:
        with self._said(f"{name} could not be read"):
            *path, last = name.split(".")
            value = getattr(self._part(path), last)
            number = float(value() if callable(value) else value)
        if abs(number) >= 9.9e37:  # SCPI's overflow and not-a-number
            return math.nan
        return number

    def _write(self, values: Mapping[str, Value]) -> None:
        """Set properties; a method is called, with the value unless that is `true`."""
        for name, value in values.items():
            part, last = self._see(name, value)
            with self._said(f"{name} could not be set to {value!r}"):
                if not callable(getattr(type(part), last)):
                    setattr(part, last, value)
                elif value is True:
                    getattr(part, last)()
                else:
                    getattr(part, last)(value)

    def _see(self, name: str, value: Value) -> tuple[Any, str]:
        """The part that has the property or method `name`, and what it is called there. Raises LinkError.

        To set what is not there would make a new attribute, and send nothing.
        """
        with self._said(f"{name} could not be set to {value!r}"):
            *path, last = name.split(".")
            part = self._part(path)
            if not hasattr(type(part), last):
                raise AttributeError(f"{type(part).__name__} has no {last!r}")
        return part, last

    def _confirm(self, name: str, value: Value) -> None:
        """Read `name` back: a message that was only sent may not have arrived. Raises LinkError."""
        *path, last = name.split(".")
        part = self._part(path)
        if callable(getattr(type(part), last)):
            return
        with self._said(f"{name} could not be read back"):
            try:
                found = getattr(part, last)
            except LookupError:  # PyMeasure's word for a property that can only be set
                return
            numbers = all(isinstance(each, int | float) for each in (found, value))
            if not (math.isclose(found, value, rel_tol=1e-3) if numbers else found == value):  # type: ignore[arg-type]
                raise LinkError(f"{self.settings.resource_name}: {name} is {found!r} where {value!r} was set")

    def _part(self, path: list[str]) -> Any:
        part = self._live
        for name in path:
            part = getattr(part, name)
        return part

    @contextlib.contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """One sentence for whatever PyMeasure, PyVISA or the instrument's class raises."""
        try:
            yield
        except LinkError:
            raise
        except Exception as problem:  # noqa: BLE001 -- what a stranger's class raises is one sentence to the user
            timed_out = getattr(problem, "abbreviation", "") == "VI_ERROR_TMO"
            kind = LinkTimeoutError if timed_out else LinkError
            reason = "no answer" if timed_out else str(problem) or type(problem).__name__
            raise kind(f"{self.settings.resource_name}: {what}: {reason}") from None


def _column(name: str) -> str:
    return name.replace(".", "_")
