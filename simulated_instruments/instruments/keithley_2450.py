"""A Keithley 2450 that speaks its SCPI command set: one function is measured at a time, and read from named buffers.

Commands, defaults and status words follow the Model 2450 Interactive SourceMeter Instrument Reference Manual
(2450-901-01, section 6). Left out: configuration lists, the trigger model's single blocks (templates are there: sweeps
and loops), limit tests and math, digital I/O, over-voltage protection, event log time stamps, the other command sets.
A trigger model is carried out within the message that initiates it, so that *WAI and *OPC? have nothing to wait for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from ..network import Lead
from ..scpi import Command, Instrument, Keyword, Numeric, ScpiError, Text, setting
from ..scpi.parameters import Parameter
from ..wire import Site
from .keithley import DataFormat, SmuOptions, beeper, refusing
from .keithley_2450_buffers import (
    DEFAULT,
    ELEMENTS,
    FEWEST,
    FIRST_SIZE,
    MOST,
    Buffer,
    Buffers,
    SenseStatus,
    SourceStatus,
    Stored,
    as_text,
)
from .keithley_2450_settings import HEADERS, Settings
from .keithley_2450_specifications import AUTO_DELAY, POWER, RATINGS
from .keithley_2450_triggers import TriggerModel
from .source_measure import SourceMeasureChannel, unit
from .wiring import lead_to

MAKER, MODEL, FIRMWARE = "KEITHLEY INSTRUMENTS", "MODEL 2450", "1.7.12b"
_UNITS = {"VOLT": "V", "AMP": "A", "OHM": "Ohm", "WATT": "W"}
_FORMATS: dict[tuple[str, int | None], int] = {("ASC", None): 0, ("REAL", None): 64, ("SRE", None): 32}
_BUFFER = Text(optional=True)


class Keithley2450Firmware:
    """The instrument on its lead. `scpi` is what a server connects to."""

    def __init__(self, lead: Lead, serial: str, line_frequency: float) -> None:
        self.channel = SourceMeasureChannel(RATINGS, lead, f"2450 {serial}")
        self.settings = Settings(self.channel, line_frequency)
        self.format = DataFormat(_FORMATS)
        self.buffers = Buffers()
        self.model = TriggerModel(self.settings, self.buffers, self._measured)
        self.scpi = Instrument(
            identity=(MAKER, MODEL, serial, FIRMWARE), on_reset=self._reset, own_format=True, forgiving=True
        )
        self._reset()
        for command in self._commands():
            self.scpi.add(command)

    def _reset(self) -> None:
        """`*RST`, with the defaults that section 6 of the manual states command by command."""
        self.channel.reset()
        for part in (self.settings, self.model, self.buffers, self.format):
            part.reset()
        self.screen = "HOME"
        self.light = "ON50"

    def close(self) -> None:
        self.channel.close()

    def _commands(self) -> Iterator[Command]:
        yield from self.format.commands()
        yield from self.settings.commands()
        yield from self.model.commands()
        yield from self._reading_commands()
        yield from self._buffer_commands()
        yield from self._content_commands()
        yield from self._statistics_commands()
        yield from self._system_commands()
        yield from beeper()

    # -- readings ---------------------------------------------------------------------------------------------

    def _reading_commands(self) -> list[Command]:
        elements = Keyword(*ELEMENTS, optional=True, repeat=True)
        commands = [
            Command("READ", query=self._read, query_parameters=(_BUFFER, elements)),
            Command("FETCh", query=self._fetch, query_parameters=(_BUFFER, elements)),
            Command("MEASure", query=self._read, query_parameters=(_BUFFER, elements)),
        ]
        for short, header in HEADERS.items():
            commands.append(
                Command(f"MEASure:{header}", query=self._measurer(short), query_parameters=(_BUFFER, elements))
            )
        return commands

    def _read(self, buffer: str = DEFAULT, *elements: str) -> str:
        self._fill(buffer)
        return self._fetch(buffer, *elements)

    def _measurer(self, short: str) -> Callable[..., str]:
        def measure(buffer: str = DEFAULT, *elements: str) -> str:
            self.settings.set_function(short)
            return self._read(buffer, *elements)

        return measure

    def _fetch(self, name: str = DEFAULT, *elements: str) -> str:
        buffer = self.buffers[name]
        return self._answer(buffer, [buffer.last()], elements)

    def _fill(self, name: str = DEFAULT) -> None:
        """As many readings as SENSe:COUNt says, into the buffer."""
        buffer = self.buffers[name]
        for _ in range(self.settings.count):
            buffer.store(self._measured())

    def _answer(self, buffer: Buffer, readings: Sequence[Stored], elements: Sequence[str]) -> str:
        told = buffer.told(readings, elements or ("READ",))
        if not self.format.bits:
            return as_text(told)
        numbers = [each for each in told if isinstance(each, float)]
        if len(numbers) < len(told):
            raise ScpiError(-221, "text does not travel in binary")
        return self.format.answer(numbers)

    def _measured(self) -> Stored:
        """One reading of the present function, in its unit."""
        channel, function = self.channel, self.settings.function
        sense, source = self.settings.sense, self.settings.source
        delay = AUTO_DELAY if source.auto_delay else source.delay
        if function == "RES":
            with refusing(POWER):
                reading, ohms = self.settings.ohms.measure(channel, delay)
        else:
            reading, ohms = channel.measure(delay), math.nan
        volts, amps = reading.volts, reading.amps
        sourced = volts if channel.function == "voltage" else amps
        measured = volts if function == "VOLT" else amps
        given = {"OHM": reading.ohms, "WATT": _product(volts, amps)}.get(sense.unit, measured)
        word = {
            SourceStatus.READBACK: source.readback,
            SourceStatus.LIMIT: reading.limited or reading.range_limited,
            SourceStatus.REMOTE_SENSE: sense.four_wires,
            SourceStatus.OUTPUT: channel.output,
        }
        return Stored(
            reading=ohms if function == "RES" else math.nan if given is None else given,
            unit=_UNITS[sense.unit],
            source=reading.level if sourced is None or not source.readback else sourced,
            source_unit=unit(channel.function),
            time=reading.time,
            status=SenseStatus.FRONT if self.settings.terminals == "FRON" else SenseStatus(0),
            source_status=SourceStatus(sum(bit for bit, on in word.items() if on)),
        )

    def _buffer_commands(self) -> list[Command]:
        """Buffers that are made, sized and emptied."""
        buffers = self.buffers
        size = Numeric(integer=True, minimum=FEWEST, maximum=MOST, default=FIRST_SIZE)
        style = Keyword("COMPact", "STANdard", "FULL", "WRITable", "FULLWRITable", optional=True)

        def make(name: str, points: int, style: str = "STAN") -> None:  # noqa: ARG001 -- buffers of all styles keep all
            buffers.make(name, points)

        def resize(points: int, name: str = DEFAULT) -> None:
            buffers[name].size = points

        def set_fill(word: str, name: str = DEFAULT) -> None:
            buffers[name].once = word == "ONCE"

        return [
            Command("TRACe:MAKE", set=make, parameters=(Text(), size, style)),
            Command("TRACe:DELete", set=buffers.delete, parameters=(Text(),)),
            Command("TRACe:CLEar", set=lambda name=DEFAULT: buffers[name].clear(), parameters=(_BUFFER,)),
            self._of_buffer("POINts", lambda buffer: buffer.size, resize, size),
            self._of_buffer(
                "FILL:MODE",
                lambda buffer: "ONCE" if buffer.once else "CONT",
                set_fill,
                Keyword("CONTinuous", "ONCE"),
            ),
            Command("TRACe:TRIGger", set=self._fill, parameters=(_BUFFER,)),
        ]

    def _content_commands(self) -> list[Command]:
        """What is in a buffer."""
        position = Numeric(integer=True, minimum=1, maximum=MOST)
        elements = Keyword(*ELEMENTS, optional=True, repeat=True)

        def data(first: int, last: int, name: str = DEFAULT, *elements: str) -> str:
            return self._answer(self.buffers[name], self.buffers[name].between(first, last), elements)

        return [
            self._of_buffer("ACTual", len),
            self._of_buffer("ACTual:STARt", lambda buffer: min(len(buffer), 1)),
            self._of_buffer("ACTual:END", len),
            Command("TRACe:DATA", query=data, query_parameters=(position, position, _BUFFER, elements)),
        ]

    def _of_buffer(
        self,
        node: str,
        read: Callable[[Buffer], int | str],
        write: Callable[..., None] | None = None,
        parameter: Parameter | None = None,
    ) -> Command:
        """What is asked, and may be set, of the buffer that is named last, or else of the first one."""
        return Command(
            f"TRACe:{node}",
            set=write,
            query=lambda name=DEFAULT: read(self.buffers[name]),
            parameters=() if parameter is None else (parameter, _BUFFER),
            query_parameters=(_BUFFER,),
        )

    def _statistics_commands(self) -> list[Command]:
        kinds = {"AVERage": "MEAN", "MAXimum": "MAX", "MINimum": "MIN", "STDDev": "SDEV"}

        def asked(kind: str) -> Callable[..., str]:
            return lambda name=DEFAULT: self.format.answer([self.buffers[name].statistic(kind)])

        return [
            Command(f"TRACe:STATistics:{node}", query=asked(kind), query_parameters=(_BUFFER,))
            for node, kind in kinds.items()
        ]

    # -- system -----------------------------------------------------------------------------------------------

    def _system_commands(self) -> list[Command]:
        errors = self.scpi.status.errors
        screens = Keyword("HOME", "HOME_LARGe_reading", "READing_table", "GRAPh", "SOURce", "SETTings", "PROCessing")
        lights = Keyword("ON100", "ON75", "ON50", "ON25", "OFF", "BLACkout")
        return [
            Command("*LANG", set=self._set_language, query=lambda: "SCPI", parameters=(Keyword("SCPI", "TSP"),)),
            Command("STATus:CLEar", set=self._clear_events),
            Command("SYSTem:CLEar", set=errors.clear),
            Command("SYSTem:EVENtlog:NEXT", query=errors.pop),
            Command("SYSTem:EVENtlog:COUNt", query=errors.__len__),
            Command("SYSTem:LFRequency", query=lambda: int(self.channel.line_frequency)),
            Command("SYSTem:ACCess", query=lambda: "FULL"),
            setting("DISPlay:SCReen", screens, self, "screen"),
            setting("DISPlay:LIGHt:STATe", lights, self, "light"),
            Command("DISPlay:CLEar", set=lambda: None),
            Command("DISPlay:USER<1:2>:TEXT[:DATA]", set=lambda *_: None, parameters=(Text(max_length=32),)),
        ]

    def _set_language(self, word: str) -> None:
        if word != "SCPI":
            raise ScpiError(-221, "only the SCPI command set is simulated")

    def _clear_events(self) -> None:
        self.scpi.status.take_events()
        self.scpi.status.operation.clear_event()
        self.scpi.status.questionable.clear_event()


def _product(volts: float | None, amps: float | None) -> float | None:
    return None if volts is None or amps is None else volts * amps


class SimulatedKeithley2450:
    """A powered-on 2450. `wire` is what a server connects to."""

    def __init__(self, options: SmuOptions, site: Site) -> None:
        """Raises ValueError with one sentence."""
        self.firmware = Keithley2450Firmware(lead_to(options.wired_to, site), options.serial, options.line_frequency)
        self.wire = self.firmware.scpi

    def close(self) -> None:
        """Nothing is remembered; the lead is let go."""
        self.firmware.close()


def build(options: dict[str, Any], site: Site) -> SimulatedKeithley2450:
    """Entry point `labctl.simulators`: the 2450 of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    return SimulatedKeithley2450(msgspec.convert(options, SmuOptions), site)
