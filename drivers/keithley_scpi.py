"""Keithley's source-measure units in SCPI, the 2400 series and the 2450 family: what the two have in common.

Every call is one message, but for a pulse, which is two: what may be refused, then what triggers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.drivers.pulses import before_the_pulse
from labctl.drivers.source_measure import (
    Measured,
    SourceMeasureSettings,
    Sourcing,
    Swept,
    check_limits,
    check_pulse,
    checked_levels,
)
from labctl.drivers.visa_instrument import VisaInstrument
from labctl.links.dialects import Scpi

_MOST_LEVELS, _LEVELS_A_LIST = 2500, 100
FASTEST = 0.01  # power line cycles
_FIRST_COMPLIANCE = 105e-6  # A, after a reset


class KeithleyScpiSettings(SourceMeasureSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As every source-measure unit's; `integration_time` is 0.01 to 10 power line cycles."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_cycles(self.integration_time)


class KeithleyScpi(Sourcing, VisaInstrument):
    """A `SourceMeasureUnit`. What a model adds: the class variables, `integration`, `running`, `readings`, `measure`,
    `status` and `set_up`."""

    Settings = KeithleyScpiSettings
    dialect = Scpi(":SYST:ERR?")
    shortest_pulse = 1e-3

    most_volts: ClassVar[Mapping[str, float]]
    """Model -> V; 210 V where it is not named."""
    overhead: ClassVar[float]
    """s of a reading of both quantities besides its two conversions, without autozero."""
    to_volts: ClassVar[str]
    to_amps: ClassVar[str]
    """What makes it source volts, and amperes, at a fixed level."""
    amps_limit: ClassVar[str]
    volts_limit: ClassVar[str]
    """The headers of the compliance of these two."""
    read: ClassVar[str]
    """What makes one reading and asks for it."""
    headers: ClassVar[tuple[str, ...]]
    """Of the settings in a snapshot."""

    def __init__(self, settings: KeithleyScpiSettings, managers: Any = None) -> None:
        super().__init__(settings, managers)
        self._cycles: float = settings.integration_time
        self._amps: float | None = settings.current_range
        self._compliance = _FIRST_COMPLIANCE
        self._mains = 50.0

    # -- what a model adds ----------------------------------------------------------------------------------------

    @abstractmethod
    def integration(self, cycles: float) -> str: ...

    @abstractmethod
    def running(self, count: int, delay: float, cycles: float) -> str:
        """What sources each of the `count` levels of the list for `delay` and a reading of `cycles` and asks for the
        readings, without autozero where they are the fastest; 0 V then, and all settings as they were."""

    @abstractmethod
    def readings(self, answer: object, count: int) -> Swept:
        """Of a voltage source."""

    # -- the common face ------------------------------------------------------------------------------------------

    @property
    def max_voltage(self) -> float:
        return next((volts for model, volts in self.most_volts.items() if model in self.model), 210.0)

    @property
    def integration_time(self) -> float:
        return self._cycles

    def begin(self, message: str) -> None:
        """Send `message`, which resets it, with the settings that are the same for all."""
        self.forget()
        self._cycles, self._amps = self.settings.integration_time, self.settings.current_range
        limits = self._limited(max(_FIRST_COMPLIANCE, self._amps or 0.0), self._amps)
        self._mains = float(self.link.query(f"{message};{self.integration(self._cycles)};{limits};:SYST:LFR?"))

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self.forget()
        self.link.write(":OUTP OFF", timeout_s=timeout_s)

    def settings_now(self) -> Mapping[str, Any]:
        return self.answers(self.headers)

    def source_voltage(self, level: float, compliance: float) -> None:
        check_limits(level, self.max_voltage, compliance, "V")
        with self.sourcing("voltage", level):
            self.link.write(f"{self.to_volts};{self._limited(compliance, self._amps)};:SOUR:VOLT {level:.9g}")

    def source_current(self, level: float, compliance: float) -> None:
        check_limits(compliance, self.max_voltage, compliance, "V")
        with self.sourcing("current", None):
            self.link.write(f"{self.to_amps};{self.volts_limit} {compliance:.9g};:SOUR:CURR {level:.9g}")

    def output(self, on: bool) -> None:
        self.is_on = False
        self.link.write(f":OUTP {'ON' if on else 'OFF'}")
        self.is_on = on

    def set_integration_time(self, cycles: float) -> None:
        _check_cycles(cycles)
        self.link.write(self.integration(cycles))
        self._cycles = cycles

    def set_current_range(self, amps: float | None) -> None:
        """No wider than the compliance calls for: a range above it is refused, and beyond it nothing flows."""
        self.link.write(self._range(amps))
        self._amps = amps

    def sweep(self, levels: ArrayLike, compliance: float, *, delay: float = 0.0) -> Swept:
        given = checked_levels(levels, self.max_voltage, _MOST_LEVELS)
        self.check_on("sweep", self.settings.resource_name)
        setting = f"{self.to_volts};{self._limited(compliance, self._amps)}"
        with self.sourcing("voltage", 0.0):
            if len(given) == 1 and not delay:
                answer = self.link.query(f"{setting};:SOUR:VOLT {given[0]:.9g};{self.read};:SOUR:VOLT 0")
            else:
                running = self.running(len(given), delay, self._cycles)
                took = self._most_time(len(given), delay, self._cycles)
                answer = self.link.query(f"{setting};{_listed(given)};{running}", timeout_s=took)
        return self.readings(answer, len(given))

    def pulse(self, level: float, width: float, compliance: float) -> Measured:
        check_pulse(width, self.shortest_pulse)
        given = checked_levels([level], self.max_voltage, 1)
        delay = width - (2 * FASTEST / self._mains + self.overhead)
        with self.sourcing("voltage", 0.0):
            with before_the_pulse():
                limits = self._limited(compliance, compliance)
                on = self.link.query(f"{self.to_volts};{limits};{_listed(given)};:OUTP?")
                self.is_on = bool(int(on))
                self.check_on("pulse", self.settings.resource_name)
            answer = self.link.query(
                f"{self.running(1, delay, FASTEST)};{self._limited(compliance, self._amps)}",
                timeout_s=self._most_time(1, delay, FASTEST),
            )
        return self.readings(answer, 1)[0]

    # -- inside ---------------------------------------------------------------------------------------------------

    def _limited(self, compliance: float, amps: float | None) -> str:
        """The compliance of a voltage source and with it the range of readings up to `amps`, which it bounds. With the
        range automatic in between, neither is refused for what the other was."""
        self._compliance = compliance
        fixed = "" if amps is None else f";{self._range(amps)}"
        return f":SENS:CURR:RANG:AUTO ON;{self.amps_limit} {compliance:.9g}{fixed}"

    def _range(self, amps: float | None) -> str:
        return ":SENS:CURR:RANG:AUTO ON" if amps is None else f":SENS:CURR:RANG {min(amps, self._compliance):.9g}"

    def _most_time(self, count: int, delay: float, cycles: float) -> float:
        return self.link.timeout_s + 2 * count * (delay + cycles / self._mains + 0.01)


def _listed(levels: NDArray[np.float64]) -> str:
    """What gives a list its levels, no command too long."""
    words = [f"{level:.9g}" for level in levels]
    parts = [",".join(words[at : at + _LEVELS_A_LIST]) for at in range(0, len(words), _LEVELS_A_LIST)]
    return ";".join(f":SOUR:LIST:VOLT{':APP' if at else ''} {part}" for at, part in enumerate(parts))


def _check_cycles(cycles: float) -> None:
    if not 0.01 <= cycles <= 10:
        raise ValueError(f"integration_time must be 0.01 to 10 power line cycles, not {cycles:g}")
