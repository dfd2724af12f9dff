"""What one pulse does to a cell, as the simulated cells do it, for fits that simulate the measurement.

    G <- G + f (G_target - G), f = 1 - exp(-(t / tau)**beta), tau = t_0 exp((V_switch - V_cell - s xi) / V_0)

V_cell = V / (1 + G / G_access); SET: G_target = ceiling compliance exp(s xi'), RESET: floor exp(-s xi').
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from labctl.analysis.calibration.parameters import Base, Floats

_SPELL = 16  # half cycles for which the lasting part of their noise stays
_ONSET = 5.0  # from the threshold on, the share of the switching voltage in which a pulse comes to its full effect


@dataclass(frozen=True, slots=True)
class Pulse:
    """amplitude V, width s, gate V."""

    amplitude: float
    width: float
    gate: float


@dataclass(frozen=True, slots=True)
class Cells:
    """Traits of simulated cells, (cells,) each: switching voltages V, abruptness and ceiling relative, floor S."""

    set_voltage: Floats
    reset_voltage: Floats
    abruptness: Floats
    ceiling: Floats
    floor: Floats


class CycleNoise:
    """The noise of alternating SET and RESET pulses, one each: fresh with every pulse, and lasting for 16 of them."""

    def __init__(self, pulses: int, cells: int, rng: np.random.Generator) -> None:
        self._fresh = rng.standard_normal((pulses, cells))
        spells = rng.standard_normal((pulses // _SPELL + 2, cells))
        turn = (np.arange(pulses)[:, None] + np.arange(cells) % _SPELL) // _SPELL
        self._lasting = np.take_along_axis(spells, turn, axis=0)

    def of(self, pulse: int, memory: float) -> tuple[Floats, Floats]:
        """(cells,) xi of the switching voltage, and of the target, of which a share `memory` of the variance lasts."""
        fresh: Floats = self._fresh[pulse]
        return fresh, math.sqrt(1 - memory) * fresh + math.sqrt(memory) * self._lasting[pulse]


def overdrive(base: Base, gate: float) -> float:
    """What the gate has beyond the transistor's threshold, V; never 0."""
    return max(gate - base.number("gate_threshold"), 1e-3)


def compliance_ratio(base: Base, gate: float) -> float:
    """What the compliance leaves at `gate` over what it leaves at the reference gate, without the limit."""
    ratio = overdrive(base, gate) / overdrive(base, base.number("gate_reference"))
    return math.pow(ratio, base.number("gate_exponent"))


def switched(
    conductance: Floats,
    target: Floats,
    switch: Floats,
    abruptness: Floats,
    noise: Floats,
    pulse: Pulse,
    base: Base,
    polarity: str,
) -> Floats:
    """(cells,) S after a pulse of `polarity` (set, reset) towards `target`. Below a share of `switch` nothing moves."""
    access = base.number("access_transconductance") * overdrive(base, pulse.gate)
    across = pulse.amplitude / (1 + conductance / access)
    scale = base.number(f"{polarity}_voltage_scale")
    drive = (across - switch + base.number(f"{polarity}_voltage_cycle_spread") * noise) / scale
    exponent = abruptness * (drive + math.log(pulse.width / base.number("reference_width")))
    fraction = -np.expm1(-np.exp(np.minimum(exponent, 20.0)))
    fraction *= np.clip(_ONSET * (across / switch - base.number("threshold_share")), 0.0, 1.0)
    moved: Floats = conductance + fraction * (target - conductance)
    return moved
