"""SENSe of the 2400: functions, ranges, compliance, integration, filter, and resistance."""

from __future__ import annotations

from collections.abc import Iterator

from ..scpi import Boolean, Command, Keyword, Numeric, ScpiError, Text, setting
from .keithley import FUNCTIONS, QUANTITY_OF, WORDS, function_named, nr3, refusing, value
from .keithley_2400_source import AUTO_OHMS, POWER, reach
from .keithley_2400_specifications import LARGEST, RATINGS
from .keithley_ohms import OVER, TEST_CURRENTS, TEST_LIMIT, Ohms
from .source_measure import Quantity, Range, SourceMeasureChannel, unit

_SMALLEST_LIMIT = 1e-3  # of the measurement range
_ROUNDING = 1 + 1e-9
_CYCLES = Numeric(minimum=0.01, maximum=10.0, default=1.0)
_COUNT = Numeric(integer=True, minimum=1, maximum=100, default=10)


class Sense:
    """The subsystem's settings. functions: those that are on. concurrent: several may be."""

    def __init__(self, channel: SourceMeasureChannel) -> None:
        self.channel = channel
        self.reset()

    def reset(self) -> None:
        self.functions = {"CURR"}
        self.concurrent = True
        self.ohms = Ohms()
        self.filter, self.filter_count = False, 10
        self.channel.set_sensing("current")

    def configure(self, short: str) -> None:
        """What CONFigure does to a function: it is on, and its settings are the first ones."""
        self.channel.integration = 1.0
        if short == "RES":
            self.ohms = Ohms()
        elif QUANTITY_OF[short] != self.channel.function:
            self.channel.set_sense_auto(QUANTITY_OF[short], True)
        if not self.concurrent:
            self.functions = set()
        self._set_functions(self.functions | {short})

    def commands(self) -> Iterator[Command]:
        for quantity in WORDS:
            yield from self._sense_side(quantity)
        yield from self._sense_commands()
        yield from self._ohms_commands()

    @property
    def automatic_ohms(self) -> bool:
        """The resistance function is on, and decides the source."""
        return "RES" in self.functions and self.ohms.automatic

    def _sense_side(self, quantity: Quantity) -> list[Command]:
        channel, header = self.channel, f"[:SENSe]:{WORDS[quantity]}[:DC]"
        most, letter = LARGEST[quantity], unit(quantity)
        magnitude = Numeric(unit=letter, minimum=-most, maximum=most, default=RATINGS.first_ranges[quantity])
        limit = Numeric(unit=letter, minimum=-most, maximum=most, default=RATINGS.first_limits[quantity])

        def set_range(wanted: float) -> None:
            if quantity == channel.function:
                raise ScpiError(823, "Invalid with source read-back on")
            with refusing(POWER):
                chosen = RATINGS.range_for(quantity, wanted, RATINGS.source_reach)
                if chosen.full_scale > self._limit_range(quantity).full_scale:
                    raise ScpiError(824, "Cannot exceed compliance range")
                channel.set_sense_range(quantity, chosen.full_scale)

        def set_limit(wanted: float) -> None:
            if quantity != channel.function and not channel.sense_auto(quantity):
                smallest = _SMALLEST_LIMIT * channel.sense_range(quantity).full_scale
                if abs(wanted) < smallest / _ROUNDING:
                    raise ScpiError(822, "Too small for sense range")
            if self.automatic_ohms:
                raise ScpiError(*AUTO_OHMS)
            with refusing(POWER):
                channel.set_limit(quantity, wanted)

        def set_auto(on: bool) -> None:
            channel.set_sense_auto(quantity, on)

        return [
            value(f"{header}:RANGe[:UPPer]", magnitude, lambda: reach(channel.sense_range(quantity)), set_range),
            value(f"{header}:RANGe:AUTO", Boolean(), lambda: channel.sense_auto(quantity), set_auto),
            setting(f"{header}:NPLCycles", _CYCLES, channel, "integration"),
            value(f"{header}:PROTection[:LEVel]", limit, lambda: channel.limits[quantity], set_limit),
            Command(f"{header}:PROTection:TRIPped", query=lambda: self._tripped(quantity)),
        ]

    def _limit_range(self, quantity: Quantity) -> Range:
        return RATINGS.range_for(quantity, self.channel.limits[quantity], RATINGS.source_reach)

    def _tripped(self, quantity: Quantity) -> bool:
        return quantity != self.channel.function and self.channel.at_limit()

    def _sense_commands(self) -> list[Command]:
        names = Text(repeat=True)
        return [
            Command("[:SENSe]:FUNCtion[:ON]", set=self._functions_on, query=self.listed, parameters=(names,)),
            Command("[:SENSe]:FUNCtion[:ON]:ALL", set=lambda: self._functions_on(*FUNCTIONS)),
            Command("[:SENSe]:FUNCtion[:ON]:COUNt", query=lambda: len(self.functions)),
            Command(
                "[:SENSe]:FUNCtion:OFF",
                set=self._functions_off,
                query=lambda: ",".join(name for short, name in FUNCTIONS.items() if short not in self.functions),
                parameters=(names,),
            ),
            Command("[:SENSe]:FUNCtion:OFF:ALL", set=lambda: self._functions_off(*FUNCTIONS)),
            value("[:SENSe]:FUNCtion:CONCurrent", Boolean(), lambda: self.concurrent, self._set_concurrent),
            value("[:SENSe]:AVERage[:STATe]", Boolean(), lambda: self.filter, self._set_filter),
            value("[:SENSe]:AVERage:COUNt", _COUNT, lambda: self.filter_count, self._set_filter_count),
            value(
                "[:SENSe]:AVERage:TCONtrol",
                Keyword("REPeat", "MOVing"),
                lambda: "MOV" if self.channel.moving else "REP",
                self._set_filter_kind,
            ),
        ]

    def _functions_on(self, *names: str) -> None:
        chosen = {function_named(name) for name in names}
        if not self.concurrent:
            if len(chosen) > 1:
                raise ScpiError(-221, "concurrent measurements are off")
            self.functions = set()
        self._set_functions(self.functions | chosen)

    def _functions_off(self, *names: str) -> None:
        self._set_functions(self.functions - {function_named(name) for name in names})

    def listed(self) -> str:
        return ",".join(name for short, name in FUNCTIONS.items() if short in self.functions) or '""'

    def _set_concurrent(self, on: bool) -> None:
        self.concurrent = on
        if not on and len(self.functions) > 1:
            self._set_functions({next(short for short in FUNCTIONS if short in self.functions)})

    def _set_functions(self, functions: set[str]) -> None:
        self.functions = functions
        self._apply_functions()

    def _apply_functions(self) -> None:
        """Have the channel measure what is asked for. The automatic ohms method takes over the source."""
        wanted = {QUANTITY_OF[each] for each in self.functions if each in QUANTITY_OF}
        if "RES" in self.functions:
            wanted |= {"voltage"} if self.ohms.automatic else {"voltage", "current"}
        self.channel.set_sensing(*wanted)
        if self.automatic_ohms:
            on = self.channel.output
            with refusing(POWER):
                self.channel.set_limit("voltage", TEST_LIMIT)
                self.channel.set_source_auto("current", True)
                self.channel.set_level("current", TEST_CURRENTS[self.ohms.full_scale])
                self.channel.select("current")
            self.channel.set_output(on)

    def _set_filter(self, on: bool) -> None:
        self.filter = on
        self.channel.averaging = self.filter_count if on else 1

    def _set_filter_count(self, count: int) -> None:
        self.filter_count = count
        self._set_filter(self.filter)

    def _set_filter_kind(self, word: str) -> None:
        self.channel.moving = word == "MOV"

    def _ohms_commands(self) -> list[Command]:
        header = "[:SENSe]:RESistance"
        magnitude = Numeric(unit="OHM", minimum=0.0, maximum=max(TEST_CURRENTS) * OVER, default=2e5)

        def set_mode(word: str) -> None:
            self.ohms.automatic = word == "AUTO"
            self._apply_functions()

        def set_auto(on: bool) -> None:
            self.ohms.auto_range = on

        def set_range(most: float) -> None:
            self.ohms.choose(most)
            if self.automatic_ohms:
                self._apply_functions()

        return [
            value(
                f"{header}:MODE", Keyword("AUTO", "MANual"), lambda: "AUTO" if self.ohms.automatic else "MAN", set_mode
            ),
            value(f"{header}:RANGe[:UPPer]", magnitude, lambda: float(nr3(self.ohms.full_scale * OVER)), set_range),
            value(f"{header}:RANGe:AUTO", Boolean(), lambda: self.ohms.auto_range, set_auto),
            setting(f"{header}:NPLCycles", _CYCLES, self.channel, "integration"),
        ]
