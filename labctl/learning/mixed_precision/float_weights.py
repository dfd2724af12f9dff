"""Weights in float32: what all other weights are compared with, and timed against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labctl.learning.mixed_precision.rows import Outer, multiply
from labctl.learning.trainable.network import Factors, Float32


class FloatWeights:
    """Holds weights as numbers, and learns by plain gradient descent.

    Attributes:
        values: per layer (inputs, outputs); copies of what was given.
    """

    def __init__(self, initial: Sequence[Float32], rates: Sequence[float] | None = None) -> None:
        """rates: what the learning rate of each layer is multiplied by."""
        self.values = [np.array(weights, np.float32, order="C") for weights in initial]
        self._rates = (1.0,) * len(self.values) if rates is None else tuple(rates)
        self._outer = Outer()

    def forward(self, layer: int, inputs: Float32, /) -> Float32:
        return multiply(inputs, self.values[layer])

    def backward(self, layer: int, deltas: Float32, /, inputs: slice | None = None) -> Float32:
        weights = self.values[layer] if inputs is None else self.values[layer][inputs]
        return deltas @ weights.T

    def weights(self, layer: int, /) -> Float32:
        return self.values[layer]

    def learn(self, factors: Sequence[Factors], rate: float) -> None:
        """W <- W - rate inputs.T @ deltas, in one pass over each matrix."""
        for values, each, factor in zip(self.values, factors, self._rates, strict=True):
            self._outer.add(values, each.inputs, each.deltas, -rate * factor)
