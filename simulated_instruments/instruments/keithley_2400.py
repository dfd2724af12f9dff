"""A Keithley 2400 that speaks its SCPI: source, measure, sweep, buffer, status, as other people's drivers expect it.

Commands, defaults and error numbers follow the 2400 Series SourceMeter User's Manual (2400S-900-01, sections 14 to 18
and appendix B). Left out: CALCulate1 and 2 (math, limit tests), offset-compensated ohms, digital output, memory
sweeps, saved set-ups, the trigger link and the front panel (whose events never come). A run of the trigger model is
carried out within the message that starts it, as far as it does not wait for an event.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from ..network import Lead
from ..scpi import Command, Instrument, Keyword, Numeric, ScpiError, setting
from ..wire import Site
from .keithley import DataFormat, SmuOptions, refusing
from .keithley_2400_buffer import MOST_READINGS, ReadingBuffer, Record
from .keithley_2400_sense import Sense
from .keithley_2400_source import POWER, Source
from .keithley_2400_specifications import RATINGS, Measurement, Operation, Word
from .keithley_2400_system import System
from .keithley_2400_trigger import ENDLESS, TriggerModel
from .source_measure import Reading, SourceMeasureChannel
from .wiring import lead_to

MAKER, MODEL, FIRMWARE = "KEITHLEY INSTRUMENTS INC.", "MODEL 2400", "C32   Oct  4 2010 14:20:11/A02  /S/K"
_MEASUREMENT = 1  # bit of the status byte that sums up STATus:MEASurement
_ELEMENTS = ("VOLT", "CURR", "RES", "TIME", "STAT")
_FORMATS = {("ASC", None): 0, ("REAL", 32): 32, ("REAL", None): 32, ("SRE", None): 32}


class Keithley2400Firmware:
    """The instrument on its lead. `scpi` is what a server connects to."""

    def __init__(self, lead: Lead, serial: str, line_frequency: float) -> None:
        self.channel = SourceMeasureChannel(RATINGS, lead, f"2400 {serial}")
        self.sense = Sense(self.channel)
        self.source = Source(self.channel, lambda: self.sense.automatic_ohms)
        self.system = System(self.channel, lead.clock, line_frequency)
        self.format = DataFormat(_FORMATS)
        self.buffer = ReadingBuffer()
        self.model = TriggerModel(lead.clock, self._act, self._update_status)
        self.scpi = Instrument(
            identity=(MAKER, MODEL, serial, FIRMWARE),
            on_message=self._message,
            on_reset=self._reset,
            registers={"MEASurement": _MEASUREMENT},
            own_format=True,
            forgiving=True,
        )
        self._reset()
        for command in self._commands():
            self.scpi.add(command)

    def _reset(self) -> None:
        """`*RST`, as tables 18-1 to 18-9 of the manual have it."""
        self.channel.reset()
        for part in (self.source, self.sense, self.system, self.model, self.buffer, self.format):
            part.reset()
        self.elements = list(_ELEMENTS)
        self.statistic = "MEAN"
        self._sample: list[Record] = []
        self._update_status()

    def close(self) -> None:
        self.channel.close()

    def _commands(self) -> Iterator[Command]:
        yield from self.format.commands()
        yield from self.source.commands()
        yield from self.sense.commands()
        yield from self.system.commands(self.scpi)
        yield from self.model.commands()
        yield from self._run_commands()
        yield from self._measure_commands()
        yield from self._buffer_commands()

    # -- runs of the trigger model ----------------------------------------------------------------------------

    def _run_commands(self) -> list[Command]:
        return [
            Command("INITiate[:IMMediate]", set=self._initiate),
            Command("ABORt", set=self._abort),
        ]

    def _initiate(self) -> None:
        if not (self.channel.output or self.source.clears_output):
            raise ScpiError(803, "Not permitted with OUTPUT off")
        if not self.model.idle:
            raise ScpiError(-213)
        self.source.begin()
        self._sample = []
        try:
            self.model.start()
        finally:
            self._update_status()

    def _abort(self) -> None:
        self.model.abort()
        self._update_status()

    def _message(self) -> None:
        self.model.message()
        self._update_status()

    def _act(self, point: int) -> None:
        """One source-delay-measure action."""
        if self.source.clears_output:
            self.channel.set_output(True)
        with refusing(POWER):
            if self.sense.automatic_ohms:
                reading, ohms = self.sense.ohms.measure(self.channel, self.source.settling)
            else:
                self.source.go_to(point)
                reading, ohms = self.channel.measure(self.source.settling), math.nan
        if self.source.clears_output:
            self.channel.set_output(False)
        self._take(reading, ohms)

    # -- readings ---------------------------------------------------------------------------------------------

    def _measure_commands(self) -> list[Command]:
        commands = [
            Command("READ", query=self._read),
            Command("FETCh", query=lambda: self._answer(self._sample)),
            Command("[:SENSe]:DATA[:LATest]", query=lambda: self._answer(self._sample[-1:])),
            Command("MEASure", query=self._measure),
            Command("CONFigure", query=self.sense.listed),
            Command(
                "FORMat:ELEMents[:SENSe]",
                set=self._set_elements,
                query=lambda: ",".join(self.elements),
                parameters=(Keyword("VOLTage", "CURRent", "RESistance", "TIME", "STATus", repeat=True),),
            ),
        ]
        for short, words in (("VOLT", "VOLTage[:DC]"), ("CURR", "CURRent[:DC]"), ("RES", "RESistance")):
            commands.append(Command(f"MEASure:{words}", query=self._measurer(short)))
            commands.append(Command(f"CONFigure:{words}", set=self._configurer(short)))
        return commands

    def _set_elements(self, *words: str) -> None:
        self.elements = [each for each in _ELEMENTS if each in words]

    def _read(self) -> str:
        if self.model.arm.count == ENDLESS:
            raise ScpiError(830, "Invalid with INF ARM:COUNT")
        self.model.abort()
        self._initiate()
        if not self.model.idle:
            self._abort()
            raise ScpiError(-214)
        return self._answer(self._sample)

    def _measure(self) -> str:
        self._one_shot()
        return self._read()

    def _measurer(self, short: str) -> Callable[[], str]:
        def measure() -> str:
            self._configurer(short)()
            return self._read()

        return measure

    def _configurer(self, short: str) -> Callable[[], None]:
        def configure() -> None:
            self._one_shot()
            self.sense.configure(short)

        return configure

    def _one_shot(self) -> None:
        """What CONFigure does to the rest: the trigger model takes one reading at once, nothing is stored."""
        self._abort()
        self.buffer.control = "NEV"
        for layer in (self.model.arm, self.model.trigger):
            layer.source, layer.count, layer.delay = "IMM", 1, 0.0

    def _take(self, reading: Reading, ohms: float) -> None:
        """A reading becomes the latest one, goes into the buffer and shows in the registers."""
        record = self._record(reading, ohms)
        self._sample.append(record)
        filled = self.buffer.offer(record)
        register = self.scpi.status.own["MEASurement"]
        register.change(Measurement.READING_AVAILABLE, False)
        register.change(Measurement.READING_AVAILABLE, True)
        register.change(Measurement.READING_OVERFLOW, reading.overflow)
        register.change(Measurement.BUFFER_AVAILABLE, len(self.buffer.records) > 1)
        register.change(Measurement.BUFFER_FULL, filled)
        register.change(Measurement.COMPLIANCE, reading.limited or reading.range_limited)

    def _record(self, reading: Reading, ohms: float) -> Record:
        """A quantity that is not measured shows what is sourced, where it is the source's."""
        sourced = {reading.function: reading.level}
        volts = sourced.get("voltage", math.nan) if reading.volts is None else reading.volts
        amps = sourced.get("current", math.nan) if reading.amps is None else reading.amps
        volts, amps = _seven(volts), _seven(amps)
        if "RES" not in self.sense.functions:
            ohms = math.nan
        elif not self.sense.automatic_ohms:
            ohms = math.inf if reading.overflow or amps == 0 else volts / amps
        return volts, amps, ohms, reading.time - self.system.started, float(self._word(reading))

    def _word(self, reading: Reading) -> Word:
        bits = {
            Word.OVERFLOW: reading.overflow,
            Word.FILTER: self.sense.filter,
            Word.FRONT: self.system.terminals == "FRON",
            Word.COMPLIANCE: reading.limited,
            Word.AUTO_OHMS: self.sense.automatic_ohms,
            Word.VOLTS: "VOLT" in self.sense.functions,
            Word.AMPS: "CURR" in self.sense.functions,
            Word.OHMS: "RES" in self.sense.functions,
            Word.SOURCE_VOLTAGE: reading.function == "voltage",
            Word.SOURCE_CURRENT: reading.function == "current",
            Word.RANGE_COMPLIANCE: reading.range_limited,
            Word.REMOTE_SENSE: self.system.four_wires,
        }
        return Word(sum(bit for bit, on in bits.items() if on))

    def _answer(self, records: Sequence[Record]) -> str:
        if not records:
            raise ScpiError(-230)
        columns = [_ELEMENTS.index(each) for each in self.elements]
        return self.format.answer([record[column] for record in records for column in columns])

    # -- buffer, status, system -------------------------------------------------------------------------------

    def _buffer_commands(self) -> list[Command]:
        buffer = self.buffer
        points = Numeric(integer=True, minimum=1, maximum=MOST_READINGS, default=100)
        kinds = Keyword("MEAN", "SDEViation", "MAXimum", "MINimum", "PKPK")
        return [
            Command("TRACe:DATA", query=lambda: self._answer(buffer.timed())),
            setting("TRACe:POINts", points, buffer, "points"),
            Command("TRACe:POINts:ACTual", query=lambda: len(buffer.records)),
            Command("TRACe:FREE", query=lambda: ((MOST_READINGS - len(buffer.records)) * 28, len(buffer.records) * 28)),
            Command("TRACe:CLEar", set=buffer.clear),
            setting("TRACe:FEED", Keyword("SENSe", "CALCulate"), buffer, "feed"),
            setting("TRACe:FEED:CONTrol", Keyword("NEXT", "NEVer"), buffer, "control"),
            setting("TRACe:TSTamp:FORMat", Keyword("ABSolute", "DELTa"), buffer, "timestamps"),
            Command(
                "CALCulate<1:3>:FORMat",
                set=self._set_statistic,
                query=self._statistic_named,
                parameters=(kinds,),
            ),
            Command("CALCulate<1:3>:DATA[:LATest]", query=self._statistics),
        ]

    def _set_statistic(self, calculation: int, kind: str) -> None:
        _only_statistics(calculation)
        self.statistic = kind

    def _statistic_named(self, calculation: int) -> str:
        _only_statistics(calculation)
        return self.statistic

    def _statistics(self, calculation: int) -> str:
        _only_statistics(calculation)
        if not self.buffer.records:
            raise ScpiError(-230)
        return self.format.answer(self.buffer.statistics(self.statistic))

    def _update_status(self) -> None:
        """The operation register, from what the trigger model does."""
        register, waits_in = self.scpi.status.operation, self.model.waits_in
        register.change(Operation.IDLE, self.model.idle)
        register.change(Operation.WAITING_FOR_ARM, waits_in is self.model.arm)
        register.change(Operation.WAITING_FOR_TRIGGER, waits_in is self.model.trigger)


def _seven(number: float) -> float:
    """As far as seven digits tell."""
    return float(f"{number:.6E}")


def _only_statistics(calculation: int) -> None:
    if calculation != 3:
        raise ScpiError(-113, f"CALCulate{calculation}")


class SimulatedKeithley2400:
    """A powered-on 2400. `wire` is what a server connects to."""

    def __init__(self, options: SmuOptions, site: Site) -> None:
        """Raises ValueError with one sentence."""
        self.firmware = Keithley2400Firmware(lead_to(options.wired_to, site), options.serial, options.line_frequency)
        self.wire = self.firmware.scpi

    def close(self) -> None:
        """Nothing is remembered; the lead is let go."""
        self.firmware.close()


def build(options: dict[str, Any], site: Site) -> SimulatedKeithley2400:
    """Entry point `labctl.simulators`: the 2400 of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    return SimulatedKeithley2400(msgspec.convert(options, SmuOptions), site)
