"""Keithley 2400 series source-measure units (2400, 2401, 2410, 2420, 2425, 2430, 2440), SCPI.

Every call is one message. Commands and status words: Keithley, Series 2400 SourceMeter User's Manual, 2400S-900-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.drivers.source_measure import (
    Measured,
    SourceMeasureSettings,
    Swept,
    check_limits,
    check_pulse,
    checked_levels,
    numbers,
    swept,
)
from labctl.drivers.visa_instrument import VisaInstrument
from labctl.links.dialects import Scpi

_OVERFLOW, _COMPLIANCE, _RANGE_COMPLIANCE = 1 << 0, 1 << 3, 1 << 16
"""Bits of the status word that comes with a reading."""
_CONDITIONS = {12: "too hot", 13: "over-voltage protection", 14: "in compliance"}
"""Bits of the measurement condition register."""
_MOST_VOLTS = {"2410": 1100.0, "2401": 21.0, "2420": 63.0, "2425": 105.0, "2430": 105.0, "2440": 42.0}
_MOST_LEVELS, _LEVELS_A_LIST = 2500, 100
_FASTEST = 0.01  # power line cycles
_READING_TIME = 0.8e-3  # s of a reading of both quantities in so many cycles, without autozero
_SETTINGS = (
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


class Keithley2400Settings(SourceMeasureSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As every source-measure unit's; `integration_time` is 0.01 to 10 power line cycles."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_cycles(self.integration_time)


class Keithley2400(VisaInstrument):
    """A `SourceMeasureUnit`. Both quantities are measured: a level that is held back is not what it was set to."""

    Settings = Keithley2400Settings
    dialect = Scpi(":SYST:ERR?")
    models = ("MODEL 24",)
    shortest_pulse = 1e-3

    @property
    def max_voltage(self) -> float:
        return next((volts for model, volts in _MOST_VOLTS.items() if model in self.link.idn), 210.0)

    @property
    def integration_time(self) -> float:
        return self._cycles

    def set_up(self) -> None:
        self._cycles: float = self.settings.integration_time
        self.link.exchange(
            "*CLS;*RST;:FORM:ELEM VOLT,CURR,STAT;:SENS:FUNC:CONC ON;:SENS:FUNC 'VOLT','CURR'"
            f";:SYST:RSEN {int(self.settings.remote_sense)};:SENS:CURR:NPLC {self._cycles:.9g}"
            f";{_range(self.settings.current_range)}"
        )

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self.link.write(":OUTP OFF", timeout_s=timeout_s)

    def settings_now(self) -> Mapping[str, Any]:
        return self.answers(_SETTINGS)

    def source_voltage(self, level: float, compliance: float) -> None:
        check_limits(level, self.max_voltage, compliance, "V")
        self.link.write(f":SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX;:SENS:CURR:PROT {compliance:.9g};:SOUR:VOLT {level:.9g}")

    def source_current(self, level: float, compliance: float) -> None:
        check_limits(compliance, self.max_voltage, compliance, "V")
        self.link.write(f":SOUR:FUNC CURR;:SOUR:CURR:MODE FIX;:SENS:VOLT:PROT {compliance:.9g};:SOUR:CURR {level:.9g}")

    def output(self, on: bool) -> None:
        self.link.write(f":OUTP {'ON' if on else 'OFF'}")

    def set_integration_time(self, cycles: float) -> None:
        _check_cycles(cycles)
        self.link.write(f":SENS:CURR:NPLC {cycles:.9g}")
        self._cycles = cycles

    def set_current_range(self, amps: float | None) -> None:
        self.link.write(_range(amps))

    def measure(self) -> Measured:
        return self._readings(self.link.query(":READ?"), 1)[0]

    def sweep(self, levels: ArrayLike, compliance: float, *, delay: float = 0.0) -> Swept:
        given = checked_levels(levels, self.max_voltage, _MOST_LEVELS)
        if len(given) > 1 or delay:
            return self._list(given, compliance, delay, self._cycles)
        answer = self.link.query(
            f":SOUR:FUNC VOLT;:SENS:CURR:PROT {compliance:.9g};:SOUR:VOLT {given[0]:.9g};:READ?;:SOUR:VOLT 0"
        )
        return self._readings(answer, 1)

    def pulse(self, level: float, width: float, compliance: float) -> Measured:
        check_pulse(width, self.shortest_pulse)
        given = checked_levels([level], self.max_voltage, 1)
        return self._list(given, compliance, width - _READING_TIME, _FASTEST)[0]

    def status(self) -> frozenset[str]:
        output, conditions = self.link.exchange(":OUTP?;:STAT:MEAS:COND?")
        found = {name for bit, name in _CONDITIONS.items() if int(conditions) >> bit & 1}
        return frozenset(found | ({"output on"} if int(output) else set()))

    def _list(self, levels: NDArray[np.float64], compliance: float, delay: float, cycles: float) -> Swept:
        """Each of `levels` for `delay` and a reading of `cycles`; the settings are as before then, the level is 0 V.

        The fastest readings are made without autozero, which would take longer than they do.
        """
        words = [f"{level:.9g}" for level in levels]
        lists = [",".join(words[at : at + _LEVELS_A_LIST]) for at in range(0, len(words), _LEVELS_A_LIST)]
        lists[0] = f":SOUR:LIST:VOLT {lists[0]}"
        lists[1:] = [f":SOUR:LIST:VOLT:APP {each}" for each in lists[1:]]
        answer = self.link.query(
            f":SOUR:FUNC VOLT;:SENS:CURR:PROT {compliance:.9g};:SENS:CURR:NPLC {cycles:.9g}"
            f";:SYST:AZER {'OFF' if cycles == _FASTEST else 'ON'}"
            f";:SOUR:VOLT:MODE LIST;{';'.join(lists)};:SOUR:DEL {max(delay, 0.0):.9g};:TRIG:COUN {len(levels)};:READ?"
            f";:SOUR:VOLT:MODE FIX;:SOUR:VOLT 0;:TRIG:COUN 1;:SOUR:DEL:AUTO ON;:SYST:AZER ON"
            f";:SENS:CURR:NPLC {self._cycles:.9g}",
            timeout_s=self.link.timeout_s + 2 * len(levels) * (delay + cycles / 50 + 0.01),
        )
        return self._readings(answer, len(levels))

    def _readings(self, answer: str, count: int) -> Swept:
        volts, amps, words = numbers(answer, 3, count, self.settings.resource_name).T
        status = words.astype(np.int64)
        limited = (status & (_COMPLIANCE | _RANGE_COMPLIANCE)) != 0
        return swept(volts, amps, limited, (status & _OVERFLOW) != 0)


def _range(amps: float | None) -> str:
    return ":SENS:CURR:RANG:AUTO ON" if amps is None else f":SENS:CURR:RANG {amps:.9g}"


def _check_cycles(cycles: float) -> None:
    if not 0.01 <= cycles <= 10:
        raise ValueError(f"integration_time must be 0.01 to 10 power line cycles, not {cycles:g}")
