"""1T1R RRAM: forming, SET, RESET and read, of many cells at once.

One equation moves a formed cell, for a pulse of voltage V and width t on a cell of conductance G:

    G <- G + f (G_target - G), f = 1 - exp(-(t / tau)**beta), tau = t_0 exp((V_switch - V_cell - s xi) / V_0)

- The switching time tau is exponential in voltage: in tantalum oxide, 100 ns to 100 s within a few volts
  ("Modeling for multilevel switching in oxide-based bipolar resistive memory", 2012). There is no sharp
  threshold; `V_switch` of a cell is where a pulse of `t_0` goes 63 % of the way.
- Switching statistics of filaments are about Weibull (Long et al., IEEE EDL, 2011,
  doi:10.1109/LED.2011.2163613). Here f is that distribution's share of a filament that has switched by t, a
  phenomenological step, and its slope beta a trait of the cell, its abruptness: well above 1 it goes all at
  once.
- The remaining distance as a factor makes the bounds soft, and f < 1 keeps any pulse within them.
- SET moves up to G_target = ceiling * compliance(gate): the filament grows until the access transistor limits
  its current, so conductance follows compliance current (Ielmini, IEEE TED 58, 4309, 2011). RESET moves down
  to the cell's floor.
- V_cell = V / (1 + G / G_access(gate)) is what the access transistor leaves to the cell.
- xi is one standard normal for a pulse, the hash of the cell's pulse count. It moves the voltage and the
  logarithm of the target: a cycle in which the filament moves fast is also one in which it moves far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hashing import NoiseKey, standard_normal
from .model import Float32, Operation, Pulse, Selection, Voltage
from .rram_parameters import RramParameters
from .rram_traits import RramTraits

_MAX_EXPONENT = np.float32(20)
"""Of (t / tau)**beta, which by then has long reached the target; beyond 88 float32 overflows."""


class RramCells:
    """`count` cells of the chip `serial`, pristine. Implements `CellModel`; units as there.

    State: conductance (float32, S, without read noise), formed (float32, 1 or 0: a factor on every change),
    pulses and reads (u32 counts).
    """

    kind = "1T1R RRAM"

    def __init__(self, serial: str, count: int, parameters: RramParameters) -> None:
        p = self.parameters = parameters
        self.traits = RramTraits.draw(serial, count, parameters)
        self.formed = self.traits.stuck_high.astype(np.float32)
        self.conductance = self.traits.pristine_conductance.copy()
        self.conductance[self.traits.stuck_high] = p.stuck_high_conductance
        self.pulses = np.zeros(count, np.uint32)
        self.reads = np.zeros(count, np.uint32)
        setting = self.traits.set_voltage, p.set_voltage_scale, p.set_voltage_cycle_spread
        resetting = self.traits.reset_voltage, p.reset_voltage_scale, p.reset_voltage_cycle_spread
        self._kinetics = {Operation.FORM: setting, Operation.SET: setting, Operation.RESET: resetting}
        self._switching = NoiseKey.of(serial, "switching")
        self._breakdown = NoiseKey.of(serial, "breakdown")
        self._reading = NoiseKey.of(serial, "reading")

    @property
    def state(self) -> Mapping[str, NDArray[Any]]:
        return {
            "conductance": self.conductance,
            "formed": self.formed,
            "pulses": self.pulses,
            "reads": self.reads,
        }

    def pulse(self, where: Selection, voltage: Voltage, pulse: Pulse) -> None:
        conductance = where.take(self.conductance)
        self._apply(where, conductance, voltage, pulse)
        where.put(self.conductance, conductance)

    def pulse_and_read(self, where: Selection, voltage: Voltage, pulse: Pulse) -> Float32:
        conductance = where.take(self.conductance)
        mark = where.arena.mark()
        self._apply(where, conductance, voltage, pulse)
        where.arena.release(mark)
        where.put(self.conductance, conductance)
        return self._read(where, conductance)

    def read(self, where: Selection, time: float) -> Float32:  # noqa: ARG002 -- nothing drifts here
        return self._read(where, where.take(self.conductance))

    def read_moments(self, where: Selection, time: float) -> tuple[Float32, Float32]:  # noqa: ARG002 -- nor here
        conductance = where.take(self.conductance)
        return conductance, self._read_variance(where, conductance)

    def _apply(self, where: Selection, conductance: Float32, voltage: Voltage, pulse: Pulse) -> None:
        """Change `conductance` (n,) in place as the pulse does, and count it."""
        counts, formed = where.take(self.pulses), where.take(self.formed)
        noise = standard_normal(self._switching, where.cells, counts, where.arena)
        across = self._voltage_across(where, conductance, voltage, pulse.gate)
        fraction = self._fraction(where, across, noise, pulse)
        if pulse.operation is Operation.FORM:
            self._break_down(where, across, counts, formed, fraction)
        change = self._target(where, conductance, noise, pulse)
        change -= conductance
        change *= fraction
        change *= formed
        conductance += change
        counts += np.uint32(1)
        where.put(self.pulses, counts)

    def _voltage_across(self, where: Selection, conductance: Float32, voltage: Voltage, gate: float) -> Float32:
        """V_cell = V / (1 + G / G_access), G_access = transconductance * overdrive (triode region), in V.

        A closed transistor leaves nothing to the cell.
        """
        access = self.parameters.access_transconductance * self._overdrive(gate)
        across = where.arena.float32(len(where))
        np.multiply(conductance, np.float32(1 / access if access else math.inf), out=across)
        across += np.float32(1)
        np.divide(voltage, across, out=across)
        return across

    def _fraction(self, where: Selection, across: Float32, noise: Float32, pulse: Pulse) -> Float32:
        """f = 1 - exp(-(t / tau)**beta): how much of the way to the target.

        (t / tau)**beta = exp(beta ((V_cell - V_switch + s xi) / V_0 + ln(t / t_0))), beta the abruptness of
        the cell.
        """
        switch, scale, spread = self._kinetics[pulse.operation]
        fraction = where.arena.float32(len(where))
        np.multiply(noise, np.float32(spread), out=fraction)
        fraction += across
        fraction -= where.take(switch)
        fraction *= np.float32(1 / scale)
        fraction += np.float32(math.log(pulse.width / self.parameters.reference_width))
        fraction *= where.take(self.traits.abruptness)
        np.minimum(fraction, _MAX_EXPONENT, out=fraction)
        np.exp(fraction, out=fraction)
        np.negative(fraction, out=fraction)
        np.exp(fraction, out=fraction)
        np.subtract(np.float32(1), fraction, out=fraction)
        return fraction

    def _target(self, where: Selection, conductance: Float32, noise: Float32, pulse: Pulse) -> Float32:
        """Where the pulse is heading, in S: SET and FORM never down, RESET never up.

        SET: compliance(gate) * ceiling * exp(s xi). RESET: floor * exp(-s xi).
        """
        p = self.parameters
        target = where.arena.float32(len(where))
        if pulse.operation is Operation.RESET:
            np.multiply(noise, np.float32(-p.floor_cycle_spread), out=target)
            np.exp(target, out=target)
            target *= where.take(self.traits.floor)
            return np.minimum(target, conductance, out=target)
        np.multiply(noise, np.float32(p.compliance_cycle_spread), out=target)
        np.exp(target, out=target)
        target *= where.take(self.traits.ceiling)
        target *= np.float32(self._compliance(pulse.gate))
        return np.maximum(target, conductance, out=target)

    def _break_down(
        self,
        where: Selection,
        across: Float32,
        counts: NDArray[np.uint32],
        formed: Float32,
        fraction: Float32,
    ) -> None:
        """Form every pristine cell with more across it than its breakdown voltage, cycle spread included.

        The breakdown is abrupt: the new filament goes all the way to what the compliance allows, f = 1. A
        cell that has formed already sees a FORM pulse as a SET.
        """
        margin = standard_normal(self._breakdown, where.cells, counts, where.arena)
        margin *= np.float32(self.parameters.breakdown_cycle_spread)
        margin += across
        margin -= where.take(self.traits.breakdown_voltage)
        broken = np.flatnonzero((margin > 0) & (formed == 0))
        formed[broken] = 1
        fraction[broken] = 1
        where.put(self.formed, formed)

    def _overdrive(self, gate: float) -> float:
        """What the gate has beyond the transistor's threshold, V."""
        return max(gate - self.parameters.gate_threshold, 0.0)

    def _compliance(self, gate: float) -> float:
        """The conductance that the saturation current at `gate` sustains, in S, of a cell in the middle.

        G = G_reference (overdrive / overdrive at the reference gate) ** alpha, at most the limit: the
        alpha-power law of a saturated transistor (Sakurai and Newton, IEEE JSSC 25, 584, 1990).
        """
        p = self.parameters
        relative = self._overdrive(gate) / (p.gate_reference - p.gate_threshold)
        return min(p.compliance_conductance * math.pow(relative, p.gate_exponent), p.compliance_limit)

    def _read(self, where: Selection, conductance: Float32) -> Float32:
        """G + sqrt(variance) xi, xi the hash of the cell's read count; counts the read."""
        counts, deviation = where.take(self.reads), self._read_variance(where, conductance)
        np.sqrt(deviation, out=deviation)
        noisy = standard_normal(self._reading, where.cells, counts, where.arena)
        noisy *= deviation
        noisy += conductance
        counts += np.uint32(1)
        where.put(self.reads, counts)
        return noisy

    def _read_variance(self, where: Selection, conductance: Float32) -> Float32:
        """(relative noise of the cell * G)**2 + floor**2, in S**2."""
        variance = where.arena.float32(len(where))
        np.multiply(where.take(self.traits.read_noise), conductance, out=variance)
        np.square(variance, out=variance)
        variance += np.float32(self.parameters.read_noise_floor**2)
        return variance
