"""What a cell is born with: device-to-device spread and defects, decided by the chip's serial alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .births import Births
from .fluctuators import DECADES, TIME_CONSTANTS
from .model import Float32
from .rram_parameters import RramParameters


@dataclass(frozen=True, slots=True)
class RramTraits:
    """Fixed for life, (cells,) float32 each.

    pristine_conductance: S. breakdown_voltage: V, infinite where the cell never forms. filament: what forming leaves,
    part of what the compliance allows. set_voltage, reset_voltage: V, infinite where it is stuck. abruptness: Weibull
    slope of its switching, 1. ceiling: its part in what the compliance leaves, 1. floor: S. read_noise: relative.
    fluctuators: (COUNT, cells) relative. life: programmings it stands. loss_time: s of age. stuck_high: bool.
    """

    pristine_conductance: Float32
    breakdown_voltage: Float32
    filament: Float32
    set_voltage: Float32
    reset_voltage: Float32
    abruptness: Float32
    ceiling: Float32
    floor: Float32
    read_noise: Float32
    fluctuators: Float32
    life: Float32
    loss_time: Float32
    stuck_high: NDArray[np.bool_]

    @classmethod
    def draw(cls, serial: str, count: int, parameters: RramParameters) -> RramTraits:
        """The traits of `count` cells of the chip `serial`.

        Spreads: normal in a voltage, lognormal in a conductance or a ratio. Tails: a fraction of cells breaks
        down early, or switches late, by an exponentially distributed voltage. Defects exclude each other.
        """
        p, born = parameters, Births(serial, count)
        slow = born.tail("slow", p.slow_fraction, p.slow_tail)
        breakdown = born.normal("breakdown voltage", p.breakdown_voltage, p.breakdown_device_spread)
        breakdown -= born.tail("early breakdown", p.breakdown_early_fraction, p.breakdown_early_tail)
        set_voltage = slow + born.normal("set voltage", p.set_voltage, p.set_voltage_device_spread)
        reset_voltage = slow + born.normal("reset voltage", p.reset_voltage, p.reset_voltage_device_spread)
        ceiling = born.lognormal("ceiling", 1.0, p.compliance_device_spread)

        defect = born.uniform("defect")
        fraction = born.of_chip("unformable", p.unformable_fraction, p.unformable_chip_spread)
        unformable = defect < fraction
        defect -= np.float32(fraction)
        stuck_low = ~unformable & (defect < p.stuck_low_fraction)
        defect -= np.float32(p.stuck_low_fraction)
        stuck_high = ~unformable & ~stuck_low & (defect < p.stuck_high_fraction)

        breakdown[unformable] = np.inf
        ceiling[stuck_low] *= np.float32(p.stuck_low_factor)
        set_voltage[stuck_low | stuck_high] = np.inf
        reset_voltage[stuck_low | stuck_high] = np.inf
        return cls(
            pristine_conductance=born.lognormal("pristine", p.pristine_conductance, p.pristine_device_spread),
            breakdown_voltage=breakdown,
            filament=np.exp(-born.tail("thin filament", p.thin_fraction, p.thin_tail)),
            set_voltage=set_voltage,
            reset_voltage=reset_voltage,
            abruptness=born.lognormal("abruptness", 1.0, p.abruptness_device_spread),
            ceiling=ceiling,
            floor=born.lognormal("floor", p.floor_conductance, p.floor_device_spread),
            read_noise=born.lognormal("read noise of the cell", p.read_noise, p.read_noise_device_spread),
            fluctuators=_fluctuators(born, p),
            life=born.lognormal("life", p.endurance_pulses, p.endurance_device_spread),
            loss_time=born.lognormal("loss time", p.loss_time, p.loss_device_spread),
            stuck_high=stuck_high,
        )


def _fluctuators(born: Births, p: RramParameters) -> Float32:
    """Amplitude of each fluctuator of each cell: the 1/f part, and in some cells one that stands out.

    S(f) ~ f**-(1 + excess) where the amplitude of a fluctuator grows with its time constant to the power excess / 2.
    """
    flicker = born.lognormal("flicker", p.flicker_noise * math.sqrt(DECADES), p.flicker_device_spread)
    growth = [constant ** (p.flicker_excess / 2) for constant in TIME_CONSTANTS]
    amplitudes = np.multiply.outer(np.array(growth, np.float32), flicker)
    able = [n for n, each in enumerate(TIME_CONSTANTS) if p.telegraph_fastest <= each <= p.telegraph_slowest]
    chance = born.uniform("telegraph")
    cells = np.flatnonzero(chance < p.telegraph_fraction) if able else np.empty(0, np.intp)
    step = born.lognormal("telegraph step", p.telegraph_noise, p.telegraph_device_spread)[cells]
    which = (born.uniform("telegraph time")[cells] * len(able)).astype(np.intp)
    amplitudes[np.array(able, np.intp)[which] if able else which, cells] += step
    return amplitudes
