"""What a pulse does to phase-change cells: the current it drives, crystallisation, melting.

A cell knows no polarity: it is the current and how long it flows that decide.

- Below `set_current` nothing happens.
- From there to the first of `melt_currents` the amorphous volume crystallises in part: a SET pulse.
- Above, a part of the volume melts and is quenched into the amorphous phase, the larger the current the more: the right
  flank of the U-shaped programming curve of a mushroom cell (Le Gallo and Sebastian, J. Phys. D 53, 213002, 2020).
  At the last of `melt_currents` and above, all that the heater reaches: a full RESET.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .model import Float32, Selection, Voltage
from .pcm_parameters import PcmParameters

_STEPS = 4096  # of the lookup from current to conductance


@dataclass(frozen=True, slots=True)
class State:
    """conductance: (n,) S, as it is `drift_time` after the last pulse. memory: (n,), P below."""

    conductance: Float32
    memory: Float32


class Drive:
    """From a pulse's amplitude to the current through a cell."""

    def __init__(self, p: PcmParameters) -> None:
        self._p = p

    def current(self, where: Selection, voltage: Voltage, gate: float, heater: Float32) -> Float32:
        """I = min(V / R, I_sat(gate)) times the cell's `heater`: (n,) A.

        A cell under a pulse beyond its threshold voltage conducts well whatever its state, so heater, lines and
        transistor set the current: R. It saturates at I_sat = I_reference (overdrive / overdrive at the reference
        gate) ** alpha (Sakurai and Newton, IEEE JSSC 25, 584, 1990). Assumed: the threshold voltage is below that of
        the smallest SET current.
        """
        current = where.arena.float32(len(where))
        np.multiply(voltage, np.float32(1 / self._p.series_resistance), out=current)
        np.minimum(current, np.float32(self._saturation(gate)), out=current)
        current *= heater
        return current

    def _saturation(self, gate: float) -> float:
        p = self._p
        relative = max(gate - p.gate_threshold, 0.0) / (p.gate_reference - p.gate_threshold)
        return p.saturation_current * math.pow(relative, p.gate_exponent)


class ProgrammingCurve:
    """The conductance that a melting pulse leaves, against current: (k,) A, strictly increasing, and (k,) S.

    Linear between the points, its first value below them, its last above. Raises ValueError.
    """

    def __init__(self, currents: tuple[float, ...], conductances: tuple[float, ...]) -> None:
        if len(currents) < 2 or len(currents) != len(conductances):
            raise ValueError("melt_currents and melt_conductances must be equally many, and 2 at least")
        if not (np.all(np.diff(currents) > 0) and currents[0] > 0):
            raise ValueError("melt_currents must be more than 0 A and increase")
        if not (np.all(np.diff(conductances) <= 0) and conductances[-1] > 0):
            raise ValueError("melt_conductances must be more than 0 S and not increase")
        self.begin = np.float32(currents[0])
        self.end = np.float32(currents[-1])
        grid = np.linspace(0, currents[-1], _STEPS)
        self._table: Float32 = np.interp(grid, currents, conductances).astype(np.float32)
        self._per_ampere = np.float32((_STEPS - 1) / currents[-1])

    def melts(self, current: Float32) -> bool:
        """Whether any of (n,) A does."""
        return bool(current.max(initial=0) >= self.begin)

    def conductance(self, where: Selection, current: Float32) -> Float32:
        """(n,) S."""
        place, index = where.arena.float32(len(where)), where.arena.intp(len(where))
        np.multiply(current, self._per_ampere, out=place)
        np.minimum(place, np.float32(_STEPS - 1), out=place)
        np.copyto(index, place, casting="unsafe")
        return self._table.take(index, out=place, mode="clip")

    def extent(self, where: Selection, current: Float32) -> Float32:
        """The share of the volume that melts: 0 at the first current, 1 at the last and above: (n,)."""
        extent = where.arena.float32(len(where))
        np.subtract(current, self.begin, out=extent)
        extent *= np.float32(1 / (self.end - self.begin))
        return np.clip(extent, np.float32(0), np.float32(1), out=extent)


