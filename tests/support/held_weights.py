"""Weights of a trainable network as numbers, which multiply, learn, and remember what was asked of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from labctl.learning.trainable import Factors, TrainableNetwork


class HeldWeights:
    """matrices: (inputs, outputs) per layer. calls: (direction, layer, vectors, inputs asked for), in order."""

    def __init__(
        self, network: TrainableNetwork, *, seed: int = 1, spread: float | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        rng = np.random.default_rng(seed)
        self.matrices = [
            (rng.standard_normal(layer.shape) * (spread or own)).astype(dtype)
            for layer, own in zip(network.layers, network.spreads, strict=True)
        ]
        self.calls: list[tuple[str, int, int, slice | None]] = []
        self._rates = network.rates

    def forward(self, layer: int, inputs: NDArray[np.floating], /) -> NDArray[np.floating]:
        self.calls.append(("forward", layer, len(inputs), None))
        return inputs @ self.matrices[layer]

    def backward(
        self, layer: int, deltas: NDArray[np.floating], /, inputs: slice | None = None
    ) -> NDArray[np.floating]:
        self.calls.append(("backward", layer, len(deltas), inputs))
        return deltas @ self.matrices[layer][inputs or slice(None)].T

    def learn(self, factors: Sequence[Factors], rate: float) -> None:
        for matrix, each, factor in zip(self.matrices, factors, self._rates, strict=True):
            matrix -= np.float32(rate * factor) * (each.inputs.T @ each.deltas)

    def slope(self, loss: Callable[[], float], layer: int, direction: NDArray[np.float64]) -> float:
        """d loss along a direction of the layer's weights, by central differences; for weights in float64."""
        kept, step, found = self.matrices[layer], 1e-7, []
        for sign in (1, -1):
            self.matrices[layer] = kept + sign * step * direction
            found.append(loss())
        self.matrices[layer] = kept
        return (found[0] - found[1]) / (2 * step)
