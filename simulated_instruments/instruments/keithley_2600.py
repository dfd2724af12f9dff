"""Keithley 2600B source-measure units that run scripts: one or two channels, `smua` and `smub`.

Attributes, functions and defaults are those of the Series 2600B Reference Manual (2600BS-901-01, section 7), from
memory of it: not checked word by word. Left out: calibration, contact check, digital I/O, TSP-Link, relative readings,
low ranges of autorange, saved set-ups, and of triggering everything but a sweep that `initiate` carries out whole.
`smuX.savebuffer` is accepted and saves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from ..network import Lead
from ..scpi.errors import ScpiError
from ..scpi.formatting import NOT_A_NUMBER
from ..scpi.status import Register
from ..tsp import Attribute, Function, Table, TspInstrument
from ..tsp.buffers import Buffer, buffer_of
from ..tsp.common import register_table
from ..tsp.errors import too_big
from ..tsp.tables import Accept, Value, constants, number, one_of, stored, whole
from ..wire import Site
from .keithley_2600_sweep import Sweep
from .source_measure import (
    BeyondPower,
    BeyondRange,
    OffState,
    Quantity,
    Range,
    Ratings,
    Reading,
    SourceMeasureChannel,
)
from .wiring import lead_to, one_clock

MAKER, FIRMWARE = "Keithley Instruments Inc.", "3.3.5"
_MEASUREMENT = 1  # bit of the status byte
_INSTRUMENT = 1 << 13  # bit of the measurement register that sums up the channels
_VOLTAGE_LIMIT, _CURRENT_LIMIT, _OVERFLOW, _BUFFER = 1 << 0, 1 << 1, 1 << 7, 1 << 8
_CAPACITY = 100_000  # readings of a buffer
_MOST_BUFFERED = 10_000_000  # readings of all the buffers that scripts make
_LETTERS: Mapping[Quantity, str] = {"voltage": "v", "current": "i"}
_SMALLEST: Mapping[Quantity, float] = {"voltage": 10e-3, "current": 1e-10}  # limits, V and A
_OFF_MODES = {0: OffState.NORMAL, 1: OffState.ZERO, 2: OffState.HIGH_IMPEDANCE}
_OFF_LIMITS: Mapping[Quantity, float] = {"voltage": 40.0, "current": 1e-3}
_CHANNEL_CONSTANTS = constants(
    OUTPUT_DCAMPS=0,
    OUTPUT_DCVOLTS=1,
    OUTPUT_OFF=0,
    OUTPUT_ON=1,
    OUTPUT_HIGH_Z=2,
    OUTPUT_NORMAL=0,
    OUTPUT_ZERO=1,
    SENSE_LOCAL=0,
    SENSE_REMOTE=1,
    AUTORANGE_OFF=0,
    AUTORANGE_ON=1,
    AUTOZERO_OFF=0,
    AUTOZERO_ONCE=1,
    AUTOZERO_AUTO=2,
    FILTER_MOVING_AVG=0,
    FILTER_REPEAT_AVG=1,
    DELAY_OFF=0,
    DELAY_AUTO=-1,
    SOURCE_IDLE=0,
    SOURCE_HOLD=1,
    DISABLE=0,
    ENABLE=1,
)


def _ratings(volts: tuple[float, ...], amps: tuple[float, ...], corners: tuple[tuple[float, float], ...]) -> Ratings:
    return Ratings(
        voltage=tuple(Range(full, full * 5e-5, full * 1e-5, full * 5e-6) for full in volts),
        current=tuple(Range(full, full * 2e-5, full * 1e-6, full * 2e-6) for full in amps),
        source_reach=1.01,
        sense_reach=1.02,
        corners=corners,
        hum=2e-6,
        overhead=30e-6,
        first_ranges={"voltage": volts[0], "current": amps[0]},
        first_limits={"voltage": min(volts[-1], 20.0), "current": 0.1},
    )


_TO_1_AMP = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
_LOW_VOLTAGE = _ratings((0.1, 1.0, 6.0, 40.0), (*_TO_1_AMP, 3.0), ((40.4, 1.01), (6.06, 3.03)))
_HIGH_VOLTAGE = _ratings((0.2, 2.0, 20.0, 200.0), (*_TO_1_AMP, 1.5), ((202.0, 0.101), (20.2, 1.515)))
_LOW_CURRENT = _ratings((0.2, 2.0, 20.0, 200.0), (1e-9, 1e-8, *_TO_1_AMP, 1.5), ((202.0, 0.101), (20.2, 1.515)))
"""Ranges, corners and reach (1 % of the source, 2 % of the measurement) are those of the Series 2600B specifications.
Steps, resolution, noise and hum are estimates, the same shares of every range, of the size that 5 1/2 digits make. With
the overhead, 0.001 PLC of 50 Hz are the 20,000 readings/s that the specifications promise."""

MODELS: Mapping[str, tuple[Ratings, str]] = {
    "2601B": (_LOW_VOLTAGE, "a"),
    "2602A": (_LOW_VOLTAGE, "ab"),
    "2602B": (_LOW_VOLTAGE, "ab"),
    "2604B": (_LOW_VOLTAGE, "ab"),
    "2611B": (_HIGH_VOLTAGE, "a"),
    "2612B": (_HIGH_VOLTAGE, "ab"),
    "2614B": (_HIGH_VOLTAGE, "ab"),
    "2634B": (_LOW_CURRENT, "ab"),
    "2635B": (_LOW_CURRENT, "a"),
    "2636B": (_LOW_CURRENT, "ab"),
}
"""Model -> ratings and channels."""


class Keithley2600Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[simulated.NAME]` table.

    wired_to: channel (`a`, `b`) -> `FIXTURE.LEAD`; a channel that is not named has nothing connected. serial: its
    serial number, which decides its noise. line_frequency: of the mains, 50 or 60 Hz.
    """

    model: str = "2602B"
    wired_to: dict[str, str] = {}
    serial: str = "4400001"
    line_frequency: int = 50

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}")
        channels = MODELS[self.model][1]
        for name in self.wired_to:
            if name not in tuple(channels):
                raise ValueError(f"a {self.model} has no channel {name!r}; there are: {', '.join(channels)}")
        if self.line_frequency not in (50, 60):
            raise ValueError(f"line_frequency must be 50 or 60 Hz, not {self.line_frequency}")
        if not (self.serial.isascii() and self.serial.isalnum()):
            raise ValueError(f"serial must be plain letters and digits, not {self.serial!r}")


