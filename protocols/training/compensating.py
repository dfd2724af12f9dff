"""Global drift compensation: a factor a layer that makes up for what drift takes from all of its devices alike.

Devices drift alike on the whole, so a layer's products shrink by a common factor. It is measured (Joshi et al., Nat.
Commun. 11, 2473, 2020): the same inputs are multiplied right after training and again later, and what came then over
what comes now is what the layer's products are to be multiplied by. Nothing on the array is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.learning.datasets import Dataset
from labctl.learning.trainable.gan import Gan
from labctl.learning.trainable.network import Float32, Products, TrainableNetwork

_SAMPLES = 256
"""Training samples whose products tell how far a layer has drifted."""

_VECTORS = 1024
"""Of a layer's inputs, for them: those of a convolution are drawn from all positions."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Per layer inputs (n, inputs), and what their products (n, outputs) were, twice, each with noise of its own."""

    inputs: tuple[Float32, ...]
    once: tuple[Float32, ...]
    again: tuple[Float32, ...]

    def factors(self, products: Products) -> tuple[float, ...]:
        """What each layer's products are to be multiplied by now."""
        now = [products.forward(layer, given) for layer, given in enumerate(self.inputs)]
        return tuple(_factor(*each) for each in zip(self.once, self.again, now, strict=True))

    def state(self) -> dict[str, NDArray[Any]]:
        """As arrays under flat names."""
        return {f"{name}_{layer}": each for name in _PARTS for layer, each in enumerate(getattr(self, name))}

    @classmethod
    def of(cls, state: Mapping[str, NDArray[Any]]) -> Reference:
        """What `state` gave."""
        layers = range(len(state) // len(_PARTS))
        return cls(*(tuple(state[f"{name}_{layer}"] for layer in layers) for name in _PARTS))


_PARTS = ("inputs", "once", "again")


def referred(network: TrainableNetwork, products: Products, data: Dataset) -> Reference:
    """By training samples that go through the network once, and what each layer was given then, twice more."""
    seen = _Seen(products)
    samples = data.train_inputs[:_SAMPLES]
    if isinstance(network, Gan):  # all of its layers, of which pictures are made with two
        network.train_batch(seen, samples, data.train_labels[:_SAMPLES], np.random.default_rng(0))
    else:
        network.predict(seen, samples)
    rng, inputs = np.random.default_rng(1), []
    for layer in range(len(network.layers)):
        vectors = np.concatenate(seen.inputs[layer])
        chosen = rng.permutation(len(vectors))[:_VECTORS]
        inputs.append(vectors[np.sort(chosen)])
    once, again = (tuple(products.forward(layer, each) for layer, each in enumerate(inputs)) for _ in range(2))
    return Reference(tuple(inputs), once, again)


class _Seen:
    """Products that keep what each layer was given."""

    def __init__(self, products: Products) -> None:
        self._products = products
        self.inputs: dict[int, list[Float32]] = {}

    def forward(self, layer: int, inputs: Float32, /) -> Float32:
        self.inputs.setdefault(layer, []).append(inputs.copy())
        return self._products.forward(layer, inputs)

    def backward(self, layer: int, deltas: Float32, /, inputs: slice | None = None) -> Float32:
        return self._products.backward(layer, deltas, inputs)


@dataclass(frozen=True, slots=True)
class Compensated:
    """Products, each layer's times its factor."""

    products: Products
    factors: tuple[float, ...]

    def forward(self, layer: int, inputs: Float32, /) -> Float32:
        values = self.products.forward(layer, inputs)
        values *= np.float32(self.factors[layer])
        return values

    def backward(self, layer: int, deltas: Float32, /, inputs: slice | None = None) -> Float32:
        values = self.products.backward(layer, deltas, inputs)
        values *= np.float32(self.factors[layer])
        return values


def _factor(before: Float32, again: Float32, now: Float32) -> float:
    """What `now` is to be multiplied by. `again` is `before` with other noise, which so does not count as signal."""
    shared = float(np.vdot(again, now))
    return float(np.vdot(before, again)) / shared if shared else 1.0
