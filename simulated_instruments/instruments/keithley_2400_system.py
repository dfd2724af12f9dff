"""OUTPut, ROUTe, SYSTem and DISPlay of the 2400."""

from __future__ import annotations

from collections.abc import Iterator

from ..scpi import Boolean, Command, Instrument, Keyword, Numeric, ScpiError, setting
from .clocks import BoardClock
from .keithley import OFF_STATES, Switch, beeper, nr3, value
from .source_measure import SourceMeasureChannel


class System:
    """Their settings. started: s since 1970 that TIME counts from, which a reset leaves."""

    def __init__(self, channel: SourceMeasureChannel, clock: BoardClock, line_frequency: float) -> None:
        """line_frequency: Hz of the mains."""
        self.channel, self.clock = channel, clock
        self._mains = line_frequency
        self.started = clock.now()
        self.reset()

    def reset(self) -> None:
        self.channel.line_frequency, self.frequency_auto = self._mains, True
        self.four_wires = False
        self.terminals = "FRON"
        self.display, self.digits = True, 6
        self.beeps = True

    def commands(self, scpi: Instrument) -> Iterator[Command]:
        yield from self._output_commands()
        yield from self._system_commands()
        yield from self._upkeep(scpi)
        yield from beeper()

    def _output_commands(self) -> list[Command]:
        channel = self.channel
        states = {state: word for word, state in OFF_STATES.items()}
        return [
            value("OUTPut[:STATe]", Boolean(), lambda: channel.output, channel.set_output),
            value(
                "OUTPut:SMODe",
                Keyword("HIMPedance", "NORMal", "ZERO", "GUARd"),
                lambda: states[channel.off_state],
                lambda word: channel.set_off_state(OFF_STATES[word]),
            ),
            value("ROUTe:TERMinals", Keyword("FRONt", "REAR"), lambda: self.terminals, self._set_terminals),
        ]

    def _set_terminals(self, word: str) -> None:
        if word != self.terminals:
            self.channel.set_output(False)
        self.terminals = word

    def _system_commands(self) -> list[Command]:
        hertz = Numeric(unit="HZ", minimum=50.0, maximum=60.0)
        return [
            setting("SYSTem:RSENse", Boolean(), self, "four_wires"),
            value(
                "SYSTem:AZERo[:STATe]",
                Switch(words=frozenset({"ONCE"})),
                lambda: self.channel.auto_zero,
                self._set_auto_zero,
            ),
            value("SYSTem:LFRequency", hertz, lambda: int(self.channel.line_frequency), self._set_frequency),
            value("SYSTem:LFRequency:AUTO", Boolean(), lambda: self.frequency_auto, self._set_frequency_auto),
            setting("SYSTem:BEEPer:STATe", Boolean(), self, "beeps"),
            setting("DISPlay:ENABle", Boolean(), self, "display"),
            setting("DISPlay:DIGits", Numeric(integer=True, minimum=4, maximum=7, default=6), self, "digits"),
            Command("*OPT", query=lambda: 0),
            Command("SYSTem:TIME", query=lambda: nr3(self.clock.now() - self.started)),
            Command("SYSTem:TIME:RESet", set=self._restart_time),
        ]

    def _upkeep(self, scpi: Instrument) -> list[Command]:
        """What concerns the instrument as a whole. Local and remote make no difference: nobody is at its keys."""
        errors = scpi.status.errors
        return [
            Command("SYSTem:CLEar", set=errors.clear),
            Command("SYSTem:PRESet", set=scpi.reset),
            Command("SYSTem:LOCal", set=lambda: None),
            Command("SYSTem:REMote", set=lambda: None),
            Command("SYSTem:ERRor:CODE[:NEXT]", query=lambda: errors.pop().partition(",")[0]),
            Command("STATus:QUEue[:NEXT]", query=errors.pop),
        ]

    def _restart_time(self) -> None:
        self.started = self.clock.now()

    def _set_auto_zero(self, state: bool | str) -> None:
        if state == "ONCE":
            self.clock.spend(2 * self.channel.integration / self.channel.line_frequency)
        else:
            self.channel.auto_zero = bool(state)

    def _set_frequency(self, hertz: float) -> None:
        if hertz not in (50.0, 60.0):
            raise ScpiError(-222, "50 or 60 Hz")
        self.channel.line_frequency, self.frequency_auto = hertz, False

    def _set_frequency_auto(self, on: bool) -> None:
        self.frequency_auto = on
        if on:
            self.channel.line_frequency = self._mains
