"""A two-channel pulse generator in the SCPI of Keysight's 33500B and 33600A waveform generators.

Commands and reset states as in the 33500B/33600A operating and service guide (33500-90901). What gets onto a lead: `DC`
is held; a burst of `PULSe`, once it is triggered, is that many pulses of that level and width, between which the lead
is at the other level; any other waveform, and one that runs on and on, is held at its mean, the offset. Left out:
modulation, sweeps, arbitrary waveforms, edges (a pulse is a rectangle as wide as at half its height), and what the
output's 50 Ohm take from a device that draws current: levels are those of an open circuit.

One trigger for both channels lets the shorter pulse happen within the longer one; their bursts then have to have the
same period and number of cycles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..network import Bias, Lead
from ..scpi import Boolean, Command, Instrument, Keyword, Numeric, ScpiError
from ..scpi.parameters import Parameter
from ..wire import Site
from .wiring import lead_to, one_clock

MODELS: Mapping[str, float] = {"33521B": 30e6, "33522B": 30e6, "33621A": 120e6, "33622A": 120e6}
"""Model -> highest frequency, Hz. An odd one out of two has one channel."""

_IMPEDANCE = 50.0  # Ohm of the output
_MOST = 10.0  # V into an open circuit, either way
_LEAST_AMPLITUDE = 2e-3  # V from peak to peak, into an open circuit
_SHORTEST = 16e-9  # s, a pulse and what is left of its period
_LONGEST_PERIOD = 1e6  # s
_MOST_CYCLES = 100_000
_MOST_AMPS = 0.2  # into a short circuit
_MOST_LOAD = 10e3  # Ohm, beyond which there is only INFinity
_FUNCTIONS = Keyword("SINusoid", "SQUare", "RAMP", "PULSe", "TRIangle", "NOISe", "DC")


class PulseGeneratorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[simulated.NAME]` table. wired_to: channel (`1`, `2`) -> `FIXTURE.LEAD`. serial: its serial number."""

    model: str = "33522B"
    wired_to: dict[str, str] = {}
    serial: str = "MY50000001"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}")
        for name in self.wired_to:
            if name not in self.channels:
                raise ValueError(f"a {self.model} has no channel {name!r}; there are: {', '.join(self.channels)}")

    @property
    def channels(self) -> tuple[str, ...]:
        return ("1",) if self.model[4] == "1" else ("1", "2")


class Channel:
    """One output. Levels are kept as those of an open circuit, V; `load` is what they are told for, Ohm."""

    def __init__(self, lead: Lead) -> None:
        self.lead = lead
        self.reset()

    def reset(self) -> None:
        self.function = "SIN"
        self.load = _IMPEDANCE
        self.high, self.low = 0.1, -0.1
        self.period, self.width = 1e-3, 1e-4
        self.edges = [1e-8, 1e-8]
        self.phase = 0.0
        self.inverted = False
        self.burst = False
        self.cycles = 1.0
        self.source = "IMM"
        self.output = False
        self.drive()

    def drive(self) -> None:
        """Hold on the lead what is there while no pulse is."""
        self.lead.hold(Bias("voltage", self.rest, _MOST_AMPS) if self.output else None)

    @property
    def pulses(self) -> bool:
        """Whether a trigger makes it give pulses."""
        return self.burst and self.function == "PULS"

    @property
    def rest(self) -> float:
        """V between pulses."""
        return (self.high if self.inverted else self.low) if self.pulses else (self.high + self.low) / 2

    @property
    def peak(self) -> float:
        """V of a pulse."""
        return self.low if self.inverted else self.high

    @property
    def told(self) -> float:
        """Of a level, the part that is at a load of that size."""
        return 1.0 if math.isinf(self.load) else self.load / (self.load + _IMPEDANCE)

    def set_levels(self, high: float, low: float) -> None:
        """Of an open circuit. Raises ScpiError."""
        if max(abs(high), abs(low)) > _MOST * (1 + 1e-9):
            raise ScpiError(-222, f"{max(abs(high), abs(low)) * self.told:.4g} V is beyond {_MOST * self.told:.4g} V")
        if high - low < _LEAST_AMPLITUDE * (1 - 1e-9) and self.function != "DC":
            raise ScpiError(-221, "the high level has to be above the low one")
        self.high, self.low = high, low
        self.drive()

    def fit_width(self) -> None:
        """Make the pulse fit into its period. Raises ScpiError where it had to be made shorter, as the model does."""
        longest = self.period - _SHORTEST
        if self.width > longest * (1 + 1e-9):
            self.width = longest
            raise ScpiError(-221, "pulse width decreased due to period")


