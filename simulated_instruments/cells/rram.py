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
- Below a share of V_switch nothing moves at all, however long the pulse or gradual the cell.
- The remaining distance as a factor makes the bounds soft, and f < 1 keeps any pulse within them.
- SET moves up to G_target = ceiling * compliance(gate): the filament grows until the access transistor limits
  its current, so conductance follows compliance current (Ielmini, IEEE TED 58, 4309, 2011). RESET moves down
  to the cell's floor.
- V_cell = V / (1 + G / G_access(gate)) is what the access transistor leaves to the cell.
- xi is standard normal. In the switching voltage it is a new one for every pulse. In the logarithm of the target a
  share of its variance lasts for some cycles, so that neighbouring cycles are correlated:
  xi = sqrt(1 - m) e(pulse) + sqrt(m) e'(half cycle // 16), hashes of the cell's counts.

A technology whose cells move in small analog steps is described by tables instead, mean and spread of the step
of an identical pulse against G (as CrossSim's lookup tables are); other voltages and widths scale the step by
exp((V - V_table) / V_0) t / t_table.

Between pulses conductance relaxes (`relaxation.py`); what a read shows besides is noise, white and persistent
(`fluctuators.py`), a conductance that grows with the read voltage, and the disturb of the reads before. A cell
wears out: what a pulse changes vanishes as its programmings near the life it was born with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fluctuators import Fluctuators
from .hashing import NoiseKey, standard_normal
from .masks import choose, mask_of
from .model import Float32, Fluctuation, Moment, Operation, Pulse, Selection, Sense, Voltage
from .relaxation import Relaxation
from .rram_parameters import RramParameters
from .rram_traits import RramTraits
from .step_tables import StepTable

REFERENCE_READ_VOLTAGE = 0.2
"""V at which conductances are meant."""

_CLOSED = 1e35  # ohm: beyond every cell, and finite, as a cell of no conductance takes all the voltage
_MAX_EXPONENT = np.float32(20)
"""Of (t / tau)**beta, which by then has long reached the target; beyond 88 float32 overflows."""

_MOST = np.float32(1e3)
"""S: above any conductance. (Clipping both ways is faster than a maximum.)"""

_CYCLES_ALIKE = 4  # log2 of the half cycles over which the lasting part of their noise stays
_MOVED = np.float32(0.01)  # of its conductance: a pulse that changes a cell by less does not make it relax anew
_SLOW = 0.1  # s: fluctuators faster than this are noise to a multiplication, slower ones a shift
_ONSET = 5.0  # over the share of the switching voltage in which a pulse comes to its full effect above threshold
_WEARS_FROM = 0.5  # of its life, up to which wear cannot be seen
_NOTHING = 1e-8  # a relative change that float32 does not hold
_BOLTZMANN = 8.617333262e-5  # eV/K


@dataclass(frozen=True, slots=True)
class _Switching:
    """How one polarity moves a cell. switch: V of each cell. spread: V. memory: share of the noise of cycles that stays
    for some of them. parity: of the half cycles that it makes. onset: _ONSET over the switching voltage, 1/V."""

    switch: Float32
    onset: Float32
    scale: float
    spread: float
    memory: float
    parity: int
    steps: StepTable | None


class RramCells:
    """`count` cells of the chip `serial`, pristine. Implements `CellModel`; units as there.

    An effect that the parameters turn off costs nothing; what only it needs is then not kept.

    State: conductance (float32, S, as last programmed, without noise), formed (float32, 1 or 0: a factor on every
    change), pulses and reads (u32 counts), half_cycles (u32: changes of polarity), programmings (u32: pulses that moved
    it), programmed_age (float64, s: when one last did), disturb (float32: reads since, each weighted by its voltage).
    """

    kind = "1T1R RRAM"
    reads_disturb = True

    def __init__(self, serial: str, count: int, parameters: RramParameters) -> None:
        p = self.parameters = parameters
        self.traits = RramTraits.draw(serial, count, parameters)
        self.formed = self.traits.stuck_high.astype(np.float32)
        self.conductance = self.traits.pristine_conductance.copy()
        self.conductance[self.traits.stuck_high] = p.stuck_high_conductance
        self.pulses = np.zeros(count, np.uint32)
        self.reads = np.zeros(count, np.uint32)
        self.half_cycles = np.zeros(count, np.uint32)
        self.programmings = np.zeros(count, np.uint32)
        self.programmed_age = np.zeros(count, np.float64)
        self.disturb = np.zeros(count, np.float32)
        set_steps = StepTable.of(p.set_step_levels, p.set_step_mean, p.set_step_spread, p.step_set_voltage)
        reset_steps = StepTable.of(p.reset_step_levels, p.reset_step_mean, p.reset_step_spread, p.step_reset_voltage)
        setting = _Switching(
            self.traits.set_voltage,
            np.float32(_ONSET) / self.traits.set_voltage,
            p.set_voltage_scale,
            p.set_voltage_cycle_spread,
            p.set_cycle_memory,
            0,
            set_steps,
        )
        resetting = _Switching(
            self.traits.reset_voltage,
            np.float32(_ONSET) / self.traits.reset_voltage,
            p.reset_voltage_scale,
            p.reset_voltage_cycle_spread,
            p.reset_cycle_memory,
            1,
            reset_steps,
        )
        self._switching = {Operation.FORM: setting, Operation.SET: setting, Operation.RESET: resetting}
        self._pulse_noise = NoiseKey.of(serial, "switching")
        self._spell_noise = NoiseKey.of(serial, "spell of cycles")
        self._breakdown = NoiseKey.of(serial, "breakdown")
        self._reading = NoiseKey.of(serial, "reading")
        self._relaxation = _relaxation(serial, p)
        noisy = p.flicker_noise > 0 or p.telegraph_fraction > 0
        self._fluctuators = Fluctuators(serial, self.traits.fluctuators) if noisy else None
        self._follows_moves = self._relaxation is not None or p.read_disturb > 0 or p.endurance_pulses > 0
        shortest = float(self.traits.loss_time.min(initial=np.inf))
        self._loss_begins = shortest * _NOTHING ** (1 / p.loss_exponent)
        self._shortest_life = float(self.traits.life.min(initial=np.inf))

    @property
    def state(self) -> Mapping[str, NDArray[Any]]:
        return {
            "conductance": self.conductance,
            "formed": self.formed,
            "pulses": self.pulses,
            "reads": self.reads,
            "half_cycles": self.half_cycles,
            "programmings": self.programmings,
            "programmed_age": self.programmed_age,
            "disturb": self.disturb,
        }

    def pace(self, temperature: float) -> float:
        """exp(E_a / k (1 / T_0 - 1 / T)): relaxation is thermally activated."""
        p = self.parameters
        return math.exp(p.relaxation_activation / _BOLTZMANN * (1 / p.relaxation_temperature - 1 / temperature))

    def access(self, gate: float) -> float:
        """Transconductance * overdrive: the triode region."""
        return self.parameters.access_transconductance * self._overdrive(gate)

    def pulse(self, where: Selection, voltage: Voltage, pulse: Pulse) -> None:
        self._apply(where, voltage, pulse)

    def pulse_and_read(self, where: Selection, voltage: Voltage, pulse: Pulse, read_voltage: float) -> Float32:
        return self._read(where, self._apply(where, voltage, pulse), Sense(read_voltage, pulse.at))

    def read(self, where: Selection, sense: Sense) -> Float32:
        return self._read(where, self._present(where, where.take(self.conductance), sense.at), sense)

    def read_moments(
        self, where: Selection, sense: Sense, fluctuation: Fluctuation | None = None
    ) -> tuple[Float32, Float32]:
        fluctuation = fluctuation or self.fluctuation(where, sense.at)
        conductance = self._present(where, where.take(self.conductance), sense.at)
        conductance = self._shown(where, conductance, sense.voltage, fluctuation and fluctuation.shift)
        variance = self._read_variance(where, conductance)
        if fluctuation is not None:
            fast = np.square(conductance, out=where.arena.float32(len(where)))
            fast *= fluctuation.variance
            variance += fast
        return conductance, variance

    def fluctuation(self, where: Selection, at: Moment) -> Fluctuation | None:
        if self._fluctuators is None:
            return None
        return Fluctuation(
            self._fluctuators.shift(where, at, slower_than=_SLOW), self._fluctuators.variance(where, slower_than=_SLOW)
        )

    # -- pulses -------------------------------------------------------------------------------------------------

    def _apply(self, where: Selection, voltage: Voltage, pulse: Pulse) -> Float32:
        """Change the cells as the pulse does, and count it: (n,) conductances right after it, S."""
        counts, formed = where.take(self.pulses), where.take(self.formed)
        programmed = where.take(self.conductance)
        present = self._present(where, programmed, pulse.at)
        mark = where.arena.mark()
        switching = self._switching[pulse.operation]
        noise = standard_normal(self._pulse_noise, where.cells, counts, where.arena)
        if switching.steps is None or pulse.operation is Operation.FORM:
            change = self._approach(where, present, formed, counts, noise, voltage, pulse)
        else:
            change = switching.steps.change(where, present, noise, voltage, pulse.width / self.parameters.step_width)
            change *= where.take(self.traits.ceiling)
        change *= formed
        self._wear(where, change)
        self._settle(where, programmed, present, change, pulse.at)
        counts += np.uint32(1)
        where.put(self.pulses, counts)
        where.arena.release(mark)
        return present

    def _settle(self, where: Selection, programmed: Float32, present: Float32, change: Float32, at: Moment) -> None:
        """`present` becomes what it is after the pulse; cells that it moved relax from there anew.

        A cell that it hardly moved goes on relaxing from where it was, shifted by the change.
        """
        present += change
        np.clip(present, np.float32(0), _MOST, out=present)
        programmed += change
        if self._follows_moves:
            self._follow(where, programmed, present, change, at)
        where.put(self.conductance, programmed)

    def _follow(self, where: Selection, programmed: Float32, present: Float32, change: Float32, at: Moment) -> None:
        """What begins anew in cells that the pulse moved to `present`, and counts as a programming."""
        arena, count = where.arena, len(where)
        threshold, size, moved = arena.float32(count), arena.float32(count), arena.array(np.bool_, count)
        np.multiply(present, _MOVED, out=threshold)
        np.abs(change, out=size)
        np.greater(size, threshold, out=moved)
        mask = mask_of(moved, 4, arena)
        choose(programmed, present, mask, arena)
        programmings = where.take(self.programmings)
        programmings += moved
        where.put(self.programmings, programmings)
        if self._relaxation is not None:
            age = where.take(self.programmed_age)
            choose(age, where.ages(at), mask_of(moved, 8, arena), arena)
            where.put(self.programmed_age, age)
        if self.parameters.read_disturb:
            disturb = where.take(self.disturb)
            np.bitwise_not(mask, out=mask)
            disturb.view(np.uint32)[:] &= mask
            where.put(self.disturb, disturb)

    def _cycle(self, where: Selection, noise: Float32, switching: _Switching) -> Float32:
        """xi of the target, `noise` being that of the pulse, in place."""
        memory = switching.memory
        if not memory:
            return noise
        cycles = where.take(self.half_cycles)
        cycles += (cycles & np.uint32(1)) != switching.parity
        where.put(self.half_cycles, cycles)
        spell = where.arena.uint32(len(where))
        np.bitwise_and(where.cells, np.uint32((1 << _CYCLES_ALIKE) - 1), out=spell)  # not all cells at once
        spell += cycles
        spell >>= _CYCLES_ALIKE
        lasting = standard_normal(self._spell_noise, where.cells, spell, where.arena)
        lasting *= np.float32(math.sqrt(memory))
        noise *= np.float32(math.sqrt(1 - memory))
        noise += lasting
        return noise

    def _approach(
        self,
        where: Selection,
        present: Float32,
        formed: Float32,
        counts: NDArray[np.uint32],
        noise: Float32,
        voltage: Voltage,
        pulse: Pulse,
    ) -> Float32:
        """f (G_target - G); where the cell breaks down just now, which `formed` then says, f is its first filament."""
        across = self._voltage_across(where, present, voltage, pulse.gate)
        fraction = self._fraction(where, across, noise, pulse)
        if pulse.operation is Operation.FORM:
            broken = self._break_down(where, across, counts, formed)
            fraction[broken] = where.take(self.traits.filament)[broken]
        change = self._target(where, present, self._cycle(where, noise, self._switching[pulse.operation]), pulse)
        change -= present
        change *= fraction
        return change

    def _voltage_across(self, where: Selection, conductance: Float32, voltage: Voltage, gate: float) -> Float32:
        """V_cell = V / (1 + G / G_access), in V.

        A closed transistor leaves nothing to the cell.
        """
        access = self.access(gate)
        across = where.arena.float32(len(where))
        np.multiply(conductance, np.float32(min(1 / access, _CLOSED) if access else _CLOSED), out=across)
        across += np.float32(1)
        np.divide(voltage, across, out=across)
        return across

    def _fraction(self, where: Selection, across: Float32, noise: Float32, pulse: Pulse) -> Float32:
        """f = 1 - exp(-(t / tau)**beta): how much of the way to the target.

        (t / tau)**beta = exp(beta ((V_cell - V_switch + s xi) / V_0 + ln(t / t_0))), beta the abruptness of
        the cell.
        """
        switching = self._switching[pulse.operation]
        fraction = where.arena.float32(len(where))
        np.multiply(noise, np.float32(switching.spread), out=fraction)
        fraction += across
        fraction -= where.take(switching.switch)
        fraction *= np.float32(1 / switching.scale)
        fraction += np.float32(math.log(pulse.width / self.parameters.reference_width))
        fraction *= where.take(self.traits.abruptness)
        np.clip(fraction, -_MAX_EXPONENT, _MAX_EXPONENT, out=fraction)
        np.exp(fraction, out=fraction)
        np.negative(fraction, out=fraction)
        np.exp(fraction, out=fraction)
        np.subtract(np.float32(1), fraction, out=fraction)
        fraction *= self._above_threshold(where, across, switching)
        return fraction

    def _above_threshold(self, where: Selection, across: Float32, switching: _Switching) -> Float32:
        """0 up to a share of the cell's switching voltage, 1 a fifth of it further, linear between."""
        above = where.arena.float32(len(where))
        np.multiply(across, where.take(switching.onset), out=above)
        above -= np.float32(_ONSET * self.parameters.threshold_share)
        return np.clip(above, np.float32(0), np.float32(1), out=above)

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
        self, where: Selection, across: Float32, counts: NDArray[np.uint32], formed: Float32
    ) -> NDArray[np.intp]:
        """Form every pristine cell with more across it than its breakdown voltage, cycle spread included; which.

        The breakdown is abrupt: the new filament goes all the way to what the compliance allows, in some cells a part
        of it. A cell that has formed already sees a FORM pulse as a SET.
        """
        margin = standard_normal(self._breakdown, where.cells, counts, where.arena)
        margin *= np.float32(self.parameters.breakdown_cycle_spread)
        margin += across
        margin -= where.take(self.traits.breakdown_voltage)
        broken = np.flatnonzero((margin > 0) & (formed == 0))
        formed[broken] = 1
        where.put(self.formed, formed)
        return broken

    def _wear(self, where: Selection, change: Float32) -> None:
        """A worn cell moves less: change * (1 - u**2), u the part of the second half of its life that is spent."""
        if not self.parameters.endurance_pulses:
            return
        programmings = where.take(self.programmings)
        if float(programmings.max(initial=0)) <= _WEARS_FROM * self._shortest_life:
            return
        spent = programmings / where.take(self.traits.life)
        worn = np.clip((spent - _WEARS_FROM) / (1 - _WEARS_FROM), 0, 1)
        change *= (1 - np.square(worn)).astype(np.float32)

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

    # -- reads --------------------------------------------------------------------------------------------------

    def _present(self, where: Selection, programmed: Float32, at: Moment) -> Float32:
        """The conductance that relaxation has left of what was `programmed`, in an array of its own: (n,) S."""
        present = where.arena.float32(len(where))
        np.copyto(present, programmed)
        if self._relaxation is None:
            return present
        mark = where.arena.mark()
        elapsed = where.ages(at)
        elapsed -= where.take(self.programmed_age)
        change = self._relaxation.change(where, programmed, where.take(self.programmings), elapsed)
        if change is not None:
            formed = where.take(self.formed)
            change *= formed
            present += change
            np.clip(present, np.float32(0), _MOST, out=present)
            self._lose(where, present, formed, elapsed)
        where.arena.release(mark)
        return present

    def _lose(self, where: Selection, conductance: Float32, formed: Float32, elapsed: NDArray[np.float64]) -> None:
        """Filaments dissolve, in place: G exp(-(t / tau)**beta), tau of each cell: years, but for the heat.

        A stretched exponential, as retention tests of oxide memories are fitted with.
        """
        p = self.parameters
        if not p.loss_time or float(elapsed.max(initial=0.0)) < self._loss_begins:
            return
        lost = where.arena.float32(len(where))
        np.clip(elapsed, 0.0, None, out=elapsed)
        np.divide(elapsed, where.take(self.traits.loss_time), out=lost, casting="same_kind")
        if p.loss_exponent != 1:
            np.power(lost, np.float32(p.loss_exponent), out=lost)
        lost *= formed
        np.negative(lost, out=lost)
        conductance *= np.exp(lost, out=lost)

    def _shown(self, where: Selection, conductance: Float32, voltage: float, shift: Float32 | None) -> Float32:
        """`conductance` as the read voltage and the slow noise, a relative `shift` (n,), show it, in place."""
        p = self.parameters
        if p.read_disturb:
            dose = np.log1p(where.take(self.disturb))
            dose *= np.float32(p.read_disturb)
            dose += np.float32(1)
            conductance *= dose
        if p.nonlinearity and voltage != REFERENCE_READ_VOLTAGE:
            conductance *= self._curvature(conductance, voltage)
        if shift is not None:
            conductance *= np.add(shift, np.float32(1), out=where.arena.float32(len(where)))
        return conductance

    def _curvature(self, conductance: Float32, voltage: float) -> Float32:
        """(1 + a V**2) / (1 + a V_ref**2), a = nonlinearity / (1 + G / G_nl).

        The first term of I = G V sinh(c V) / (c V) of a tunnelling gap, c**2 / 6 = a; a wide filament is ohmic.
        """
        p = self.parameters
        bend = np.float32(p.nonlinearity) / (np.float32(1) + conductance / np.float32(p.nonlinearity_level))
        curvature: Float32 = (1 + bend * np.float32(voltage**2)) / (1 + bend * np.float32(REFERENCE_READ_VOLTAGE**2))
        return curvature

    def _read(self, where: Selection, conductance: Float32, sense: Sense) -> Float32:
        """What is shown + sqrt(variance) xi, xi the hash of the cell's read count; counts the read."""
        mark = where.arena.mark()
        shift = None if self._fluctuators is None else self._fluctuators.shift(where, sense.at)
        self._shown(where, conductance, sense.voltage, shift)
        where.arena.release(mark)
        counts, deviation = where.take(self.reads), self._read_variance(where, conductance)
        np.sqrt(deviation, out=deviation)
        noisy = standard_normal(self._reading, where.cells, counts, where.arena)
        noisy *= deviation
        noisy += conductance
        counts += np.uint32(1)
        where.put(self.reads, counts)
        self._disturb(where, sense.voltage)
        return noisy

    def _disturb(self, where: Selection, voltage: float) -> None:
        """A read weighs exp((V - V_ref) / V_d) in the dose whose logarithm moves the cell towards SET."""
        p = self.parameters
        if p.read_disturb:
            dose = where.take(self.disturb)
            dose += np.float32(math.exp((voltage - REFERENCE_READ_VOLTAGE) / p.read_disturb_voltage))
            where.put(self.disturb, dose)

    def _read_variance(self, where: Selection, conductance: Float32) -> Float32:
        """(relative noise of the cell * G)**2 + floor**2, in S**2."""
        variance = where.arena.float32(len(where))
        np.multiply(where.take(self.traits.read_noise), conductance, out=variance)
        np.square(variance, out=variance)
        variance += np.float32(self.parameters.read_noise_floor**2)
        return variance


def _relaxation(serial: str, p: RramParameters) -> Relaxation | None:
    if not p.relaxation_times:
        return None
    return Relaxation(
        serial,
        p.relaxation_times,
        p.relaxation_levels,
        p.relaxation_probabilities,
        p.relaxation_quantiles,
        p.relaxation_memory,
        p.relaxation_volatility,
    )
