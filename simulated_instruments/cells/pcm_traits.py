"""What a phase-change cell is born with: device-to-device spread and defects, decided by the chip's serial alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .births import Births
from .fluctuators import COUNT
from .model import Float32
from .pcm_parameters import PcmParameters


@dataclass(frozen=True, slots=True)
class PcmTraits:
    """Fixed for life, (cells,) float32 each.

    pristine_conductance: S. heater: by how much a current heats the cell, 1 in the middle and 0 where it is stuck.
    drift: standard normal, its place among the cells' drift exponents. fluctuators: (COUNT, cells), amplitude of the
    persistent noise over the standard deviation of all read noise. life: melts that it stands.
    """

    pristine_conductance: Float32
    heater: Float32
    drift: Float32
    fluctuators: Float32
    life: Float32

    @classmethod
    def draw(cls, serial: str, count: int, parameters: PcmParameters) -> PcmTraits:
        """The traits of `count` cells of the chip `serial`. Spreads are lognormal; defects exclude each other."""
        p, born = parameters, Births(serial, count)
        heater = born.lognormal("heater", 1.0, p.heater_device_spread)
        pristine = born.lognormal("pristine", p.pristine_conductance, p.pristine_device_spread)
        np.clip(pristine, p.conductance_least, p.conductance_most, out=pristine)
        defect = born.uniform("defect")
        low = defect < p.stuck_low_fraction
        high = ~low & (defect < p.stuck_low_fraction + p.stuck_high_fraction)
        heater[low | high] = 0
        pristine[low], pristine[high] = p.stuck_low_conductance, p.stuck_high_conductance
        spread = p.read_noise_device_spread
        amplitude = (
            born.lognormal(  # its square is 1 / COUNT in the mean
                "persistent noise", math.sqrt(p.read_noise_persistence / COUNT) * math.exp(-(spread**2)), spread
            )
            if p.read_noise_persistence
            else np.zeros(count, np.float32)
        )
        return cls(
            pristine_conductance=pristine,
            heater=heater,
            drift=born.normal("drift exponent", 0.0, 1.0),
            fluctuators=np.broadcast_to(amplitude, (COUNT, count)),
            life=born.lognormal("life", p.endurance_melts, p.endurance_device_spread),
        )
