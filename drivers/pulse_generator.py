"""Pulse generators: Keysight 33500B and 33600A waveform generators, one pulse at a time; `channel("1")` is an output.

A pulse is its shape, a message where that has changed, and another one of the trigger and an answer once it is over.
Commands: Keysight, 33500B and 33600A Series Operating and Service Guide, 33500-90901.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from labctl.bench.settings import VisaSettings
from labctl.drivers.pulses import before_the_pulse
from labctl.drivers.visa_instrument import VisaInstrument
from labctl.errors import BenchError, InstrumentError
from labctl.links.dialects import Scpi
from labctl.units import Second

_ONE_CHANNEL = ("33509", "33510", "33511", "33519", "33520", "33611")
_SETTINGS = ("FUNCtion", "VOLTage:HIGH", "VOLTage:LOW", "FUNCtion:PULSe:WIDTh", "FUNCtion:PULSe:PERiod", "BURSt:STATe")
_REST = 100e-9  # s from the end of a pulse to the end of its period, at the least


@runtime_checkable
class PulseSource(Protocol):
    """One output that gives single pulses from 0 V. Calls raise LinkError, InstrumentError, ValueError."""

    @property
    def is_on(self) -> bool:
        """Whether the output is on, as far as is known here."""

    @property
    def least_voltage(self) -> float:
        """V that a pulse is at the least, into a high impedance."""

    @property
    def max_voltage(self) -> float:
        """V into a high impedance."""

    @property
    def shortest_pulse(self) -> float: ...

    @property
    def longest_pulse(self) -> float: ...

    def output(self, on: bool) -> None:
        """Off is a relay that is open; on, between pulses, is 0 V."""

    def pulse(self, level: float, width: float) -> None:
        """One pulse of `level` V for `width` s; returns when it is over. The output has to be on. Raises NotPulsedError
        where it was refused and nothing given."""

    def snapshot(self) -> Mapping[str, Any]: ...

    def safe_state(self, timeout_s: float = 2.0) -> None: ...


class PulseGeneratorSettings(VisaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """edge: s that a pulse rises and falls in, from 10 to 90 %."""

    edge: Second = Second(8.4e-9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2.9e-9 <= self.edge <= 1e-6:
            raise ValueError(f"edge must be 2.9 ns to 1 us, not {self.edge:g} s")


class PulseGenerator(VisaInstrument):
    """The instrument; what gives pulses are its channels."""

    Settings = PulseGeneratorSettings
    dialect = Scpi(":SYSTem:ERRor?")
    models = ("335", "336")

    def __init__(self, settings: PulseGeneratorSettings, managers: Any = None) -> None:
        super().__init__(settings, managers)
        self._channels: dict[str, Channel] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return ("1",) if any(model in self.model for model in _ONE_CHANNEL) else ("1", "2")

    def channel(self, name: str) -> Channel:
        """The output `1` or `2`. Raises BenchError where there is none of that name."""
        if name not in self.names:
            raise BenchError(f"{self.settings.resource_name}: no channel {name!r}; there are: {', '.join(self.names)}")
        return self._channels.setdefault(name, Channel(self, name))

    def set_up(self) -> None:
        self.link.exchange("*CLS;*RST;" + ";".join(self.channel(name).begin() for name in self.names))

    def safe_state(self, timeout_s: float = 2.0) -> None:
        for channel in self._channels.values():
            channel.is_on = False
        self.link.write(";".join(f":OUTPut{name} OFF" for name in self.names), timeout_s=timeout_s)

    def settings_now(self) -> Mapping[str, Any]:
        of_channels = [f":SOURce{name}:{setting}" for name in self.names for setting in _SETTINGS]
        return self.answers((*of_channels, *(f":OUTPut{name}" for name in self.names)))


class Channel:
    """A `PulseSource`."""

    max_voltage = 10.0
    least_voltage = 2e-3
    shortest_pulse = 16e-9
    longest_pulse = 100.0

    def __init__(self, instrument: PulseGenerator, name: str) -> None:
        self.instrument = instrument
        self.name = name
        self._source = f":SOURce{name}"
        self.is_on = False
        self._level = self._width = 0.0

    def begin(self) -> str:
        """What makes this output give one pulse from 0 V a trigger, into whatever impedance."""
        source, edge = self._source, self.instrument.settings.edge
        self._level, self._width, self.is_on = 1.0, 0.0, False
        return (
            f":OUTPut{self.name}:LOAD INFinity;{source}:FUNCtion PULSe"
            f";{source}:VOLTage:HIGH {self._level:.9g};{source}:VOLTage:LOW 0"
            f";{source}:FUNCtion:PULSe:TRANsition:BOTH {edge:.9g}"
            f";{source}:BURSt:MODE TRIGgered;{source}:BURSt:NCYCles 1;{source}:BURSt:STATe ON"
            f";:TRIGger{self.name}:SOURce BUS"
        )

    def output(self, on: bool) -> None:
        self.is_on = False
        self.instrument.link.write(f":OUTPut{self.name} {'ON' if on else 'OFF'}")
        self.is_on = on

    def pulse(self, level: float, width: float) -> None:
        if not self.least_voltage <= level <= self.max_voltage:
            raise ValueError(
                f"a pulse of {level:g} V cannot be given: {self.least_voltage:g} V to {self.max_voltage:g} V"
            )
        if not self.shortest_pulse <= width <= self.longest_pulse:
            raise ValueError(
                f"a pulse of {width:g} s cannot be given: {self.shortest_pulse:g} s to {self.longest_pulse:g} s"
            )
        link = self.instrument.link
        with before_the_pulse():
            if not self.is_on:
                name = self.instrument.settings.resource_name
                raise InstrumentError(f"{name}: output {self.name} gives no pulse: it is off")
            if shape := [*self._reshaped(width), *self._scaled(level)]:
                self._level = self._width = 0.0  # of unknown fate until it is answered
                link.write(";".join(shape))
                self._level, self._width = level, width
        link.query(f":TRIGger{self.name};*OPC?", timeout_s=link.timeout_s + 2 * _period(width))

    def snapshot(self) -> Mapping[str, Any]:
        return self.instrument.snapshot()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self.is_on = False
        self.instrument.link.write(f":OUTPut{self.name} OFF", timeout_s=timeout_s)

    def _reshaped(self, width: float) -> list[str]:
        """Commands to another width: the period first where it grows, as a pulse has to be within its period."""
        if width == self._width:
            return []
        period = f"{self._source}:FUNCtion:PULSe:PERiod {_period(width):.9g}"
        pulse = f"{self._source}:FUNCtion:PULSe:WIDTh {width:.9g}"
        if not self._width:  # whatever they are: the shortest pulse is within any period
            return [f"{self._source}:FUNCtion:PULSe:WIDTh {self.shortest_pulse:.9g}", period, pulse]
        return [period, pulse] if width > self._width else [pulse, period]

    def _scaled(self, level: float) -> list[str]:
        return [] if level == self._level else [f"{self._source}:VOLTage:HIGH {level:.9g}"]


def _period(width: float) -> float:
    return 2 * width + _REST
