"""The common face of source-measure units, whatever language they speak.

Voltages and currents are those at the output; a level is what is sourced, a compliance the most that the other
quantity may become. Nothing an instrument says instead of a value (9.9e37, 9.91e37) is passed on as one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.bench.settings import VisaSettings
from labctl.errors import InstrumentError
from labctl.links.visa import VisaLink
from labctl.units import Ampere

_NO_VALUE = 9.8e37
"""From here on a number is a word: 9.9e37 is an overflow, 9.91e37 not a number."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One reading: V and A at the output, NaN where there is none. in_compliance: the level was not reached because
    the other quantity is at its limit, so the two are a point of the device, not at the level. overflow: beyond the
    measuring range."""

    volts: float
    amps: float
    in_compliance: bool
    overflow: bool


@dataclass(frozen=True, slots=True)
class Swept:
    """Readings of a sweep, (n,) each: see `Measured`."""

    volts: NDArray[np.float64]
    amps: NDArray[np.float64]
    in_compliance: NDArray[np.bool_]
    overflow: NDArray[np.bool_]

    def __getitem__(self, index: int) -> Measured:
        return Measured(
            float(self.volts[index]),
            float(self.amps[index]),
            bool(self.in_compliance[index]),
            bool(self.overflow[index]),
        )

    def __len__(self) -> int:
        return len(self.volts)


class SourceMeasureSettings(VisaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every source-measure unit has in its table.

    integration_time: of a reading, in power line cycles. current_range: A, of its readings; None: chosen by the
    instrument, which takes its time. remote_sense: four wires.
    """

    integration_time: float = 1.0
    current_range: Ampere | None = None
    remote_sense: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.001 <= self.integration_time <= 25:
            raise ValueError(f"integration_time must be 0.001 to 25 power line cycles, not {self.integration_time:g}")
        if self.current_range is not None and not self.current_range > 0:
            raise ValueError(f"current_range must be more than 0 A, not {self.current_range:g}")


@runtime_checkable
class SourceMeasureUnit(Protocol):
    """One channel that sources V or A and measures both. Every call is one exchange, but for a pulse; calls raise
    LinkError, InstrumentError, and ValueError for what no such instrument can do."""

    @property
    def link(self) -> VisaLink: ...

    @property
    def is_on(self) -> bool:
        """Whether the output is on, as far as is known here."""

    @property
    def voltage(self) -> float | None:
        """V that are sourced when it is on, as far as is known here; None: not known, or a current is."""

    @property
    def max_voltage(self) -> float:
        """V it can source, either way."""

    @property
    def shortest_pulse(self) -> float:
        """s that its level can be held for, at the least."""

    @property
    def integration_time(self) -> float:
        """Of a reading, in power line cycles."""

    def source_voltage(self, level: float, compliance: float) -> None:
        """`level` V as soon as the output is on, at most `compliance` A."""

    def source_current(self, level: float, compliance: float) -> None:
        """`level` A as soon as the output is on, at most `compliance` V."""

    def output(self, on: bool) -> None: ...

    def set_integration_time(self, cycles: float) -> None: ...

    def set_current_range(self, amps: float | None) -> None:
        """Of readings; None: chosen by the instrument."""

    def measure(self) -> Measured:
        """At the present level. Raises InstrumentError where the output is off."""

    def sweep(self, levels: ArrayLike, compliance: float, *, delay: float = 0.0) -> Swept:
        """Source each of `levels` V in turn, wait `delay` s and measure; 0 V afterwards. The output has to be on."""

    def pulse(self, level: float, width: float, compliance: float) -> Measured:
        """`level` V for `width` s, measured at its end, and 0 V before and after. The output has to be on.

        The range of the reading is that of `compliance`, as a smaller one would hold the pulse back. Raises ValueError
        for a width below `shortest_pulse`; NotPulsedError where it was refused and nothing given.
        """

    def status(self) -> frozenset[str]:
        """What holds now, of "output on", "in compliance" and whatever else the instrument can say."""

    def snapshot(self) -> Mapping[str, Any]: ...

    def safe_state(self, timeout_s: float = 2.0) -> None: ...


class Sourcing:
    """What a unit is known to source: `is_on` and `voltage` of the common face."""

    is_on = False
    voltage: float | None = None
    _quantity = ""

    def forget(self) -> None:
        """It is off, and sources nothing that is known."""
        self.is_on, self.voltage, self._quantity = False, None, ""

    @contextlib.contextmanager
    def sourcing(self, quantity: Literal["voltage", "current"], volts: float | None) -> Iterator[None]:
        """Around a message after which it sources `volts`; not known until that is answered. Another quantity
        switches these instruments off."""
        if quantity != self._quantity:
            self.forget()
        self.voltage = None
        yield
        self._quantity, self.voltage = quantity, volts

    def check_on(self, what: str, resource_name: str) -> None:
        if not self.is_on:
            raise InstrumentError(f"{resource_name}: no {what}: its output is off")


def swept(
    volts: ArrayLike, amps: ArrayLike, limited: Sequence[bool] | NDArray[np.bool_], overflow: ArrayLike = False
) -> Swept:
    """Readings as they came from the instrument, with what is no value taken out."""
    v, a = np.array(volts, np.float64), np.array(amps, np.float64)
    beyond = (np.abs(v) >= _NO_VALUE) | (np.abs(a) >= _NO_VALUE) | np.asarray(overflow, bool)
    v[np.abs(v) >= _NO_VALUE] = np.nan
    a[(np.abs(a) >= _NO_VALUE) | np.asarray(overflow, bool)] = np.nan
    return Swept(v, a, np.asarray(limited, bool), beyond)


def numbers(answer: object, columns: int, rows: int, resource_name: str) -> NDArray[np.float64]:
    """(rows, columns) of a comma-separated answer. Raises InstrumentError where it is none of that size."""
    try:
        found = np.array([float(word) for word in str(answer).split(",")])
        return found.reshape(rows, columns)
    except ValueError:
        raise InstrumentError(
            f"{resource_name}: answered {str(answer)[:60]!r} where {rows} readings of {columns} numbers were expected"
        ) from None


def checked_levels(levels: ArrayLike, most: float, longest: int) -> NDArray[np.float64]:
    """(n,) V. Raises ValueError where a sweep of them cannot be."""
    given = np.atleast_1d(np.asarray(levels, np.float64))
    if given.ndim != 1 or not 1 <= len(given) <= longest:
        raise ValueError(f"a sweep has 1 to {longest} levels in one dimension, not {given.shape}")
    if not np.all(np.abs(given) <= most):  # which a NaN is not either
        raise ValueError(f"a sweep's levels must be within +-{most:g} V")
    return given


def check_pulse(width: float, shortest: float) -> None:
    """Raises ValueError for a pulse that this unit cannot give."""
    if not shortest <= width <= 100:
        raise ValueError(f"a pulse of {width:g} s cannot be given: {shortest:g} s to 100 s")


def check_limits(level: float, most: float, compliance: float, unit: str) -> None:
    """Raises ValueError for a level beyond `most` or a compliance that is none."""
    if not abs(level) <= most:
        raise ValueError(f"{level:g} {unit} is beyond the instrument's {most:g} {unit}")
    if not 0 < compliance < np.inf:
        raise ValueError(f"compliance must be more than 0, not {compliance:g}")
