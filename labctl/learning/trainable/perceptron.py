"""The fully connected network: sigmoid hidden units, softmax and cross entropy, a bias row in every matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.networks.network import Layer
from labctl.learning.networks.perceptron import cross_entropy
from labctl.learning.trainable.network import Factors, Float32, Lesson, Products, TrainableNetwork, with_bias

_PART = 1000  # samples that are predicted at once
_SPREAD = 3.0  # of initial weights, times the root of the inputs: so sigmoids differ for pictures that are mostly dark


class Perceptron(TrainableNetwork):
    """Layers of `widths`; its name is "784-250-10" or the like. Samples (n, ...) of as many values as the first width.

    Per batch it asks for a product forward of every layer, and backward of every layer but the first, of those inputs
    that are hidden units.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """Raises UsageError for less than two widths, or one below 1."""
        name = "-".join(map(str, widths))
        if len(widths) < 2 or min(widths) < 1:
            raise UsageError(f"a perceptron has an input and an output width at least, as in 784-250-10, not {name!r}")
        layers = [
            Layer(f"fc{number}", inputs + 1, outputs, 1)
            for number, (inputs, outputs) in enumerate(pairwise(widths), start=1)
        ]
        super().__init__(name, layers, [_SPREAD / math.sqrt(layer.inputs) for layer in layers])
        self._hidden = [slice(0, width) for width in widths[:-1]]

    def train_batch(
        self,
        products: Products,
        inputs: Float32,
        labels: NDArray[Any],
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Lesson:
        given, logits = self._forward(products, inputs)
        loss, deltas = cross_entropy(logits, labels)
        correct = int(np.count_nonzero(logits.argmax(axis=1) == labels))
        factors = [Factors(given[-1], deltas)]
        for number in range(len(given) - 1, 0, -1):
            hidden = given[number][:, :-1]
            deltas = products.backward(number, deltas, self._hidden[number]) * (hidden * (1 - hidden))
            factors.append(Factors(given[number - 1], deltas))
        factors.reverse()
        return Lesson(loss, correct, len(labels), factors)

    def predict(self, products: Products, inputs: Float32) -> Float32:
        parts = (inputs[start : start + _PART] for start in range(0, len(inputs), _PART))
        return np.concatenate([self._forward(products, part)[1] for part in parts])

    def _forward(self, products: Products, inputs: Float32) -> tuple[list[Float32], Float32]:
        """What every layer was given, and the logits."""
        values = inputs.reshape(len(inputs), -1)
        if values.shape[1] != self.layers[0].inputs - 1:
            raise UsageError(f"samples of {values.shape[1]} values for the network {self.name}")
        given = [with_bias(values)]
        for number in range(len(self.layers) - 1):
            given.append(_hidden_units(products.forward(number, given[-1])))
        return given, products.forward(len(given) - 1, given[-1])


def _hidden_units(values: Float32) -> Float32:
    """1 / (1 + exp(-values)), by the tanh that never overflows, with the next layer's bias."""
    inputs = np.empty((len(values), values.shape[1] + 1), values.dtype)
    hidden = inputs[:, :-1]
    np.multiply(values, 0.5, out=hidden)
    np.tanh(hidden, out=hidden)
    hidden *= 0.5
    hidden += 0.5
    inputs[:, -1] = 1
    return inputs
