"""Keithley 2600, 2600A and 2600B source-measure units, in TSP: one or two channels, `channel("a")` and `channel("b")`.

Every call is one chunk, sent and answered in one crossing, but for a pulse, which is two: what may be refused, then the
pulse. Commands: Keithley, Series 2600B System SourceMeter
Instrument Reference Manual, 2600BS-901-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.drivers.pulses import before_the_pulse
from labctl.drivers.source_measure import (
    Measured,
    SourceMeasureSettings,
    Sourcing,
    Swept,
    check_limits,
    check_pulse,
    checked_levels,
    swept,
)
from labctl.drivers.visa_instrument import VisaInstrument
from labctl.errors import BenchError, InstrumentError
from labctl.links.dialects import Tsp
from labctl.links.visa import VisaLink

_MOST_VOLTS = {"2601": 40.0, "2602": 40.0, "2604": 40.0}
_ONE_CHANNEL = ("2601", "2611", "2635")
_MOST_LEVELS = 1000
_FASTEST = 0.001  # power line cycles
_OVERHEAD = 30e-6  # s of a reading of both quantities besides its two conversions
_SETTINGS = (
    "source.func",
    "source.levelv",
    "source.limiti",
    "source.leveli",
    "source.limitv",
    "measure.rangei",
    "measure.autorangei",
    "measure.nplc",
    "sense",
    "source.output",
)


class Keithley2600Settings(SourceMeasureSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As every source-measure unit's, for both channels; `integration_time` is 0.001 to 25 power line cycles."""


class Keithley2600(VisaInstrument):
    """The instrument; what sources and measures are its channels."""

    Settings = Keithley2600Settings
    dialect = Tsp()
    models = ("MODEL 26",)

    def __init__(self, settings: Keithley2600Settings, managers: Any = None) -> None:
        super().__init__(settings, managers)
        self._channels: dict[str, Channel] = {}
        self.mains = 50.0  # Hz

    def channel(self, name: str) -> Channel:
        """The channel `a` or `b`. Raises BenchError where there is none of that name."""
        if name not in self.names:
            raise BenchError(f"{self.settings.resource_name}: no channel {name!r}; there are: {', '.join(self.names)}")
        return self._channels.setdefault(name, Channel(self, name))

    @property
    def names(self) -> tuple[str, ...]:
        return ("a",) if any(model in self.model for model in _ONE_CHANNEL) else ("a", "b")

    def set_up(self) -> None:
        self.link.write("*CLS")
        channels = " ".join(self.channel(name).begin() for name in self.names)
        self.mains = float(
            self.link.query(f"reset() errorqueue.clear() format.asciiprecision=10 {channels} print(localnode.linefreq)")
        )

    def safe_state(self, timeout_s: float = 2.0) -> None:
        for channel in self._channels.values():
            channel.forget()
        off = " ".join(f"smu{name}.source.output=0 smu{name}.source.levelv=0" for name in self.names)
        self.link.write(off, timeout_s=timeout_s)

    def settings_now(self) -> Mapping[str, Any]:
        wanted = [f"smu{name}.{setting}" for name in self.names for setting in _SETTINGS]
        answer = self.link.query(f"print({','.join(wanted)})").split("\t")
        if len(answer) != len(wanted):
            raise InstrumentError(
                f"{self.settings.resource_name}: {len(answer)} answers to {len(wanted)} settings asked for"
            )
        return dict(zip(wanted, answer, strict=True))


