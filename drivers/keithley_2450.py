"""Keithley 2450, 2460 and 2461 source-measure units, in their SCPI command set.

Commands and status words: Keithley, Model 2450 Interactive SourceMeter Instrument Reference Manual, 2450-901-01.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from labctl.drivers.keithley_scpi import FASTEST, KeithleyScpi
from labctl.drivers.source_measure import Measured, Swept, numbers, swept
from labctl.errors import InstrumentError

_LIMITED, _OUTPUT = 0x20, 0x80
"""Of a reading's source status: the source was held back by its limit; the output was on."""
_BUFFER = '"defbuffer1"'


class Keithley2450(KeithleyScpi):
    """A `SourceMeasureUnit`."""

    models = ("MODEL 2450", "MODEL 246", "MODEL 2470")
    most_volts: ClassVar = {"2460": 105.0, "2461": 105.0, "2470": 1100.0}
    overhead = 0.2e-3
    to_volts = ':SOUR:FUNC VOLT;:SENS:FUNC "CURR"'
    to_amps = ':SOUR:FUNC CURR;:SENS:FUNC "VOLT"'
    amps_limit, volts_limit = ":SOUR:VOLT:ILIM", ":SOUR:CURR:VLIM"
    read = f":READ? {_BUFFER},SOUR,READ,SOURSTAT"
    headers = (
        ":SOUR:FUNC",
        ":SOUR:VOLT",
        ":SOUR:VOLT:ILIM",
        ":SOUR:CURR",
        ":SOUR:CURR:VLIM",
        ":SENS:FUNC",
        ":SENS:CURR:RANG",
        ":SENS:CURR:RANG:AUTO",
        ":SENS:CURR:NPLC",
        ":SENS:CURR:RSEN",
        ":OUTP",
    )

    def set_up(self) -> None:
        """Raises InstrumentError where the instrument is set to another of its languages."""
        language = self.link.query("*LANG?")
        if language.strip('"') != "SCPI":
            raise InstrumentError(
                f"{self.settings.resource_name}: it speaks {language}: send *LANG SCPI, and switch it off and on"
            )
        sense = int(self.settings.remote_sense)
        self.begin(f"*CLS;*RST;{self.to_volts};:SOUR:VOLT:READ:BACK ON;:SENS:CURR:RSEN {sense};:SENS:VOLT:RSEN {sense}")

    def measure(self) -> Measured:
        """What is measured comes as the reading; the other quantity as the source's readback."""
        function, answer = self.link.exchange(f":SENS:FUNC?;{self.read}")
        return self._readings(answer, 1, of_current=str(function).strip('"').upper().startswith("CURR"))[0]

    def status(self) -> frozenset[str]:
        output, *limited = self.link.exchange(":OUTP?;:SOUR:VOLT:ILIM:TRIP?;:SOUR:CURR:VLIM:TRIP?")
        said = {"output on": int(output), "in compliance": any(map(int, limited))}
        return frozenset(name for name, holds in said.items() if holds)

    def integration(self, cycles: float) -> str:
        return f":SENS:CURR:NPLC {cycles:.9g};:SENS:VOLT:NPLC {cycles:.9g}"

    def running(self, count: int, delay: float, cycles: float) -> str:
        """The delay is the list's alone, not the source's as well. A list switches the output on, and leaves it off."""
        return (
            f"{self.integration(cycles)};:SENS:CURR:AZER {'OFF' if cycles == FASTEST else 'ON'}"
            f";:SOUR:VOLT:DEL:AUTO OFF;:SOUR:VOLT:DEL 0;:SOUR:SWE:VOLT:LIST 1,{delay:.9g},1,OFF,{_BUFFER};:INIT;*WAI"
            f";:TRAC:DATA? 1,{count},{_BUFFER},SOUR,READ,SOURSTAT"
            f";:SOUR:VOLT 0;:OUTP ON;:SOUR:VOLT:DEL:AUTO ON;:SENS:CURR:AZER ON"
            f";{self.integration(self.integration_time)}"
        )

    def readings(self, answer: object, count: int) -> Swept:
        return self._readings(answer, count, of_current=True)

    def _readings(self, answer: object, count: int, of_current: bool) -> Swept:
        source, reading, words = numbers(answer, 3, count, self.settings.resource_name).T
        volts, amps = (source, reading) if of_current else (reading, source)
        status = words.astype(np.int64)
        if not np.all(status & _OUTPUT):
            raise InstrumentError(f"{self.settings.resource_name}: it cannot measure: its output is off")
        return swept(volts, amps, (status & _LIMITED) != 0)
