"""Keithley 2450, 2460 and 2461 source-measure units, in their SCPI command set.

Every call is one message. Commands and status words: Keithley, Model 2450 Interactive SourceMeter Instrument Reference
Manual, 2450-901-01.
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
from labctl.errors import InstrumentError
from labctl.links.dialects import Scpi

_LIMITED, _OUTPUT = 0x20, 0x80
"""Of a reading's source status: the source was held back by its limit; the output was on."""
_MOST_VOLTS = {"2460": 105.0, "2461": 105.0, "2470": 1100.0}
_MOST_LEVELS, _LEVELS_A_LIST = 2500, 100
_FASTEST = 0.01  # power line cycles
_READING_TIME = 0.6e-3  # s of a reading of so many cycles and of what is sourced, without autozero
_BUFFER = '"defbuffer1"'
_SETTINGS = (
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


class Keithley2450Settings(SourceMeasureSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As every source-measure unit's; `integration_time` is 0.01 to 10 power line cycles."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_cycles(self.integration_time)


class Keithley2450(VisaInstrument):
    """A `SourceMeasureUnit`."""

    Settings = Keithley2450Settings
    dialect = Scpi(":SYST:ERR?")
    models = ("MODEL 2450", "MODEL 246", "MODEL 2470")
    shortest_pulse = 1e-3

    @property
    def max_voltage(self) -> float:
        return next((volts for model, volts in _MOST_VOLTS.items() if model in self.link.idn), 210.0)

    @property
    def integration_time(self) -> float:
        return self._cycles

    def set_up(self) -> None:
        """Raises InstrumentError where the instrument is set to another of its languages."""
        language = self.link.query("*LANG?")
        if language.strip('"') != "SCPI":
            raise InstrumentError(
                f"{self.settings.resource_name}: it speaks {language}: send *LANG SCPI, and switch it off and on"
            )
        self._cycles: float = self.settings.integration_time
        self.link.exchange(
            '*CLS;*RST;:SOUR:FUNC VOLT;:SENS:FUNC "CURR";:SOUR:VOLT:READ:BACK ON'
            f";:SENS:CURR:RSEN {int(self.settings.remote_sense)};:SENS:VOLT:RSEN {int(self.settings.remote_sense)}"
            f";{_integration(self._cycles)};{_range(self.settings.current_range)}"
        )

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self.link.write(":OUTP OFF", timeout_s=timeout_s)

    def settings_now(self) -> Mapping[str, Any]:
        return self.answers(_SETTINGS)

    def source_voltage(self, level: float, compliance: float) -> None:
        check_limits(level, self.max_voltage, compliance, "V")
        self.link.write(f':SOUR:FUNC VOLT;:SENS:FUNC "CURR";:SOUR:VOLT:ILIM {compliance:.9g};:SOUR:VOLT {level:.9g}')

    def source_current(self, level: float, compliance: float) -> None:
        check_limits(compliance, self.max_voltage, compliance, "V")
        self.link.write(f':SOUR:FUNC CURR;:SENS:FUNC "VOLT";:SOUR:CURR:VLIM {compliance:.9g};:SOUR:CURR {level:.9g}')

    def output(self, on: bool) -> None:
        self.link.write(f":OUTP {'ON' if on else 'OFF'}")

    def set_integration_time(self, cycles: float) -> None:
        _check_cycles(cycles)
        self.link.write(_integration(cycles))
        self._cycles = cycles

    def set_current_range(self, amps: float | None) -> None:
        self.link.write(_range(amps))

    def measure(self) -> Measured:
        """What is measured comes as the reading; the other quantity as the source's readback."""
        function, answer = self.link.exchange(f":SENS:FUNC?;:READ? {_BUFFER},SOUR,READ,SOURSTAT")
        return self._readings(answer, 1, of_current=str(function).strip('"').upper().startswith("CURR"))[0]

    def sweep(self, levels: ArrayLike, compliance: float, *, delay: float = 0.0) -> Swept:
        given = checked_levels(levels, self.max_voltage, _MOST_LEVELS)
        if len(given) > 1 or delay:
            return self._list(given, compliance, delay, self._cycles)
        answer = self.link.query(
            f':SOUR:FUNC VOLT;:SENS:FUNC "CURR";:SOUR:VOLT:ILIM {compliance:.9g};:SOUR:VOLT {given[0]:.9g}'
            f";:READ? {_BUFFER},SOUR,READ,SOURSTAT;:SOUR:VOLT 0"
        )
        return self._readings(answer, 1, of_current=True)

    def pulse(self, level: float, width: float, compliance: float) -> Measured:
        check_pulse(width, self.shortest_pulse)
        given = checked_levels([level], self.max_voltage, 1)
        return self._list(given, compliance, width - _READING_TIME, _FASTEST)[0]

    def status(self) -> frozenset[str]:
        output, *limited = self.link.exchange(":OUTP?;:SOUR:VOLT:ILIM:TRIP?;:SOUR:CURR:VLIM:TRIP?")
        said = {"output on": int(output), "in compliance": any(map(int, limited))}
        return frozenset(name for name, holds in said.items() if holds)

    def _list(self, levels: NDArray[np.float64], compliance: float, delay: float, cycles: float) -> Swept:
        """Each of `levels` for `delay` and a reading of `cycles`; the settings are as before then, the level is 0 V.

        The fastest readings are made without autozero, which would take longer than they do. A sweep leaves the output
        off.
        """
        count, words = len(levels), [f"{level:.9g}" for level in levels]
        lists = [",".join(words[at : at + _LEVELS_A_LIST]) for at in range(0, len(words), _LEVELS_A_LIST)]
        lists[0] = f":SOUR:LIST:VOLT {lists[0]}"
        lists[1:] = [f":SOUR:LIST:VOLT:APP {each}" for each in lists[1:]]
        answer = self.link.query(
            f':SOUR:FUNC VOLT;:SENS:FUNC "CURR";:SOUR:VOLT:ILIM {compliance:.9g};{_integration(cycles)}'
            f";:SENS:CURR:AZER {'OFF' if cycles == _FASTEST else 'ON'}"
            f";{';'.join(lists)};:SOUR:SWE:VOLT:LIST 1,{max(delay, 0.0):.9g},1,OFF,{_BUFFER};:INIT;*WAI"
            f";:TRAC:DATA? 1,{count},{_BUFFER},SOUR,READ,SOURSTAT"
            f";:SOUR:VOLT 0;:OUTP ON;:SENS:CURR:AZER ON;{_integration(self._cycles)}",
            timeout_s=self.link.timeout_s + 2 * count * (delay + cycles / 50 + 0.01),
        )
        return self._readings(answer, count, of_current=True)

    def _readings(self, answer: object, count: int, of_current: bool) -> Swept:
        source, reading, words = numbers(answer, 3, count, self.settings.resource_name).T
        volts, amps = (source, reading) if of_current else (reading, source)
        status = words.astype(np.int64)
        if not np.all(status & _OUTPUT):
            raise InstrumentError(f"{self.settings.resource_name}: it cannot measure: its output is off")
        return swept(volts, amps, (status & _LIMITED) != 0)


def _integration(cycles: float) -> str:
    return f":SENS:CURR:NPLC {cycles:.9g};:SENS:VOLT:NPLC {cycles:.9g}"


def _range(amps: float | None) -> str:
    return ":SENS:CURR:RANG:AUTO ON" if amps is None else f":SENS:CURR:RANG {amps:.9g}"


def _check_cycles(cycles: float) -> None:
    if not 0.01 <= cycles <= 10:
        raise ValueError(f"integration_time must be 0.01 to 10 power line cycles, not {cycles:g}")