class PulseGenerator:
    """The instrument, switched on."""

    def __init__(self, options: PulseGeneratorOptions, leads: Sequence[Lead]) -> None:
        self.clock = one_clock(leads)
        self.channels = [Channel(lead) for lead in leads]
        self._top = MODELS[options.model]
        self._suffix = f"<1:{len(leads)}>"
        self.wire = Instrument(
            ("Agilent Technologies", options.model, options.serial, "2.09-1.19-2.00-52-00"),
            [*self._levels(), *self._times(), *self._bursts(), *self._outputs()],
            on_reset=self._reset,
        )

    def close(self) -> None:
        with self.wire.lock:
            for channel in self.channels:
                channel.lead.hold(None)

    def _reset(self) -> None:
        for channel in self.channels:
            channel.reset()

    # -- commands -------------------------------------------------------------------------------------------------

    def _levels(self) -> list[Command]:
        source = f"[:SOURce{self._suffix}]"
        volts = Numeric(unit="V", minimum=-_MOST, maximum=_MOST)

        def amplitude(channel: Channel, value: float) -> None:
            middle, half = (channel.high + channel.low) / 2, value / channel.told / 2
            channel.set_levels(middle + half, middle - half)

        def offset(channel: Channel, value: float) -> None:
            half = (channel.high - channel.low) / 2
            channel.set_levels(value / channel.told + half, value / channel.told - half)

        return [
            self._command(f"{source}:FUNCtion", _FUNCTIONS, "function", drives=True),
            self._made(f"{source}:VOLTage", Numeric(unit="V", minimum=0.0, maximum=2 * _MOST), amplitude,
                       lambda each: (each.high - each.low) * each.told),
            self._made(f"{source}:VOLTage:OFFSet", volts, offset, lambda each: (each.high + each.low) / 2 * each.told),
            self._made(f"{source}:VOLTage:HIGH", volts,
                       lambda each, value: each.set_levels(value / each.told, each.low),
                       lambda each: each.high * each.told),
            self._made(f"{source}:VOLTage:LOW", volts,
                       lambda each, value: each.set_levels(each.high, value / each.told),
                       lambda each: each.low * each.told),
            _fixed(f"{source}:VOLTage:UNIT", "VPP", "VPP"),
        ]  # fmt: skip

    def _times(self) -> list[Command]:
        source = f"[:SOURce{self._suffix}]"
        shortest = 1 / self._top

        def period(channel: Channel, seconds: float) -> None:
            channel.period = seconds
            channel.fit_width()

        def width(channel: Channel, seconds: float) -> None:
            channel.width = seconds
            channel.fit_width()

        def edge(which: int) -> tuple[Any, Any]:
            def write(channel: Channel, seconds: float) -> None:
                channel.edges[which] = seconds

            return write, lambda each: each.edges[which]

        def both(channel: Channel, seconds: float) -> None:
            channel.edges[:] = [seconds, seconds]

        times = Numeric(unit="S", minimum=shortest, maximum=_LONGEST_PERIOD)
        widths = Numeric(unit="S", minimum=_SHORTEST, maximum=_LONGEST_PERIOD)
        edges = Numeric(unit="S", minimum=2.9e-9, maximum=1e-6)
        hertz = Numeric(unit="HZ", minimum=1 / _LONGEST_PERIOD, maximum=self._top)
        transition = f"{source}:FUNCtion:PULSe:TRANsition"
        return [
            self._made(f"{source}:FREQuency", hertz, lambda each, value: period(each, 1 / value),
                       lambda each: 1 / each.period),
            self._made(f"{source}:FUNCtion:PULSe:PERiod", times, period, lambda each: each.period),
            self._made(f"{source}:PULSe:PERiod", times, period, lambda each: each.period),
            self._made(f"{source}:FUNCtion:PULSe:WIDTh", widths, width, lambda each: each.width),
            self._made(f"{source}:PULSe:WIDTh", widths, width, lambda each: each.width),
            self._made(f"{transition}:BOTH", edges, both, None),
            self._made(f"{transition}[:LEADing]", edges, *edge(0)),
            self._made(f"{transition}:TRAiling", edges, *edge(1)),
            self._command(f"{source}:PHASe", Numeric(minimum=-360.0, maximum=360.0), "phase"),
        ]  # fmt: skip

    def _bursts(self) -> list[Command]:
        source = f"[:SOURce{self._suffix}]"
        cycles = Numeric(minimum=1, infinite=True)

        def count(channel: Channel, value: float) -> None:
            if not math.isinf(value) and value > _MOST_CYCLES:
                raise ScpiError(-222, f"{value:g} is above {_MOST_CYCLES}")
            channel.cycles = value if math.isinf(value) else round(value)

        return [
            self._command(f"{source}:BURSt[:STATe]", Boolean(), "burst", drives=True),
            _fixed(f"{source}:BURSt:MODE", "TRIGgered", "TRIG"),
            self._made(f"{source}:BURSt:NCYCles", cycles, count, lambda each: float(each.cycles)),
            self._command(f"TRIGger{self._suffix}:SOURce", Keyword("IMMediate", "EXTernal", "TIMer", "BUS"), "source"),
            Command(f"TRIGger{self._suffix}[:IMMediate]", set=lambda number: self._trigger([self._channel(number)])),
            Command("*TRG", set=lambda: self._trigger([each for each in self.channels if each.source == "BUS"])),
            Command("ABORt", set=lambda: None),
        ]

    def _outputs(self) -> list[Command]:
        output = f"OUTPut{self._suffix}"
        ohms = Numeric(unit="OHM", minimum=1.0, infinite=True)

        def load(channel: Channel, value: float) -> None:
            if _MOST_LOAD < value < math.inf:
                raise ScpiError(-222, f"{value:g} is above {_MOST_LOAD:g} OHM")
            channel.load = value

        return [
            self._command(f"{output}[:STATe]", Boolean(), "output", drives=True),
            self._made(f"{output}:LOAD", ohms, load, lambda each: each.load),
            self._made(f"{output}:POLarity", Keyword("NORMal", "INVerted"), _set_polarity,
                       lambda each: "INV" if each.inverted else "NORM"),
            _fixed("UNIT:ANGLe", "DEGree", "DEG"),
        ]  # fmt: skip

    def _channel(self, number: int) -> Channel:
        return self.channels[number - 1]

    def _command(self, header: str, parameter: Parameter, name: str, drives: bool = False) -> Command:
        """A setting that is an attribute of a channel. drives: the lead has to follow."""

        def store(channel: Channel, value: Any) -> None:
            setattr(channel, name, value)
            if drives:
                channel.drive()

        return self._made(header, parameter, store, lambda each: getattr(each, name))

    def _made(self, header: str, parameter: Parameter, write: Any, read: Any) -> Command:
        """A setting of a channel, written and read by two functions of it."""

        def store(number: int, value: Any) -> None:
            write(self._channel(number), value)

        def recall(number: int, bound: str | None = None) -> Any:
            if bound is None:
                return read(self._channel(number))
            found = parameter.bound(bound) if isinstance(parameter, Numeric) else None
            if found is None:
                raise ScpiError(-224, bound)
            return found

        bounds = (Keyword("MINimum", "MAXimum", optional=True),) if isinstance(parameter, Numeric) else ()
        query = recall if read is not None else None
        return Command(header, set=store, query=query, parameters=(parameter,), query_parameters=bounds)

    # -- pulses ---------------------------------------------------------------------------------------------------

    def _trigger(self, wanted: Sequence[Channel]) -> None:
        """Give the bursts of these channels. Raises ScpiError -211 where there are none to give."""
        given = [each for each in wanted if each.pulses]
        if not given:
            raise ScpiError(-211, "no burst of pulses is set up")
        if any(math.isinf(each.cycles) for each in given):
            raise ScpiError(-221, "a burst without end cannot be given here")
        if len({(each.cycles, each.period) for each in given}) > 1:
            raise ScpiError(-221, "bursts of both channels have to have the same period and number of cycles")
        period, longest = given[0].period, max(each.width for each in given)
        for _ in range(int(given[0].cycles)):
            self._cycle([each for each in given if each.output], longest)
            self.clock.spend(period - longest)

    def _cycle(self, given: Sequence[Channel], longest: float) -> None:
        """One pulse of each, which begin together."""
        if not given:
            self.clock.spend(longest)
            return
        last, *others = sorted(given, key=lambda each: each.width)
        for each in others:
            each.lead.hold(Bias("voltage", each.peak, _MOST_AMPS))
        last.lead.pulse(last.peak, last.width)
        passed = last.width
        for each in others:
            self.clock.spend(each.width - passed)
            passed = each.width
            each.drive()
        self.clock.spend(longest - passed)


def _fixed(header: str, word: str, answer: str) -> Command:
    """A setting that has one value."""
    return Command(header, set=lambda *_: None, query=lambda *_: answer, parameters=(Keyword(word),))


def _set_polarity(channel: Channel, word: str) -> None:
    channel.inverted = word == "INV"
    channel.drive()


def build(options: dict[str, Any], site: Site) -> PulseGenerator:
    """Entry point `labctl.simulators`: that of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    given = msgspec.convert(options, PulseGeneratorOptions)
    return PulseGenerator(given, [lead_to(given.wired_to.get(name, ""), site) for name in given.channels])
