"""Phase-change memory: SET, RESET and read of many cells at once.

What is kept of a cell is the conductance that it has `drift_time` after its last pulse, and what it remembers of the
pulses before (`pcm_switching.py`: what a pulse does, by one of two published models). From there it drifts,

    G(t) = G ((t - t_p) / t_0)**-nu, nu = max(mu(g) + s(g) eta, 0), g = G / full scale

with t_p the last pulse that heated the cell, and eta a standard normal that the cell is born with. mu and s are clipped
lines in ln g (Joshi et al., Nat. Commun. 11, 2473, 2020) or constants (J. Appl. Phys. 124, 152135, 2018). The power law
holds from `drift_onset` on; nearer to the pulse the conductance is taken as it is then: the law has an onset
(Kersting et al., arXiv:2106.06270), and nothing was fitted there. The exponent is a trait, though a new glass after
each melt has its own.

A read shows G(t) + sigma (phi + sqrt(1 - h) xi):

    sigma = (min(q g**-e, q_most) G(t) + floor) sqrt(ln((t - t_p + t_r) / (2 t_r)))

with the logarithm only where the noise is 1/f by its bandwidth, from the read pulse t_r to the time since programming
(Joshi et al.). xi is white; phi are the fluctuators (`fluctuators.py`), whose variance h over all cells is the share of
the noise that persists from read to read. So the variance is the published one at any time. Noise slower than the time
since programming is not told from the rest: phi has the same time constants whatever that time.

There is nothing to form. A fresh cell comes crystalline out of the last hot step of its making, and the FORM pulse of a
board, long and limited by the gate, is to it one more SET pulse. Melting wears a cell out: near the number of melts
that it stands, pulses move it less and less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fluctuators import Fluctuators
from .hashing import NoiseKey, standard_normal
from .model import Float32, Fluctuation, Moment, Pulse, Selection, Sense, Voltage
from .pcm_parameters import PcmParameters
from .pcm_switching import Accumulation, Drive, Landing, ProgrammingCurve, State
from .pcm_traits import PcmTraits

_BOLTZMANN = 8.617333262e-5  # eV/K
_SLOW = 0.1  # s: fluctuators faster than this are noise to a multiplication, slower ones a shift
_WEARS_FROM = 0.5  # of its life, up to which a cell is as new
_LEAST_LEVEL = np.float32(1e-6)  # g below which exponents and noise are taken as there
_ONSET_WIDTHS = 100  # read pulses that the onset of drift lies after one: then t + t_r is t in sigma, within 0.3 %


class PcmCells:
    """`count` cells of the chip `serial`, fresh. Implements `CellModel`; units as there.

    State: conductance (float32, S, `drift_time` after the last pulse, without noise), memory (float32, P), pulses and
    reads (u32 counts), melts (u32), programmed_age (float64, s: when a pulse last heated it; fresh cells have had
    theirs `drift_time` before age 0).
    """

    kind = "PCM"
    reads_disturb = False

    def __init__(self, serial: str, count: int, parameters: PcmParameters) -> None:
        """Raises ValueError where parameters contradict each other."""
        p = self.parameters = parameters
        if not p.drift_onset > 0 or p.drift_onset < _ONSET_WIDTHS * p.read_noise_width:
            raise ValueError(f"drift_onset must be more than 0 s, and {_ONSET_WIDTHS} times read_noise_width at least")
        if not 0 <= p.read_noise_persistence <= 1:
            raise ValueError(f"read_noise_persistence must be between 0 and 1, not {p.read_noise_persistence:g}")
        self.traits = PcmTraits.draw(serial, count, p)
        self.conductance = self.traits.pristine_conductance.copy()
        self.memory = np.zeros(count, np.float32)
        self.pulses = np.zeros(count, np.uint32)
        self.reads = np.zeros(count, np.uint32)
        self.melts = np.zeros(count, np.uint32)
        self.programmed_age = np.full(count, -p.drift_time)
        self._drive = Drive(p)
        self._curve = ProgrammingCurve(p.melt_currents, p.melt_conductances)
        self._switching = Landing(p, self._curve) if p.programming_spread else Accumulation(p, self._curve)
        self._pulse_noise = NoiseKey.of(serial, "switching")
        self._reading = NoiseKey.of(serial, "reading")
        self._fluctuators = Fluctuators(serial, self.traits.fluctuators) if p.read_noise_persistence else None
        self._white = math.sqrt(1 - p.read_noise_persistence)
        self._shortest_life = float(self.traits.life.min(initial=np.inf))

    @property
    def state(self) -> Mapping[str, NDArray[Any]]:
        return {
            "conductance": self.conductance,
            "memory": self.memory,
            "pulses": self.pulses,
            "reads": self.reads,
            "melts": self.melts,
            "programmed_age": self.programmed_age,
        }

    def pace(self, temperature: float) -> float:
        """exp(E_a / k (1 / T_0 - 1 / T)): structural relaxation is thermally activated.

        (Ielmini, Lacaita and Mantegazza, IEEE TED 54, 308, 2007.) Crystallisation of heated cells is not modelled.
        """
        p = self.parameters
        return math.exp(p.drift_activation / _BOLTZMANN * (1 / p.drift_temperature - 1 / temperature))

    def access(self, gate: float) -> float:
        """Closed or not: what an open transistor resists is part of the series resistance of a pulse."""
        return math.inf if gate > self.parameters.gate_threshold else 0.0

    def pulse(self, where: Selection, voltage: Voltage, pulse: Pulse) -> None:
        self._apply(where, voltage, pulse)

    def pulse_and_read(self, where: Selection, voltage: Voltage, pulse: Pulse, read_voltage: float) -> Float32:  # noqa: ARG002
        return self._read(where, *self._apply(where, voltage, pulse), pulse.at)

    def read(self, where: Selection, sense: Sense) -> Float32:
        return self._read(where, where.take(self.conductance), where.take(self.programmed_age), sense.at)

    def read_moments(
        self, where: Selection, sense: Sense, fluctuation: Fluctuation | None = None
    ) -> tuple[Float32, Float32]:
        conductance, deviation = self._shown(
            where, where.take(self.conductance), where.take(self.programmed_age), sense.at
        )
        variance = np.square(deviation)
        fluctuation = fluctuation or self.fluctuation(where, sense.at)
        if fluctuation is None:
            return conductance, variance
        deviation *= fluctuation.shift
        conductance += deviation
        variance *= np.add(fluctuation.variance, np.float32(self._white**2), out=where.arena.float32(len(where)))
        return conductance, variance

    def fluctuation(self, where: Selection, at: Moment) -> Fluctuation | None:
        if self._fluctuators is None:
            return None
        return Fluctuation(
            self._fluctuators.shift(where, at, slower_than=_SLOW), self._fluctuators.variance(where, slower_than=_SLOW)
        )

    # -- pulses -------------------------------------------------------------------------------------------------

    def _apply(self, where: Selection, voltage: Voltage, pulse: Pulse) -> tuple[Float32, NDArray[np.float64]]:
        """Change the cells as the pulse does, and count it: their (n,) conductances, S, and programmed ages, s."""
        conductance, memory = where.take(self.conductance), where.take(self.memory)
        age, counts = where.take(self.programmed_age), where.take(self.pulses)
        mark = where.arena.mark()
        current = self._drive.current(where, voltage, pulse.gate, where.take(self.traits.heater))
        noise = standard_normal(self._pulse_noise, where.cells, counts, where.arena)
        after = self._switching.after(where, State(conductance, memory), current, noise, pulse.width)
        self._wear(where, current, conductance, after.conductance)
        cold = np.flatnonzero(current < np.float32(self.parameters.set_current))
        for values, changed in ((conductance, after.conductance), (memory, after.memory), (age, where.ages(pulse.at))):
            changed[cold] = values[cold]
            np.copyto(values, changed)
        counts += np.uint32(1)
        where.arena.release(mark)
        where.put(self.conductance, conductance)
        where.put(self.memory, memory)
        where.put(self.programmed_age, age)
        where.put(self.pulses, counts)
        return conductance, age

    def _wear(self, where: Selection, current: Float32, before: Float32, after: Float32) -> None:
        """Count melts. Beyond half its life a cell moves 1 - (2 w - 1)**2 of the way, w the share of life spent."""
        melts = where.take(self.melts)
        if float(melts.max(initial=0)) > _WEARS_FROM * self._shortest_life:
            spent = melts / where.take(self.traits.life)
            worn = np.flatnonzero(spent > _WEARS_FROM)
            left = 1 - np.square(np.minimum(2 * spent[worn] - 1, 1))
            after[worn] = before[worn] + left.astype(np.float32) * (after[worn] - before[worn])
        if self._curve.melts(current):
            melts += current >= self._curve.begin
            where.put(self.melts, melts)

    # -- reads --------------------------------------------------------------------------------------------------

    def _read(self, where: Selection, programmed: Float32, age: NDArray[np.float64], at: Moment) -> Float32:
        """What the cells show, xi the hash of their read counts; counts the read."""
        conductance, deviation = self._shown(where, programmed, age, at)
        mark = where.arena.mark()
        counts = where.take(self.reads)
        noise = standard_normal(self._reading, where.cells, counts, where.arena)
        if self._fluctuators is not None:
            noise *= np.float32(self._white)
            noise += self._fluctuators.shift(where, at)
        noise *= deviation
        conductance += noise
        counts += np.uint32(1)
        where.put(self.reads, counts)
        where.arena.release(mark)
        return conductance

    def _shown(
        self, where: Selection, programmed: Float32, age: NDArray[np.float64], at: Moment
    ) -> tuple[Float32, Float32]:
        """(n,) G(t) and (n,) sigma, S."""
        p, arena, count = self.parameters, where.arena, len(where)
        present, deviation = arena.float32(count), arena.float32(count)
        mark = arena.mark()
        logs, level = self._log_elapsed(where, age, at), self._log_level(where, programmed)
        if p.read_noise_width:
            np.subtract(logs, np.float32(math.log(2 * p.read_noise_width)), out=deviation)
            np.sqrt(deviation, out=deviation)
        logs -= np.float32(math.log(p.drift_time))
        logs *= self._exponent(where, level)
        np.negative(logs, out=logs)
        np.exp(logs, out=present)
        present *= programmed
        sigma = self._noise(where, present, level)
        if p.read_noise_width:
            deviation *= sigma
        else:
            np.copyto(deviation, sigma)
        arena.release(mark)
        return present, deviation

    def _log_elapsed(self, where: Selection, age: NDArray[np.float64], at: Moment) -> Float32:
        """ln of the s since the last pulse that heated the cell, from the onset of drift on."""
        elapsed, logs = where.ages(at), where.arena.float32(len(where))
        elapsed -= age
        np.maximum(elapsed, self.parameters.drift_onset, out=elapsed)
        np.copyto(logs, elapsed, casting="same_kind")
        return np.log(logs, out=logs)

    def _log_level(self, where: Selection, programmed: Float32) -> Float32 | None:
        """ln g, or None where neither drift nor noise depends on it."""
        p = self.parameters
        if not (p.drift_exponent_slope or p.drift_device_spread_slope or p.read_noise_exponent):
            return None
        level = where.arena.float32(len(where))
        np.multiply(programmed, np.float32(1 / p.full_scale), out=level)
        np.maximum(level, _LEAST_LEVEL, out=level)
        return np.log(level, out=level)

    def _exponent(self, where: Selection, level: Float32 | None) -> Float32:
        """nu: (n,)."""
        p = self.parameters
        exponent = where.arena.float32(len(where))
        np.copyto(exponent, where.take(self.traits.drift))
        exponent *= _line(
            where,
            level,
            p.drift_device_spread,
            p.drift_device_spread_slope,
            (p.drift_device_spread_least, p.drift_device_spread_most),
        )
        exponent += _line(
            where, level, p.drift_exponent, p.drift_exponent_slope, (p.drift_exponent_least, p.drift_exponent_most)
        )
        return np.maximum(exponent, np.float32(0), out=exponent)

    def _noise(self, where: Selection, present: Float32, level: Float32 | None) -> Float32:
        """sigma without its logarithm: (n,) S."""
        p = self.parameters
        noise = where.arena.float32(len(where))
        if level is None or not p.read_noise_exponent:
            np.multiply(present, np.float32(min(p.read_noise, p.read_noise_most)), out=noise)
        else:
            np.multiply(level, np.float32(-p.read_noise_exponent), out=noise)
            noise += np.float32(math.log(p.read_noise))
            np.minimum(noise, np.float32(math.log(p.read_noise_most)), out=noise)
            np.exp(noise, out=noise)
            noise *= present
        noise += np.float32(p.read_noise_floor)
        return noise


def _line(
    where: Selection, level: Float32 | None, constant: float, slope: float, bounds: tuple[float, float]
) -> Float32 | np.float32:
    """constant + slope * level, within bounds: (n,), or one for all."""
    low, high = np.float32(bounds[0]), np.float32(bounds[1])
    if level is None or not slope:
        return np.float32(min(max(constant, bounds[0]), bounds[1]))
    line = where.arena.float32(len(where))
    np.multiply(level, np.float32(slope), out=line)
    line += np.float32(constant)
    return np.clip(line, low, high, out=line)