class Keithley2600:
    """The instrument, switched on."""

    def __init__(self, options: Keithley2600Options, leads: Mapping[str, Lead]) -> None:
        """leads: by channel."""
        clock = one_clock(leads.values())
        identity = (MAKER, f"Model {options.model}", options.serial, FIRMWARE)
        self.wire = TspInstrument(identity, clock, registers={"MEASurement": _MEASUREMENT})
        self.wire.line_frequency = options.line_frequency
        self._summary = Register()
        ratings = MODELS[options.model][0]
        self.channels = {
            name: Channel(self, number, SourceMeasureChannel(ratings, lead, f"{options.serial} {name}"))
            for number, (name, lead) in enumerate(leads.items(), 1)
        }
        tables = {f"smu{name}": channel.table for name, channel in self.channels.items()}
        registers = {f"smu{name}": register_table(channel.register) for name, channel in self.channels.items()}
        measurement = self.wire.status.own["MEASurement"]
        instrument = register_table(self._summary, dict(registers))
        beeper = Table({"enable": 1, "beep": Function(lambda *_: None, 2, 2)})
        self.wire.power_on(
            {**tables, "beeper": beeper},
            on_reset=self._reset,
            status={"measurement": register_table(measurement, {"instrument": instrument})},
            display=self._display(),
        )

    def close(self) -> None:
        with self.wire.lock:
            for channel in self.channels.values():
                channel.core.close()

    def sum_up(self) -> None:
        """Let what the channels say of their last reading go up to the status byte."""
        for channel in self.channels.values():
            self._summary.change(1 << channel.number, channel.register.summary)
        self.wire.status.own["MEASurement"].change(_INSTRUMENT, self._summary.summary)

    def _reset(self) -> None:
        for channel in self.channels.values():
            channel.reset()

    def _display(self) -> dict[str, Any]:
        class Screen:
            number = 2

        screens = constants(SMUA=0, SMUB=1, SMUA_SMUB=2, USER=3)
        return {"screen": stored(Screen(), "number", one_of(*screens.values())), **screens}


