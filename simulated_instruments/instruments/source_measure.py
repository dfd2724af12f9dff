"""One channel of a source-measure unit, whatever its make: what it drives its lead with, and what it reads there.

Modelled: ranges and autorange, the steps of the source, compliance (the limit set, and the one that a fixed
measurement range is), noise and resolution by range and integration time, autozero, averaging, output-off states, and
the time all of it takes. Not modelled: errors of gain and offset (the instrument was calibrated this morning), the
resistance of leads and with it the difference between two and four wires, settling.

Noise of a reading on a range of full scale F, integrated over n power line cycles, as its standard deviation:

    sqrt(noise² / n + (hum F / n)² where n < 1)

`noise` and `resolution` hold at n = 1, as data sheets state them; below one cycle the hum of the mains is no longer
averaged out, which data sheets put as a share of the range that grows as 1/n. The converter counts for as long as it
integrates, so that above one cycle the resolution is finer the longer that is, `resolution / n`; below one the noise
is more than the last digit.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ..network import Bias, Lead

Quantity: TypeAlias = Literal["voltage", "current"]
OTHER: Mapping[Quantity, Quantity] = {"voltage": "current", "current": "voltage"}
QUANTITIES: tuple[Quantity, Quantity] = ("voltage", "current")

_ROUNDING = 1 + 1e-9
_OFF_LIMIT = 0.005  # of a range: what limits the other quantity while the output is off
_ZERO_CONVERSIONS = 2  # of the reference and of zero, which autozero adds to each reading


class BeyondRange(ValueError):
    """A level, range or limit that the channel, or its present range, does not reach."""


class BeyondPower(ValueError):
    """Voltage and current that the channel reaches one by one and not together."""


class OffState(enum.Enum):
    """What a channel does to its lead while its output is off.

    NORMAL: 0 V, with little current. ZERO: 0 V, with the limit set. GUARD: 0 A, with little voltage.
    HIGH_IMPEDANCE: the relay is open.
    """

    NORMAL = "normal"
    ZERO = "zero"
    GUARD = "guard"
    HIGH_IMPEDANCE = "high impedance"


@dataclass(frozen=True, slots=True)
class Range:
    """One range, in V or A: full scale, step of the source; resolution and standard deviation of a reading in 1 PLC."""

    full_scale: float
    step: float
    resolution: float
    noise: float


@dataclass(frozen=True, slots=True)
class Ratings:
    """What a model can do, from its data sheet.

    voltage, current: its ranges, the smallest first. source_reach, sense_reach: how far a range goes, of its full
    scale; readings go further than limits do, so that one at the limit is read. corners: (V, A) that it gives
    together. hum: see above. overhead: s a reading takes besides conversions.
    first_ranges, first_limits: in V and A, by quantity, when powered on and after a reset.
    """

    voltage: tuple[Range, ...]
    current: tuple[Range, ...]
    source_reach: float
    sense_reach: float
    corners: tuple[tuple[float, float], ...]
    hum: float
    overhead: float
    first_ranges: Mapping[Quantity, float]
    first_limits: Mapping[Quantity, float]

    def ranges(self, quantity: Quantity) -> tuple[Range, ...]:
        return self.voltage if quantity == "voltage" else self.current

    def range_for(self, quantity: Quantity, magnitude: float, reach: float) -> Range:
        """The smallest range that has `magnitude` (V or A) within its reach. Raises BeyondRange."""
        for each in self.ranges(quantity):
            if abs(magnitude) <= each.full_scale * reach * _ROUNDING:
                return each
        raise BeyondRange(f"{magnitude:g} is beyond {self.top(quantity) * reach:g} {unit(quantity)}")

    def top(self, quantity: Quantity) -> float:
        """Full scale of the largest range."""
        return self.ranges(quantity)[-1].full_scale


@dataclass(frozen=True, slots=True)
class Reading:
    """What one measurement gave. time: its end, s since 1970. level: what the source was set to, V or A.

    volts, amps: None where not measured, infinite where beyond the range. limited: the source was at the limit set.
    range_limited: it was at the end of a fixed measurement range, below that limit.
    """

    time: float
    function: Quantity
    level: float
    volts: float | None
    amps: float | None
    limited: bool
    range_limited: bool

    @property
    def overflow(self) -> bool:
        return any(each is not None and math.isinf(each) for each in (self.volts, self.amps))

    @property
    def ohms(self) -> float:
        """V over A; infinite where no current flows, NaN where one of them was not measured."""
        if self.volts is None or self.amps is None:
            return math.nan
        if self.overflow or self.amps == 0:
            return math.inf
        return self.volts / self.amps


@dataclass(slots=True)
class _Side:
    """The source or the measurement of one quantity: its range when fixed (or last chosen), and its level."""

    range: Range
    auto: bool = True
    level: float = 0.0


class SourceMeasureChannel:
    """A channel on its lead. What is out of its reach raises BeyondRange or BeyondPower and changes nothing.

    Attributes that are set as they are:
        sensing: the quantities that are measured; a fixed range of the one that is not sourced limits it too.
        integration: power line cycles (PLC) of one conversion.
        line_frequency: Hz.
        auto_zero: the converter's zero and reference are measured with each reading, which takes their time.
        averaging: readings to a result. moving: of the last ones, instead of that many new ones.
        off_limits: V and A that the off states hold to; None: 0.5 % of the present ranges.
    """

    def __init__(self, ratings: Ratings, lead: Lead, seed: str) -> None:
        """seed: text, such as a serial number, that decides the noise."""
        self.ratings = ratings
        self.lead = lead
        self.line_frequency = 50.0
        self._random = np.random.default_rng(int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest()))
        self._past: deque[tuple[float, float]] = deque()
        self.reset()

    def reset(self) -> None:
        """As when powered on: output off, 0 V sourced, current measured, ranges automatic."""
        self.function: Quantity = "voltage"
        self.limits = dict(self.ratings.first_limits)
        self._source = {quantity: self._first_side(quantity) for quantity in QUANTITIES}
        self._sense = {quantity: self._first_side(quantity) for quantity in QUANTITIES}
        self.sensing: frozenset[Quantity] = frozenset({"current"})
        self.integration = 1.0
        self.auto_zero = True
        self.averaging = 1
        self.moving = False
        self.output = False
        self.off_state = OffState.NORMAL
        self.off_limits: Mapping[Quantity, float] | None = None
        self._drive()

    def _first_side(self, quantity: Quantity) -> _Side:
        return _Side(self.ratings.range_for(quantity, self.ratings.first_ranges[quantity], 1.0))

    def close(self) -> None:
        """Let go of the lead."""
        self.lead.hold(None)

    # -- the source ---------------------------------------------------------------------------------------------

    def select(self, function: Quantity) -> None:
        """Source this quantity from now on. The output goes off, as the other one's level may be anything."""
        if function != self.function:
            self._check_power(function, self.source_range(function), self.limits[OTHER[function]])
            self.function, self.output = function, False
        self._drive()

    def level(self, quantity: Quantity) -> float:
        """What is, or would be, sourced: V or A."""
        return self._source[quantity].level

    def set_level(self, quantity: Quantity, level: float, most: float = 0.0) -> None:
        """On a fixed range, within it; else the range follows. most: a level the range is to hold as well, V or A."""
        side = self._source[quantity]
        wanted = self.ratings.range_for(quantity, max(abs(level), abs(most)), self.ratings.source_reach)
        if not side.auto and wanted.full_scale > side.range.full_scale:
            reach = side.range.full_scale * self.ratings.source_reach
            raise BeyondRange(f"{level:g} is beyond the {reach:g} {unit(quantity)} of the source range")
        chosen = wanted if side.auto else side.range
        if quantity == self.function:
            self._check_power(quantity, chosen, self.limits[OTHER[quantity]])
        side.range, side.level = chosen, level
        self._drive()

    def source_range(self, quantity: Quantity) -> Range:
        return self._source[quantity].range

    def set_source_range(self, quantity: Quantity, magnitude: float) -> None:
        """Fix the smallest range that reaches `magnitude`; the present level has to be within it."""
        side = self._source[quantity]
        chosen = self.ratings.range_for(quantity, magnitude, self.ratings.source_reach)
        if abs(side.level) > chosen.full_scale * self.ratings.source_reach * _ROUNDING:
            raise BeyondRange(f"the level, {side.level:g} {unit(quantity)}, is beyond that range")
        if quantity == self.function:
            self._check_power(quantity, chosen, self.limits[OTHER[quantity]])
        side.range, side.auto = chosen, False
        self._drive()

    def source_auto(self, quantity: Quantity) -> bool:
        return self._source[quantity].auto

    def set_source_auto(self, quantity: Quantity, on: bool) -> None:
        """Whether the source range follows the level. Off, it stays as it is."""
        side = self._source[quantity]
        side.auto = on
        if on:
            self.set_level(quantity, side.level)

    def set_limit(self, quantity: Quantity, limit: float) -> None:
        """How far `quantity` may go, either sign, while the other one is sourced: V or A."""
        magnitude = abs(limit)
        self.ratings.range_for(quantity, magnitude, self.ratings.source_reach)
        if quantity != self.function:
            self._check_power(self.function, self.source_range(self.function), magnitude)
        self.limits[quantity] = magnitude
        self._drive()

    def _check_power(self, function: Quantity, chosen: Range, limit: float) -> None:
        sourced = chosen.full_scale * self.ratings.source_reach
        volts, amps = (sourced, limit) if function == "voltage" else (limit, sourced)
        if not any(volts <= v * _ROUNDING and amps <= a * _ROUNDING for v, a in self.ratings.corners):
            raise BeyondPower(f"{volts:g} V together with {amps:g} A")

    # -- the measurement ----------------------------------------------------------------------------------------

    def sense_range(self, quantity: Quantity) -> Range:
        """The range in use: what is sourced is measured on the range it is sourced on."""
        return self._source[quantity].range if quantity == self.function else self._sense[quantity].range

    def set_sense_range(self, quantity: Quantity, magnitude: float) -> None:
        """Fix the smallest range that reaches `magnitude`, V or A."""
        side = self._sense[quantity]
        side.range, side.auto = self.ratings.range_for(quantity, magnitude, self.ratings.sense_reach), False
        self._drive()

    def sense_auto(self, quantity: Quantity) -> bool:
        return self._sense[quantity].auto

    def set_sense_auto(self, quantity: Quantity, on: bool) -> None:
        """Whether the range follows what is measured. Off, it stays as it is."""
        self._sense[quantity].auto = on
        self._drive()

    def set_sensing(self, *quantities: Quantity) -> None:
        """What is measured from now on."""
        self.sensing = frozenset(quantities)
        self._drive()

    # -- the output ---------------------------------------------------------------------------------------------

    def set_output(self, on: bool) -> None:
        self.output = on
        self._drive()

    def set_off_state(self, state: OffState) -> None:
        self.off_state = state
        self._drive()

    @property
    def limit_in_force(self) -> float:
        """What the quantity that is not sourced is held to: the limit set, or less by a fixed measurement range."""
        limited = OTHER[self.function]
        side = self._sense[limited]
        if side.auto or limited not in self.sensing:
            return self.limits[limited]
        return min(self.limits[limited], side.range.full_scale * self.ratings.source_reach)

    def _drive(self) -> None:
        self._past.clear()
        self.lead.hold(self._bias() if self.output else self._off_bias())

    def _bias(self) -> Bias:
        side = self._source[self.function]
        return Bias(self.function, round(side.level / side.range.step) * side.range.step, self.limit_in_force)

    def _off_bias(self) -> Bias | None:
        if self.off_state is OffState.HIGH_IMPEDANCE:
            return None
        held: Quantity = "current" if self.off_state is OffState.GUARD else "voltage"
        limited = OTHER[held]
        little = (self.off_limits or {}).get(limited, _OFF_LIMIT * self.sense_range(limited).full_scale)
        return Bias(held, 0.0, max(little, self.limits[limited]) if self.off_state is OffState.ZERO else little)

    # -- readings -----------------------------------------------------------------------------------------------

    @property
    def reading_time(self) -> float:
        """s that one reading takes."""
        conversions = max(len(self.sensing), 1) + (_ZERO_CONVERSIONS if self.auto_zero else 0)
        readings = 1 if self.moving else self.averaging
        return readings * (conversions * self.integration / self.line_frequency + self.ratings.overhead)

    def at_limit(self) -> bool:
        """Whether the source is held back now. It knows: nothing is measured."""
        return self.output and self.lead.sense(0.0).limited

    def measure(self, delay: float = 0.0) -> Reading:
        """One reading of what is being sensed, `delay` s from now. Takes its time on the clock of the bench."""
        self.lead.clock.spend(delay)
        in_force = self.limit_in_force
        sensed = self.lead.sense(self.reading_time)
        volts, amps = self._averaged(sensed.volts, sensed.amps)
        limited = self.output and sensed.limited
        by_range = in_force < self.limits[OTHER[self.function]]
        return Reading(
            time=self.lead.clock.now(),
            function=self.function,
            level=self._source[self.function].level,
            volts=self._converted("voltage", volts) if "voltage" in self.sensing else None,
            amps=self._converted("current", amps) if "current" in self.sensing else None,
            limited=limited and not by_range,
            range_limited=limited and by_range,
        )

    def _averaged(self, volts: float, amps: float) -> tuple[float, float]:
        """The noisy values that go into the converter's count; the moving filter keeps the last ones."""
        noisy = self._noisy("voltage", volts), self._noisy("current", amps)
        if not self.moving:
            return noisy
        self._past.append(noisy)
        while len(self._past) > self.averaging:
            self._past.popleft()
        mean_volts, mean_amps = np.mean(self._past, axis=0)
        return float(mean_volts), float(mean_amps)

    def _noisy(self, quantity: Quantity, true: float) -> float:
        chosen = self._chosen(quantity, true)
        hum = self.ratings.hum * chosen.full_scale / self.integration if self.integration < 1 else 0.0
        spread = math.hypot(chosen.noise / math.sqrt(self.integration), hum)
        averaged = 1 if self.moving else self.averaging
        return true + spread / math.sqrt(averaged) * float(self._random.standard_normal())

    def _converted(self, quantity: Quantity, value: float) -> float:
        chosen = self._chosen(quantity, value)
        if not self.follows_source(quantity):
            self._sense[quantity].range = chosen
        if abs(value) > chosen.full_scale * self.ratings.sense_reach * _ROUNDING:
            return math.copysign(math.inf, value)
        count = chosen.resolution / max(self.integration, 1.0)
        return round(value / count) * count

    def _chosen(self, quantity: Quantity, value: float) -> Range:
        """The range that `value` is measured on; no larger one than the limit can call for."""
        if self.follows_source(quantity) or not self._sense[quantity].auto:
            return self.sense_range(quantity)
        most = min(abs(value), self.limits[quantity] if quantity != self.function else math.inf)
        try:
            return self.ratings.range_for(quantity, most, self.ratings.sense_reach)
        except BeyondRange:
            return self.ratings.ranges(quantity)[-1]

    def follows_source(self, quantity: Quantity) -> bool:
        """What is sourced is measured on the source's own range."""
        return quantity == self.function


def unit(quantity: Quantity) -> str:
    return "V" if quantity == "voltage" else "A"
