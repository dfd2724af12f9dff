"""The digital state of a network: moments of its batch normalisations, ranges of its layers' inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError

Float32 = NDArray[np.float32]

_NEWEST = 0.05  # least share of the newest batch: of the last twenty, more or less


class Statistics:
    """Running means over batches. The newest batch's share is 1/batches, but in training not below a twentieth.

    Attributes:
        batches: how many were taken in.
        low: (1,) lowest input of the network.
        high: (layers,) end of the range of each layer's inputs, from 0 (the first: from `low`).
        means, variances: per batch normalisation (width,).
    """

    def __init__(self, layers: int, normalised: Sequence[int]) -> None:
        self.batches = 0
        self.low: Float32 = np.zeros(1, np.float32)
        self.high: Float32 = np.zeros(layers, np.float32)
        self.means: list[Float32] = [np.zeros(width, np.float32) for width in normalised]
        self.variances: list[Float32] = [np.ones(width, np.float32) for width in normalised]
        self._share = np.float32(1)

    def fresh(self) -> Statistics:
        """One of the same shape that has seen nothing."""
        return Statistics(len(self.high), [len(mean) for mean in self.means])

    def clear(self) -> None:
        """Forget all batches."""
        self.batches = 0

    def begin(self, *, mean: bool = False) -> None:
        """Another batch comes. mean: all batches are to count the same, however many come."""
        self.batches += 1
        self._share = np.float32(1 / self.batches if mean else max(1 / self.batches, _NEWEST))

    def take_inputs(self, low: float, high: float) -> None:
        """A batch of the network's inputs lies within [low, high]."""
        self.low[0] += self._share * (np.float32(low) - self.low[0])
        self.take_range(0, high - float(self.low[0]))

    def take_range(self, layer: int, high: float) -> None:
        """For a batch, the range of a layer's inputs should end at `high`."""
        self.high[layer] += self._share * (np.float32(high) - self.high[layer])

    def take_moments(self, number: int, mean: Float32, variance: Float32) -> None:
        """A batch before normalisation `number` has this mean and this variance, (width,) each."""
        self.means[number] += self._share * (mean - self.means[number])
        self.variances[number] += self._share * (variance - self.variances[number])

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of all arrays under flat names."""
        named = {"batches": np.array([self.batches], np.int64)}
        return named | {name: values.copy() for name, values in self._named().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` gave. Raises UsageError where an array is missing or of another shape."""
        arrays = self._named()
        shapes = {name: values.shape for name, values in arrays.items()} | {"batches": (1,)}
        for name, shape in shapes.items():
            if name not in state or state[name].shape != shape:
                raise UsageError(f"these are not statistics of this network: there is no {name} of shape {shape}")
        for name, values in arrays.items():
            values[:] = state[name]
        self.batches = int(state["batches"][0])

    def _named(self) -> dict[str, Float32]:
        named = {"low": self.low, "high": self.high}
        for number, (mean, variance) in enumerate(zip(self.means, self.variances, strict=True)):
            named |= {f"mean_{number}": mean, f"variance_{number}": variance}
        return named