class Channel:
    """`smua` or `smub`: how `core` looks to scripts.

    register: `status.measurement.instrument.smuX`.
    """

    def __init__(self, instrument: Keithley2600, number: int, core: SourceMeasureChannel) -> None:
        self.instrument = instrument
        self.number = number
        self.core = core
        self.register = Register()
        self.buffers = (Buffer(_CAPACITY), Buffer(_CAPACITY))
        self._made = 0
        self.sweep = Sweep(self)
        self.reset()
        self.table = Table(
            {
                "source": Table(self._source()),
                "measure": Table(self._measure()),
                "trigger": self.sweep.table,
                "sense": stored(self, "sense", one_of(0, 1)),
                "nvbuffer1": self.buffers[0],
                "nvbuffer2": self.buffers[1],
                "makebuffer": Function(self._make_buffer, 1, 1),
                "savebuffer": Function(lambda *_: None, 1, 1),
                "measureivandstep": Function(lambda level: self._and_step(level, "current", "voltage"), 1, 1),
                "measureiandstep": Function(lambda level: self._and_step(level, "current"), 1, 1),
                "measurevandstep": Function(lambda level: self._and_step(level, "voltage"), 1, 1),
                "reset": Function(self.reset),
                "abort": Function(lambda: None),
                **_CHANNEL_CONSTANTS,
            }
        )

    def reset(self) -> None:
        """`smuX.reset()`."""
        self.core.reset()
        self.core.line_frequency = float(self.instrument.wire.line_frequency)
        self.core.auto_zero = False  # references are measured now and then, not with each reading
        self.core.off_limits = dict(_OFF_LIMITS)
        self.sense = self.off_mode = self.output_word = 0
        self.off_function = 1
        self.source_delay = self.measure_delay = self.interval = 0.0
        self.count = 1
        self.auto_zero = 2
        self.filtering, self.filter_count, self.filter_type = 0, 1, 1
        self.sweep.reset()

    # -- the source -----------------------------------------------------------------------------------------------

    def _source(self) -> dict[str, Value]:
        core = self.core
        members: dict[str, Value] = {
            "func": Attribute(lambda: int(core.function == "voltage"), self._select),
            "output": Attribute(lambda: self.output_word, self._switch),
            "offmode": Attribute(lambda: self.off_mode, self._set_off_mode),
            "offfunc": Attribute(lambda: self.off_function, self._set_off_function),
            "compliance": Attribute(core.at_limit),
            "delay": Attribute(lambda: self.source_delay, self._set_source_delay),
        }
        for quantity, letter in _LETTERS.items():
            members |= self._source_of(quantity, letter)
        return members

    def _source_of(self, quantity: Quantity, letter: str) -> dict[str, Value]:
        core, plain = self.core, number()

        def set_auto(value: Value) -> None:
            with _refusing():
                core.set_source_auto(quantity, bool(one_of(0, 1)(value)))

        def set_range(value: Value) -> None:
            with _refusing():
                core.set_source_range(quantity, abs(plain(value)))

        def set_limit(value: Value) -> None:
            with _refusing():
                core.set_limit(quantity, number(_SMALLEST[quantity])(abs(plain(value))))

        def set_off_limit(value: Value) -> None:
            core.off_limits = {**(core.off_limits or {}), quantity: abs(plain(value))}
            core.set_off_state(core.off_state)

        return {
            f"level{letter}": Attribute(lambda: core.level(quantity), lambda value: self.set_level(quantity, value)),
            f"range{letter}": Attribute(lambda: core.source_range(quantity).full_scale, set_range),
            f"autorange{letter}": Attribute(lambda: int(core.source_auto(quantity)), set_auto),
            f"limit{letter}": Attribute(lambda: core.limits[quantity], set_limit),
            f"offlimit{letter}": Attribute(lambda: (core.off_limits or _OFF_LIMITS)[quantity], set_off_limit),
        }

    def set_level(self, quantity: Quantity, level: Value) -> None:
        """`smuX.source.levelY`, after which the source delay passes. Raises ScpiError."""
        with _refusing():
            self.core.set_level(quantity, number()(level))
        if self.core.output and quantity == self.core.function:
            self.instrument.wire.spend(max(self.source_delay, 0.0))

    def _select(self, value: Value) -> None:
        wanted: Quantity = "voltage" if one_of(0, 1)(value) else "current"
        if wanted != self.core.function:
            with _refusing():
                self.core.select(wanted)
            self.output_word = int(self.core.output)

    def _switch(self, value: Value) -> None:
        self.output_word = one_of(0, 1, 2)(value)
        self.core.set_off_state(OffState.HIGH_IMPEDANCE if self.output_word == 2 else self._off_state)
        self.core.set_output(self.output_word == 1)

    def _set_off_mode(self, value: Value) -> None:
        self.off_mode = one_of(*_OFF_MODES)(value)
        self.core.set_off_state(self._off_state)

    def _set_off_function(self, value: Value) -> None:
        self.off_function = one_of(0, 1)(value)
        self.core.set_off_state(self._off_state)

    @property
    def _off_state(self) -> OffState:
        state = _OFF_MODES[self.off_mode]
        return OffState.GUARD if state is OffState.NORMAL and not self.off_function else state

    def _set_source_delay(self, value: Value) -> None:
        self.source_delay = -1.0 if value == -1 else number(0, 9999)(value)

    # -- the measurement ------------------------------------------------------------------------------------------

    def _measure(self) -> dict[str, Value]:
        core = self.core
        members: dict[str, Value] = {
            "nplc": stored(core, "integration", number(0.001, 25)),
            "count": stored(self, "count", whole(1, _CAPACITY)),
            "interval": stored(self, "interval", number(0, 1)),
            "delay": Attribute(lambda: self.measure_delay, self._set_measure_delay),
            "autozero": stored(self, "auto_zero", one_of(0, 1, 2)),
            "filter": Table(
                {
                    "enable": self._filter("filtering", one_of(0, 1)),
                    "count": self._filter("filter_count", whole(1, 100)),
                    "type": self._filter("filter_type", one_of(0, 1)),
                }
            ),
            "v": Function(lambda *into: self.measure(("voltage",), into)[0], 0, 1),
            "i": Function(lambda *into: self.measure(("current",), into)[0], 0, 1),
            "iv": Function(lambda *into: self.measure(("current", "voltage"), into), 0, 2),
            "r": Function(lambda *into: self._of_both(_ohms, into), 0, 1),
            "p": Function(lambda *into: self._of_both(_watts, into), 0, 1),
        }
        for quantity, letter in _LETTERS.items():
            members |= self._measure_of(quantity, letter)
        return members

    def _measure_of(self, quantity: Quantity, letter: str) -> dict[str, Value]:
        core = self.core

        def set_range(value: Value) -> None:
            with _refusing():
                core.set_sense_range(quantity, abs(number()(value)))

        def set_auto(value: Value) -> None:
            core.set_sense_auto(quantity, bool(one_of(0, 1)(value)))

        return {
            f"range{letter}": Attribute(lambda: core.sense_range(quantity).full_scale, set_range),
            f"autorange{letter}": Attribute(lambda: int(core.sense_auto(quantity)), set_auto),
        }

    def _set_measure_delay(self, value: Value) -> None:
        self.measure_delay = -1.0 if value == -1 else number(0, 9999)(value)

    def _filter(self, name: str, accept: Accept) -> Attribute:
        def write(value: Value) -> None:
            setattr(self, name, accept(value))
            self.core.averaging = self.filter_count if self.filtering else 1
            self.core.moving = bool(self.filtering) and self.filter_type == 0

        return Attribute(lambda: getattr(self, name), write)

    def measure(self, quantities: tuple[Quantity, ...], into: tuple[Value, ...] = ()) -> tuple[float, ...]:
        """`count` readings of `quantities`, one buffer for each where any is named; the last one of each."""
        buffers = [buffer_of(each) for each in into if each is not None]
        for buffer in buffers:
            buffer.begin()
        last: tuple[float, ...] = ()
        for repeat in range(self.count):
            began = self.instrument.wire.now()
            last = self.measure_once(quantities, buffers)
            if repeat + 1 < self.count:
                self.instrument.wire.spend(self.interval - (self.instrument.wire.now() - began))
        return last

    def measure_once(self, quantities: tuple[Quantity, ...], buffers: list[Buffer]) -> tuple[float, ...]:
        """One reading of `quantities`, added to the buffers in the same order."""
        reading = self._reading(*quantities)
        values = tuple(_shown(reading.volts if each == "voltage" else reading.amps) for each in quantities)
        for value, buffer in zip(values, buffers, strict=False):
            buffer.add(value, reading.level, reading.time)
        return values

    def _reading(self, *quantities: Quantity) -> Reading:
        core = self.core
        core.line_frequency = float(self.instrument.wire.line_frequency)
        if core.sensing != frozenset(quantities):
            core.set_sensing(*quantities)
        self.instrument.wire.spend(max(self.measure_delay, 0.0))
        reading = core.measure()
        limit = _VOLTAGE_LIMIT if reading.function == "current" else _CURRENT_LIMIT
        at_limit = reading.limited or reading.range_limited
        self.register.condition = (limit if at_limit else 0) | (_OVERFLOW if reading.overflow else 0)
        self.instrument.sum_up()
        return reading

    def _of_both(self, combined: Callable[[float, float], float], into: tuple[Value, ...]) -> float:
        buffers = [buffer_of(each) for each in into]
        for buffer in buffers:
            buffer.begin()
        value = 0.0
        for _ in range(self.count):
            reading = self._reading("current", "voltage")
            assert reading.volts is not None  # both were asked for
            assert reading.amps is not None
            value = _shown(combined(reading.volts, reading.amps))
            for buffer in buffers:
                buffer.add(value, reading.level, reading.time)
        return value

    def _and_step(self, level: Value, *quantities: Quantity) -> tuple[float, ...]:
        found = self.measure_once(quantities, [])
        self.set_level(self.core.function, level)
        return found

    def _make_buffer(self, capacity: Value) -> Buffer:
        size = whole(1, _MOST_BUFFERED)(capacity)
        if self._made + size > _MOST_BUFFERED:
            raise ScpiError(-225)
        self._made += size
        return Buffer(size)


def _ohms(volts: float, amps: float) -> float:
    return volts / amps if amps and math.isfinite(volts) else math.inf


def _watts(volts: float, amps: float) -> float:
    return volts * amps


def _shown(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else NOT_A_NUMBER


@contextmanager
def _refusing() -> Iterator[None]:
    """What the channel refuses, as an entry of the error queue."""
    try:
        yield
    except BeyondRange:
        raise too_big() from None
    except BeyondPower as problem:
        raise ScpiError(-221, str(problem)) from None


def build(options: dict[str, Any], site: Site) -> Keithley2600:
    """Entry point `labctl.simulators`: the unit of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    given = msgspec.convert(options, Keithley2600Options)
    channels = MODELS[given.model][1]
    return Keithley2600(given, {name: lead_to(given.wired_to.get(name, ""), site) for name in channels})
