"""Stochastic gradient descent with momentum and weight decay, in place, on numpy arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError

Float32 = NDArray[np.float32]

CHUNK = 1 << 15
"""Numbers worked on at once: several passes over so many stay in a core's cache."""


@dataclass(frozen=True, slots=True)
class Descent:
    """How to descend: `velocity <- momentum velocity + gradient + decay value; value <- value - rate velocity`.

    The rate falls from `rate` to 0 along a cosine over `updates` updates (Loshchilov and Hutter, arXiv 1608.03983), or
    stays where `updates` is None.
    """

    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4
    updates: int | None = None

    def __post_init__(self) -> None:
        if not (self.rate > 0 and 0 <= self.momentum < 1 and self.decay >= 0):
            raise UsageError(
                "a descent has a rate above 0, a momentum of 0 or more but below 1 and a decay of 0 or more, not "
                f"{self.rate:g}, {self.momentum:g} and {self.decay:g}"
            )

    def rate_at(self, done: int) -> float:
        """The rate of the update that follows `done` others."""
        if self.updates is None:
            return self.rate
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done / max(1, self.updates))))

    def step(self, values: Float32, velocities: Float32, gradients: Float32, done: int) -> None:
        """Make one update of flat arrays in place; `gradients` is left undefined."""
        gradients += np.multiply(values, np.float32(self.decay))
        velocities *= np.float32(self.momentum)
        velocities += gradients
        np.multiply(velocities, np.float32(self.rate_at(done)), out=gradients)
        values -= gradients
