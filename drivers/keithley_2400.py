"""Keithley 2400 series source-measure units (2400, 2401, 2410, 2420, 2425, 2430, 2440), SCPI.

Commands and status words: Keithley, Series 2400 SourceMeter User's Manual, 2400S-900-01.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from labctl.drivers.keithley_scpi import FASTEST, KeithleyScpi
from labctl.drivers.source_measure import Measured, Swept, numbers, swept

_OVERFLOW, _COMPLIANCE, _RANGE_COMPLIANCE = 1 << 0, 1 << 3, 1 << 16
"""Bits of the status word that comes with a reading."""
_CONDITIONS = {12: "too hot", 13: "over-voltage protection", 14: "in compliance"}
"""Bits of the measurement condition register."""


class Keithley2400(KeithleyScpi):
    """A `SourceMeasureUnit`. Both quantities are measured: a level that is held back is not what it was set to."""

    models = tuple(f"MODEL {number}" for number in (2400, 2401, 2410, 2420, 2425, 2430, 2440))
    most_volts: ClassVar = {"2410": 1100.0, "2401": 21.0, "2420": 63.0, "2425": 105.0, "2430": 105.0, "2440": 42.0}
    overhead = 0.314e-3
    to_volts = ":SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX"
    to_amps = ":SOUR:FUNC CURR;:SOUR:CURR:MODE FIX"
    amps_limit, volts_limit = ":SENS:CURR:PROT", ":SENS:VOLT:PROT"
    read = ":READ?"
    headers = (
        ":SOUR:FUNC",
        ":SOUR:VOLT",
        ":SOUR:CURR",
        ":SENS:FUNC",
        ":SENS:CURR:PROT",
        ":SENS:VOLT:PROT",
        ":SENS:CURR:RANG",
        ":SENS:CURR:RANG:AUTO",
        ":SENS:CURR:NPLC",
        ":SYST:RSEN",
        ":OUTP",
    )

    def set_up(self) -> None:
        self.begin(
            "*CLS;*RST;:FORM:ELEM VOLT,CURR,STAT;:SENS:FUNC:CONC ON;:SENS:FUNC 'VOLT','CURR'"
            f";:SYST:RSEN {int(self.settings.remote_sense)}"
        )

    def measure(self) -> Measured:
        return self.readings(self.link.query(self.read), 1)[0]

    def status(self) -> frozenset[str]:
        output, conditions = self.link.exchange(":OUTP?;:STAT:MEAS:COND?")
        found = {name for bit, name in _CONDITIONS.items() if int(conditions) >> bit & 1}
        return frozenset(found | ({"output on"} if int(output) else set()))

    def integration(self, cycles: float) -> str:
        return f":SENS:CURR:NPLC {cycles:.9g}"

    def running(self, count: int, delay: float, cycles: float) -> str:
        return (
            f"{self.integration(cycles)};:SYST:AZER {'OFF' if cycles == FASTEST else 'ON'}"
            f";:SOUR:VOLT:MODE LIST;:SOUR:DEL {delay:.9g};:TRIG:COUN {count};{self.read}"
            f";:SOUR:VOLT:MODE FIX;:SOUR:VOLT 0;:TRIG:COUN 1;:SOUR:DEL:AUTO ON;:SYST:AZER ON"
            f";{self.integration(self.integration_time)}"
        )

    def readings(self, answer: object, count: int) -> Swept:
        volts, amps, words = numbers(answer, 3, count, self.settings.resource_name).T
        status = words.astype(np.int64)
        limited = (status & (_COMPLIANCE | _RANGE_COMPLIANCE)) != 0
        return swept(volts, amps, limited, (status & _OVERFLOW) != 0)
