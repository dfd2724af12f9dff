"""SOURce of the 2400: levels, ranges, delays, sweeps and lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..scpi import Boolean, Command, Keyword, Numeric, ScpiError, setting
from ..scpi.parameters import Parameter
from .keithley import QUANTITY_OF, WORDS, nr3, refusing, value
from .keithley_2400_specifications import AUTO_DELAY, LARGEST, RATINGS
from .keithley_2400_sweep import LONGEST_LIST, Sweep
from .source_measure import Quantity, Range, SourceMeasureChannel, unit

AUTO_OHMS = (825, "Invalid with auto-ohms on")
POWER = (826, "Attempt to exceed power limit")
_SECONDS = Numeric(unit="S", minimum=0.0, maximum=999.9999, default=0.0)


class Source:
    """The subsystem's settings.

    sweeps: what each quantity's levels are. delay: s from a level to its measurement; auto_delay: the instrument's own
    instead. clears_output: the output is on for measurements only.
    """

    def __init__(self, channel: SourceMeasureChannel, decided_elsewhere: Callable[[], bool]) -> None:
        """decided_elsewhere: whether the automatic ohms method has the source."""
        self.channel = channel
        self._decided_elsewhere = decided_elsewhere
        self.reset()

    def reset(self) -> None:
        self.sweeps: dict[Quantity, Sweep] = {"voltage": Sweep(), "current": Sweep()}
        self.delay, self.auto_delay = AUTO_DELAY, True
        self.clears_output = False
        self._levels: list[float] = [0.0]

    @property
    def settling(self) -> float:
        """s from a level to its measurement."""
        return AUTO_DELAY if self.auto_delay else self.delay

    def begin(self) -> None:
        """A run of the trigger model begins: its levels are settled. Raises ScpiError where there are none."""
        function = self.channel.function
        sweep = self.sweeps[function]
        self._levels = sweep.levels().tolist()
        if sweep.mode != "FIX" and sweep.ranging != "FIX":
            with refusing(POWER):
                self.channel.set_source_auto(function, True)

    def go_to(self, point: int) -> None:
        """To the level of a point; after the last one it begins anew. Raises as the channel does."""
        function, level = self.channel.function, self._levels[point % len(self._levels)]
        sweep = self.sweeps[function]
        best = max(map(abs, self._levels)) if sweep.mode != "FIX" and sweep.ranging == "BEST" else 0.0
        if level != self.channel.level(function) or best:
            self.channel.set_level(function, level, best)
        if sweep.mode == "FIX":
            sweep.level = level

    def commands(self) -> Iterator[Command]:
        yield from self._source_commands()
        for quantity in WORDS:
            yield from self._source_side(quantity)
            yield from self._sweep_commands(quantity)
            yield from self._list_commands(quantity)

    @contextmanager
    def _sourcing(self) -> Iterator[None]:
        """Around what the automatic ohms method decides itself, and what the channel may refuse."""
        if self._decided_elsewhere():
            raise ScpiError(*AUTO_OHMS)
        with refusing(POWER):
            yield

    def _source_commands(self) -> list[Command]:
        return [
            value("SOURce:FUNCtion[:MODE]", Keyword("VOLTage", "CURRent"), self._source_function, self._select),
            value("SOURce:DELay", _SECONDS, lambda: self.delay, self._set_delay),
            setting("SOURce:DELay:AUTO", Boolean(), self, "auto_delay"),
            setting("SOURce:CLEar:AUTO", Boolean(), self, "clears_output"),
            Command("SOURce:CLEar[:IMMediate]", set=lambda: self.channel.set_output(False)),
            self._of_sweeps("POINts", Numeric(integer=True, minimum=1, maximum=LONGEST_LIST, default=2500), "points"),
            self._of_sweeps("SPACing", Keyword("LINear", "LOGarithmic"), "spacing"),
            self._of_sweeps("DIRection", Keyword("UP", "DOWN"), "direction"),
            self._of_sweeps("RANGing", Keyword("BEST", "AUTO", "FIXed"), "ranging"),
        ]

    def _of_sweeps(self, node: str, parameter: Parameter, attribute: str) -> Command:
        """A setting that both quantities' sweeps share."""

        def write(wanted: Any) -> None:
            for sweep in self.sweeps.values():
                setattr(sweep, attribute, wanted)

        return value(
            f"SOURce:SWEep:{node}", parameter, lambda: getattr(self.sweeps[self.channel.function], attribute), write
        )

    def _source_function(self) -> str:
        return WORDS[self.channel.function][:4]

    def _select(self, word: str) -> None:
        with self._sourcing():
            self.channel.select(QUANTITY_OF[word])

    def _set_delay(self, seconds: float) -> None:
        self.delay, self.auto_delay = seconds, False

    def _source_side(self, quantity: Quantity) -> list[Command]:
        channel, header = self.channel, f"SOURce:{WORDS[quantity]}"
        most = LARGEST[quantity]
        level = Numeric(unit=unit(quantity), minimum=-most, maximum=most, default=0.0)
        magnitude = Numeric(unit=unit(quantity), minimum=-most, maximum=most, default=RATINGS.first_ranges[quantity])

        def set_level(wanted: float) -> None:
            with self._sourcing():
                channel.set_level(quantity, wanted)
            self.sweeps[quantity].level = self.sweeps[quantity].triggered = wanted

        def set_triggered(wanted: float) -> None:
            self.sweeps[quantity].triggered = wanted

        def set_range(wanted: float) -> None:
            with self._sourcing():
                channel.set_source_range(quantity, wanted)

        def set_auto(on: bool) -> None:
            with self._sourcing():
                channel.set_source_auto(quantity, on)

        fixed = f"{header}[:LEVel][:IMMediate][:AMPLitude]"
        return [
            value(fixed, level, lambda: self.sweeps[quantity].level, set_level),
            value(
                f"{header}[:LEVel]:TRIGgered[:AMPLitude]",
                level,
                lambda: self.sweeps[quantity].triggered,
                set_triggered,
            ),
            value(f"{header}:RANGe", magnitude, lambda: reach(channel.source_range(quantity)), set_range),
            value(f"{header}:RANGe:AUTO", Boolean(), lambda: channel.source_auto(quantity), set_auto),
        ]

    def _sweep_commands(self, quantity: Quantity) -> list[Command]:
        header, most = f"SOURce:{WORDS[quantity]}", LARGEST[quantity]
        level = Numeric(unit=unit(quantity), minimum=-most, maximum=most, default=0.0)
        width = Numeric(unit=unit(quantity), minimum=-2 * most, maximum=2 * most, default=0.0)

        def of_sweep(node: str, parameter: Numeric, attribute: str) -> Command:
            return value(
                f"{header}:{node}",
                parameter,
                lambda: getattr(self.sweeps[quantity], attribute),
                lambda wanted: setattr(self.sweeps[quantity], attribute, wanted),
            )

        def set_mode(word: str) -> None:
            sweep = self.sweeps[quantity]
            sweep.mode = {"SWE": "SWE", "LIST": "LIST"}.get(word, "FIX")
            if sweep.mode == "FIX":
                with refusing(POWER):
                    self.channel.set_level(quantity, sweep.level)

        modes = Keyword("FIXed", "SWEep", "LIST")
        return [
            value(f"{header}:MODE", modes, lambda: self.sweeps[quantity].mode, set_mode),
            of_sweep("STARt", level, "start"),
            of_sweep("STOP", level, "stop"),
            of_sweep("STEP", width, "step"),
            of_sweep("CENTer", level, "centre"),
            of_sweep("SPAN", width, "span"),
        ]

    def _list_commands(self, quantity: Quantity) -> list[Command]:
        header, most = f"SOURce:LIST:{WORDS[quantity]}", LARGEST[quantity]
        many = Numeric(unit=unit(quantity), minimum=-most, maximum=most, repeat=True)

        def set_list(*levels: float) -> None:
            self.sweeps[quantity].listed = list(levels)

        def append(*levels: float) -> None:
            listed = self.sweeps[quantity].listed
            if len(listed) + len(levels) > LONGEST_LIST:
                raise ScpiError(-223, f"a list has {LONGEST_LIST} points at most")
            listed.extend(levels)

        def told() -> str:
            return ",".join(map(nr3, self.sweeps[quantity].listed))

        return [
            Command(header, set=set_list, query=told, parameters=(many,)),
            Command(f"{header}:APPend", set=append, parameters=(many,)),
            Command(f"{header}:POINts", query=lambda: len(self.sweeps[quantity].listed)),
        ]


def reach(chosen: Range) -> float:
    """How the instrument names a range: by what it reaches, 105 % of full scale."""
    return float(nr3(chosen.full_scale * RATINGS.source_reach))