class Accumulation:
    """SET pulses add up, the more hesitantly the more there have been (J. Appl. Phys. 124, 152135, 2018).

    For a pulse of the width t_0 of the paper, with xi a standard normal:

        P <- P exp(-1 / 2.6)
        G <- G + (m_G G + m_0 + m_P P) + (s_G G + s_0 + s_P P) xi, clipped
        full RESET: G = N(G_RESET, s_RESET), P = 1

    The paper has pulses of one amplitude and width. Assumed beyond it: any current between SET and melting does the
    same. A pulse of another width t is w = t / t_0 pulses in one: P <- P exp(-w / 2.6), the mean change times
    s = (1 - (1 + m_G)**w) / -m_G, which is that of w pulses at constant P, and its spread times sqrt(s). A pulse that
    melts a share x leaves at most what the programming curve says, times 1 + (s_RESET / G_RESET) xi, and
    P <- P + x (1 - P).
    """

    def __init__(self, p: PcmParameters, curve: ProgrammingCurve) -> None:
        """Raises ValueError."""
        if not -1 < p.step_mean_slope < 0:
            raise ValueError(f"step_mean_slope must be between -1 and 0, not {p.step_mean_slope:g}")
        self._p = p
        self._curve = curve
        self._reset_noise = np.float32(p.reset_spread / p.melt_conductances[-1])

    def after(self, where: Selection, before: State, current: Float32, noise: Float32, width: float) -> State:
        """What a pulse leaves of cells that it heats."""
        if not self._curve.melts(current):
            return self._crystallised(where, before, noise, width)
        after = self._quenched(where, before, current, noise)
        partly = (current >= np.float32(self._p.set_current)) & (current < self._curve.begin)
        if partly.any():
            crystallised = self._crystallised(where, before, noise, width)
            np.copyto(after.conductance, crystallised.conductance, where=partly)
            np.copyto(after.memory, crystallised.memory, where=partly)
        return after

    def _crystallised(self, where: Selection, before: State, noise: Float32, width: float) -> State:
        p, widths = self._p, width / self._p.pulse_width
        gain = (1 - math.pow(1 + p.step_mean_slope, widths)) / -p.step_mean_slope
        root = math.sqrt(gain)
        memory = where.arena.float32(len(where))
        np.multiply(before.memory, np.float32(math.exp(-widths / p.memory_pulses)), out=memory)
        recent = State(before.conductance, memory)
        after = _plane(where, recent, p.step_spread * root, p.step_spread_slope * root, p.step_spread_memory * root)
        after *= noise
        after += _plane(where, recent, p.step_mean * gain, 1 + p.step_mean_slope * gain, p.step_mean_memory * gain)
        np.clip(after, np.float32(p.conductance_least), np.float32(p.conductance_most), out=after)
        return State(after, memory)

    def _quenched(self, where: Selection, before: State, current: Float32, noise: Float32) -> State:
        extent, after = self._curve.extent(where, current), self._curve.conductance(where, current)
        memory, part = where.arena.float32(len(where)), where.arena.float32(len(where))
        np.multiply(noise, self._reset_noise, out=part)
        part += np.float32(1)
        after *= part
        np.greater_equal(extent, np.float32(1), out=part)  # all melted: what it was sets no bound
        part += before.conductance
        np.minimum(after, part, out=after)
        np.maximum(after, np.float32(0), out=after)
        np.subtract(np.float32(1), before.memory, out=memory)
        memory *= extent
        memory += before.memory
        return State(after, memory)


class Landing:
    """A pulse lands where the programming curve says, whatever the cell was before.

    G = N(target(I), sigma_prog(target)), sigma_prog a polynomial of g (Joshi et al., Nat. Commun. 11, 2473, 2020: the
    error of a closed programming loop, from a million cells). Assumed: each single pulse misses by so much, so a loop
    that verifies does at least as well, and a pulse between SET and melting crystallises all, target(I) being the
    curve's first value.
    """

    def __init__(self, p: PcmParameters, curve: ProgrammingCurve) -> None:
        self._p = p
        self._curve = curve

    def after(self, where: Selection, before: State, current: Float32, noise: Float32, width: float) -> State:  # noqa: ARG002
        """What a pulse leaves of cells that it heats; nothing of what they were."""
        p = self._p
        target, spread = self._curve.conductance(where, current), where.arena.float32(len(where))
        spread[:] = 0
        for power in reversed(range(len(p.programming_spread))):
            spread += np.float32(p.programming_spread[power])
            if power:
                spread *= target
                spread *= np.float32(1 / p.full_scale)
        np.maximum(spread, np.float32(0), out=spread)
        spread *= noise
        target += spread
        np.clip(target, np.float32(p.conductance_least), np.float32(p.conductance_most), out=target)
        return State(target, before.memory)


def _plane(where: Selection, state: State, constant: float, slope: float, remembered: float) -> Float32:
    """constant + slope * conductance + remembered * memory: (n,)."""
    plane, part = where.arena.float32(len(where)), where.arena.float32(len(where))
    np.multiply(state.conductance, np.float32(slope), out=plane)
    np.multiply(state.memory, np.float32(remembered), out=part)
    plane += part
    plane += np.float32(constant)
    return plane
