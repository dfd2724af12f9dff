"""Phase-change devices as published: what SET and RESET pulses do, drift and read noise, as equations on arrays.

The model of 10,000 devices of J. Appl. Phys. 124, 152135 (2018), by which Front. Neurosci. 14, 406 (2020) trains:

    RESET:   G = N(0.1, 0.01) uS, P = 1
    SET:     P <- P exp(-1 / 2.6),  G <- G + N(-0.084 G + 0.880 + 1.40 P, 0.091 G + 0.260 + 2.15 P) uS, in 0.1 .. 20
    drift:   G(t) = G ((t - t_p) / 38.6 s)^-0.04, t_p the last pulse
    read:    + N(0, 0.03 G(t) + 0.13 uS)

G is in S below. Assumed: until 1 s after a pulse the conductance is what it is then (the power law has an onset,
Kersting et al., arXiv:2106.06270, and nothing was fitted there).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.learning.trainable.network import Float32


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """The constants. Conductances in S, times in s; `_slope` per S of conductance, `_memory` per 1 of P."""

    reset: float = 0.1e-6
    reset_spread: float = 0.01e-6
    least: float = 0.1e-6
    most: float = 20e-6
    memory_pulses: float = 2.6
    step: float = 0.880e-6
    step_slope: float = -0.084
    step_memory: float = 1.40e-6
    spread: float = 0.260e-6
    spread_slope: float = 0.091
    spread_memory: float = 2.15e-6
    drift_exponent: float = 0.04
    drift_time: float = 38.6
    drift_onset: float = 1.0
    read_noise: float = 0.13e-6
    read_noise_slope: float = 0.03

    def after_reset(self, shape: int | tuple[int, ...], rng: np.random.Generator) -> Float32:
        """G of devices after a RESET, S."""
        conductance = rng.standard_normal(shape, np.float32)
        conductance *= np.float32(self.reset_spread)
        conductance += np.float32(self.reset)
        return conductance

    def after_set(self, conductance: Float32, pulses: NDArray[np.integer], rng: np.random.Generator) -> Float32:
        """G of devices, S, after one more SET pulse than the `pulses` they have had since their RESET."""
        memory: Float32 = np.exp((pulses + np.float32(1)) * np.float32(-1 / self.memory_pulses))
        after: Float32 = np.float32(self.spread_slope) * conductance + np.float32(self.spread_memory) * memory
        after += np.float32(self.spread)
        after *= rng.standard_normal(conductance.shape, np.float32)
        after += np.float32(1 + self.step_slope) * conductance + np.float32(self.step_memory) * memory
        after += np.float32(self.step)
        np.clip(after, np.float32(self.least), np.float32(self.most), out=after)
        return after

    def drift(self, elapsed: Float32) -> Float32:
        """G(t) / G, `elapsed` s after the last pulse; written over `elapsed`."""
        np.maximum(elapsed, np.float32(self.drift_onset), out=elapsed)
        elapsed *= np.float32(1 / self.drift_time)
        np.log(elapsed, out=elapsed)
        elapsed *= np.float32(-self.drift_exponent)
        return np.exp(elapsed, out=elapsed)

    def noise(self, conductance: Float32) -> Float32:
        """Standard deviation of a read of G(t), S."""
        return np.float32(self.read_noise_slope) * conductance + np.float32(self.read_noise)
