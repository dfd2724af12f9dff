"""What is set on the 2450: source and measurement functions, ranges, limits, delays, the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..scpi import Boolean, Command, Keyword, Numeric, ScpiError, Text, setting
from ..scpi.parameters import Parameter
from .keithley import FUNCTIONS, OFF_STATES, QUANTITY_OF, WORDS, function_named, refusing, value
from .keithley_2450_specifications import AUTO_DELAY, POWER, RATINGS, amount
from .keithley_ohms import OVER, TEST_CURRENTS, TEST_LIMIT, Ohms
from .source_measure import OTHER, Quantity, SourceMeasureChannel

HEADERS = {"VOLT": "VOLTage[:DC]", "CURR": "CURRent[:DC]", "RES": "RESistance"}
_LIMITS: dict[Quantity, str] = {"voltage": "ILIMit", "current": "VLIMit"}
"""What is sourced -> the node of the limit of the other quantity."""
_UNITS_OF = {"VOLT": ("VOLT", "OHM", "WATT"), "CURR": ("AMP", "OHM", "WATT"), "RES": ("OHM",)}
_DELAY = Numeric(unit="S", minimum=0.0, maximum=1e4, default=0.0)
_CYCLES = Numeric(minimum=0.01, maximum=10.0, default=1.0)


@dataclass(slots=True)
class Sense:
    """The settings of one measurement function. unit: what its reading is given in."""

    unit: str
    cycles: float = 1.0
    auto_zero: bool = True
    average: bool = False
    average_count: int = 10
    average_kind: str = "REP"
    four_wires: bool = False
    digits: int = 6
    user_delays: list[float] = field(default_factory=lambda: [0.0] * 5)


@dataclass(slots=True)
class Source:
    """The settings of one source function, besides those of the channel."""

    delay: float = AUTO_DELAY
    auto_delay: bool = True
    readback: bool = True
    high_capacitance: bool = False
    off_state: str = "NORM"
    listed: list[float] = field(default_factory=lambda: [0.0])
    user_delays: list[float] = field(default_factory=lambda: [0.0] * 5)


class Settings:
    """All of them, and what the channel makes of them.

    function: VOLT, CURR or RES, what is measured. count: readings to a measurement. senses, sources: the settings of
    each function. terminals: FRON or REAR.
    """

    def __init__(self, channel: SourceMeasureChannel, line_frequency: float) -> None:
        self.channel = channel
        self._mains = line_frequency
        self.reset()

    def reset(self) -> None:
        self.channel.line_frequency = self._mains
        self.ohms = Ohms()
        self.function = "CURR"
        self.count = 1
        self.senses = {"VOLT": Sense("VOLT"), "CURR": Sense("AMP"), "RES": Sense("OHM")}
        self.sources: dict[Quantity, Source] = {"voltage": Source(), "current": Source()}
        self.terminals = "FRON"
        self._arrange()

    @property
    def sense(self) -> Sense:
        """The settings of the present measurement function."""
        return self.senses[self.function]

    @property
    def source(self) -> Source:
        """The settings of the present source function."""
        return self.sources[self.channel.function]

    def commands(self) -> Iterator[Command]:
        for quantity in WORDS:
            yield from self._source_commands(quantity)
        for short, quantity in QUANTITY_OF.items():
            yield from self._range_commands(short, quantity)
        for short in FUNCTIONS:
            yield from self._sense_commands(short)
        yield from self._ohms_commands()
        yield from self._function_commands()
        yield from self._output_commands()

    def _source_commands(self, quantity: Quantity) -> list[Command]:
        channel, header = self.channel, f"SOURce:{WORDS[quantity]}"
        other = OTHER[quantity]
        level = amount(quantity, 0.0)
        limit = amount(other, RATINGS.first_limits[other])
        limited = f"{header}:{_LIMITS[quantity]}[:LEVel]"

        def own(node: str, parameter: Parameter, attribute: str) -> Command:
            return self._attribute(f"{header}:{node}", parameter, lambda: self.sources[quantity], attribute)

        def set_delay(seconds: float) -> None:
            self.sources[quantity].delay, self.sources[quantity].auto_delay = seconds, False

        return [
            value(
                f"{header}[:LEVel][:IMMediate][:AMPLitude]",
                level,
                lambda: channel.level(quantity),
                self._refusing(channel.set_level, quantity),
            ),
            value(
                f"{header}:RANGe",
                amount(quantity, RATINGS.first_ranges[quantity]),
                lambda: channel.source_range(quantity).full_scale,
                self._refusing(channel.set_source_range, quantity),
            ),
            value(
                f"{header}:RANGe:AUTO",
                Boolean(),
                lambda: channel.source_auto(quantity),
                self._refusing(channel.set_source_auto, quantity),
            ),
            value(limited, limit, lambda: channel.limits[other], self._refusing(channel.set_limit, other)),
            Command(f"{limited}:TRIPped", query=lambda: quantity == channel.function and channel.at_limit()),
            value(f"{header}:DELay", _DELAY, lambda: self.sources[quantity].delay, set_delay),
            own("DELay:AUTO", Boolean(), "auto_delay"),
            own("READ:BACK", Boolean(), "readback"),
            own("HIGH:CAPacitance", Boolean(), "high_capacitance"),
            *self._user_delays(header, lambda: self.sources[quantity].user_delays),
        ]

    def _refusing(self, act: Callable[[Quantity, Any], None], quantity: Quantity) -> Callable[[Any], None]:
        """`act` on `quantity`, unless the ohms function decides the source, or the channel refuses."""

        def carry_out(wanted: Any) -> None:
            if self.function == "RES" and quantity == "current" and act != self.channel.set_limit:
                raise ScpiError(-221, "the resistance function decides the source")
            with refusing(POWER):
                act(quantity, wanted)

        return carry_out

    def _user_delays(self, header: str, owner: Callable[[], list[float]]) -> list[Command]:
        def store(number: int, seconds: float) -> None:
            owner()[number - 1] = seconds

        return [
            Command(
                f"{header}:DELay:USER<1:5>",
                set=store,
                query=lambda number: owner()[number - 1],
                parameters=(_DELAY,),
            )
        ]

    def _attribute(self, header: str, parameter: Parameter, owner: Callable[[], Any], attribute: str) -> Command:
        """A setting kept as an attribute of what `*RST` makes anew."""

        def write(wanted: Any) -> None:
            setattr(owner(), attribute, wanted)
            self._arrange()

        return value(header, parameter, lambda: getattr(owner(), attribute), write)

    # -- the measurement --------------------------------------------------------------------------------------

    def _sense_commands(self, short: str) -> list[Command]:
        header = f"[:SENSe]:{HEADERS[short]}"

        def own(node: str, parameter: Parameter, attribute: str) -> Command:
            return self._attribute(f"{header}:{node}", parameter, lambda: self.senses[short], attribute)

        return [
            own("NPLCycles", _CYCLES, "cycles"),
            own("AZERo[:STATe]", Boolean(), "auto_zero"),
            own("AVERage[:STATe]", Boolean(), "average"),
            own("AVERage:COUNt", Numeric(integer=True, minimum=1, maximum=100, default=10), "average_count"),
            own("AVERage:TCONtrol", Keyword("REPeat", "MOVing"), "average_kind"),
            own("RSENse", Boolean(), "four_wires"),
            own("UNIT", Keyword(*_UNITS_OF[short]), "unit"),
            *self._user_delays(header, lambda: self.senses[short].user_delays),
            self._attribute(
                f"DISPlay:{HEADERS[short]}:DIGits",
                Numeric(integer=True, minimum=3, maximum=6, default=6),
                lambda: self.senses[short],
                "digits",
            ),
        ]

    def _range_commands(self, short: str, quantity: Quantity) -> list[Command]:
        channel, header = self.channel, f"[:SENSe]:{HEADERS[short]}:RANGe"

        def set_range(wanted: float) -> None:
            with refusing(POWER):
                chosen = RATINGS.range_for(quantity, wanted, RATINGS.source_reach)
                channel.set_sense_range(quantity, chosen.full_scale)

        def set_auto(on: bool) -> None:
            channel.set_sense_auto(quantity, on)

        return [
            value(
                f"{header}[:UPPer]",
                amount(quantity, RATINGS.first_ranges[quantity]),
                lambda: channel.sense_range(quantity).full_scale,
                set_range,
            ),
            value(f"{header}:AUTO", Boolean(), lambda: channel.sense_auto(quantity), set_auto),
        ]

    def _ohms_commands(self) -> list[Command]:
        header = "[:SENSe]:RESistance:RANGe"
        most = Numeric(unit="OHM", minimum=0.0, maximum=max(TEST_CURRENTS) * OVER, default=2e5)

        def set_range(wanted: float) -> None:
            self.ohms.choose(wanted)
            self._arrange()

        def set_auto(on: bool) -> None:
            self.ohms.auto_range = on

        return [
            value(f"{header}[:UPPer]", most, lambda: self.ohms.full_scale, set_range),
            value(f"{header}:AUTO", Boolean(), lambda: self.ohms.auto_range, set_auto),
        ]

    def _function_commands(self) -> list[Command]:
        count = Numeric(integer=True, minimum=1, maximum=300_000, default=1)
        return [
            value("[:SENSe]:FUNCtion[:ON]", Text(), lambda: FUNCTIONS[self.function], self.set_function),
            value(
                "SOURce:FUNCtion[:MODE]",
                Keyword("VOLTage", "CURRent"),
                lambda: WORDS[self.channel.function][:4],
                self._set_source_function,
            ),
            setting("[:SENSe]:COUNt", count, self, "count"),
            Command("[:SENSe]:AZERo:ONCE", set=self._auto_zero_once),
        ]

    def set_function(self, name: str) -> None:
        self.function = function_named(name)
        self._arrange()

    def _set_source_function(self, word: str) -> None:
        if self.function == "RES":
            raise ScpiError(-221, "the resistance function decides the source")
        with refusing(POWER):
            self.channel.select(QUANTITY_OF[word])
        self._arrange()

    def _auto_zero_once(self) -> None:
        self.channel.lead.clock.spend(2 * self.senses[self.function].cycles / self.channel.line_frequency)

    def _arrange(self) -> None:
        """Have the channel do what the settings of the present functions ask for."""
        channel, sense = self.channel, self.sense
        if self.function == "RES" and channel.function != "current":
            on = channel.output
            with refusing(POWER):
                channel.set_limit("voltage", TEST_LIMIT)
                channel.set_source_auto("current", True)
                channel.set_level("current", TEST_CURRENTS[self.ohms.full_scale])
                channel.select("current")
            channel.set_output(on)
        channel.integration, channel.auto_zero = sense.cycles, sense.auto_zero
        channel.averaging = sense.average_count if sense.average else 1
        channel.moving = sense.average_kind == "MOV"
        source = self.source  # now that the function is settled
        measured = QUANTITY_OF.get(self.function, "voltage")
        needed = {measured, channel.function} if source.readback or sense.unit in ("OHM", "WATT") else {measured}
        channel.set_sensing(*needed)
        channel.set_off_state(OFF_STATES[source.off_state])

    # -- the output -------------------------------------------------------------------------------------------

    def _output_commands(self) -> list[Command]:
        channel = self.channel
        states = Keyword("HIMPedance", "NORMal", "ZERO", "GUARd")
        return [
            value("OUTPut[:STATe]", Boolean(), lambda: channel.output, channel.set_output),
            self._attribute("OUTPut:VOLTage:SMODe", states, lambda: self.sources["voltage"], "off_state"),
            self._attribute("OUTPut:CURRent:SMODe", states, lambda: self.sources["current"], "off_state"),
            value("ROUTe:TERMinals", Keyword("FRONt", "REAR"), lambda: self.terminals, self._set_terminals),
        ]

    def _set_terminals(self, word: str) -> None:
        if word != self.terminals:
            self.channel.set_output(False)
        self.terminals = word