class Channel(Sourcing):
    """A `SourceMeasureUnit`."""

    shortest_pulse = 2e-4

    def __init__(self, instrument: Keithley2600, name: str) -> None:
        self.instrument = instrument
        self.name = name
        self._smu = f"smu{name}"
        self._cycles: float = instrument.settings.integration_time
        self._amps: float | None = instrument.settings.current_range

    @property
    def link(self) -> VisaLink:
        return self.instrument.link

    @property
    def max_voltage(self) -> float:
        return next((volts for model, volts in _MOST_VOLTS.items() if model in self.instrument.model), 200.0)

    @property
    def integration_time(self) -> float:
        return self._cycles

    def begin(self) -> str:
        """What puts this channel into its first state."""
        smu, settings = self._smu, self.instrument.settings
        self.forget()
        self._cycles, self._amps = settings.integration_time, settings.current_range
        return (
            f"{smu}.source.func=1 {smu}.sense={int(settings.remote_sense)} {smu}.measure.nplc={self._cycles:.9g}"
            f" {self._range(self._amps)}"
        )

    def source_voltage(self, level: float, compliance: float) -> None:
        check_limits(level, self.max_voltage, compliance, "V")
        smu = self._smu
        with self.sourcing("voltage", level):
            self._write(f"{smu}.source.func=1 {smu}.source.limiti={compliance:.9g} {smu}.source.levelv={level:.9g}")

    def source_current(self, level: float, compliance: float) -> None:
        check_limits(compliance, self.max_voltage, compliance, "V")
        smu = self._smu
        with self.sourcing("current", None):
            self._write(f"{smu}.source.func=0 {smu}.source.limitv={compliance:.9g} {smu}.source.leveli={level:.9g}")

    def output(self, on: bool) -> None:
        self.is_on = False
        self._write(f"{self._smu}.source.output={int(on)}")
        self.is_on = on

    def set_integration_time(self, cycles: float) -> None:
        if not 0.001 <= cycles <= 25:
            raise ValueError(f"integration_time must be 0.001 to 25 power line cycles, not {cycles:g}")
        self._write(f"{self._smu}.measure.nplc={cycles:.9g}")
        self._cycles = cycles

    def set_current_range(self, amps: float | None) -> None:
        self._write(self._range(amps))
        self._amps = amps

    def measure(self) -> Measured:
        lines = self.link.exchange(f"print({self._smu}.source.output) {self._reading()}")
        output, *readings = lines
        if not float(output):
            raise InstrumentError(f"{self._named} cannot measure: its output is off")
        return self._readings(readings, 1)[0]

    def sweep(self, levels: ArrayLike, compliance: float, *, delay: float = 0.0) -> Swept:
        given = checked_levels(levels, self.max_voltage, _MOST_LEVELS)
        self.check_on("sweep", self._named)
        with self.sourcing("voltage", 0.0):
            return self._list(given, compliance, delay, self._cycles)

    def pulse(self, level: float, width: float, compliance: float) -> Measured:
        check_pulse(width, self.shortest_pulse)
        given = checked_levels([level], self.max_voltage, 1)
        delay, smu = width - (2 * _FASTEST / self.instrument.mains + _OVERHEAD), self._smu
        with self.sourcing("voltage", 0.0):
            with before_the_pulse():
                limits = f"{smu}.source.limiti={compliance:.9g} {self._range(compliance)}"
                on = self.link.query(f"{smu}.source.func=1 {limits} print({smu}.source.output)")
                self.is_on = float(on) == 1
                self.check_on("pulse", self._named)
            return self._list(given, compliance, delay, _FASTEST)[0]

    def status(self) -> frozenset[str]:
        answer = self.link.query(f"print({self._smu}.source.output,{self._smu}.source.compliance)")
        output, limited = answer.split("\t")
        on = {"output on"} if float(output) else set()
        return frozenset(on | ({"in compliance"} if limited == "true" else set()))

    def snapshot(self) -> Mapping[str, Any]:
        return self.instrument.snapshot()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        smu = self._smu
        self.forget()
        self.link.write(f"{smu}.source.output=0 {smu}.source.levelv=0", timeout_s=timeout_s)

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _named(self) -> str:
        return f"{self.instrument.settings.resource_name}: channel {self.name}"

    def _write(self, chunk: str) -> None:
        self.link.write(chunk)

    def _range(self, amps: float | None) -> str:
        smu = self._smu
        return f"{smu}.measure.autorangei=1" if amps is None else f"{smu}.measure.rangei={amps:.9g}"

    def _reading(self) -> str:
        """The measurement first: whether it is in compliance then is that of the measurement."""
        smu = self._smu
        return f"do local i,v={smu}.measure.iv() print({smu}.source.compliance,i,v) end"

    def _list(self, levels: NDArray[np.float64], compliance: float, delay: float, cycles: float) -> Swept:
        """Each of `levels` for `delay` and a reading of `cycles`; the settings are as before then, the level is 0 V."""
        smu, wait = self._smu, f" delay({delay:.9g})" if delay > 0 else ""
        steps = " ".join(f"{smu}.source.levelv={level:.9g}{wait} {self._reading()}" for level in levels)
        lines = self.link.exchange(
            f"{smu}.source.func=1 {smu}.source.limiti={compliance:.9g} {smu}.measure.nplc={cycles:.9g} {steps}"
            f" {smu}.source.levelv=0 {smu}.measure.nplc={self._cycles:.9g} {self._range(self._amps)}",
            timeout_s=self.link.timeout_s + 2 * len(levels) * (delay + 2 * cycles / self.instrument.mains + 0.01),
        )
        return self._readings(lines, len(levels))

    def _readings(self, lines: list[Any], count: int) -> Swept:
        """Of lines `compliance, A, V`."""
        try:
            words = [line.split("\t") for line in lines]
            limited, amps, volts = zip(*words, strict=True)
            if len(words) != count or not set(limited) <= {"true", "false"}:
                raise ValueError
            return swept(
                [float(each) for each in volts], [float(each) for each in amps], [each == "true" for each in limited]
            )
        except ValueError:
            raise InstrumentError(
                f"{self.instrument.settings.resource_name}: {count} readings were asked for, {str(lines)[:60]!r} came"
            ) from None
