"""Fully connected networks in plain numpy, with a backward pass written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.networks.network import Batch, Float32, Layer, Network, Product
from labctl.learning.networks.ranges import CLIPS

_SMALL = np.float32(1e-5)  # added to a variance


@dataclass(slots=True)
class _Passed:
    """What a layer leaves for the backward pass.

    given: (n, inputs), what was multiplied, in steps of `step`. inside: which of the layer's inputs lay in its range,
    None for the network's own. normal: (n, outputs) after normalisation, None for the last layer; spread: (outputs,)
    its standard deviation before.
    """

    given: Float32
    step: float
    inside: NDArray[np.bool_] | None
    normal: Float32 | None = None
    spread: Float32 | None = None


class Perceptron(Network):
    """Layers of `widths`, batch normalisation and a rectifier between them; its name is "784-512-10" or the like."""

    def __init__(self, widths: Sequence[int], bits: int, *, full_precision: bool = False) -> None:
        """Raises UsageError for less than two widths, or one below 1."""
        name = "-".join(map(str, widths))
        if len(widths) < 2 or min(widths) < 1:
            raise UsageError(f"a perceptron has an input and an output width at least, as in 784-512-10, not {name!r}")
        layers = [
            Layer(f"fc{number}", inputs, outputs, 1)
            for number, (inputs, outputs) in enumerate(pairwise(widths), start=1)
        ]
        super().__init__(name, bits, layers, widths[-1], widths[1:-1], full_precision=full_precision)

    def _logits(
        self, weights: Sequence[Float32], inputs: Float32, product: Product | None, *, learning: bool
    ) -> Float32:
        return self._forward(weights, inputs, product, learning=learning)[0]

    def _train(
        self, weights: Sequence[Float32], inputs: Float32, labels: NDArray[np.integer], product: Product | None
    ) -> Batch:
        logits, passed = self._forward(weights, inputs, product, learning=True)
        loss, gradient = cross_entropy(logits, labels)
        gradients: list[Float32] = [gradient] * len(passed)
        for number in reversed(range(len(passed))):
            layer = passed[number]
            if layer.normal is not None and layer.spread is not None:
                gradient = _through_normalisation(gradient, layer.normal, layer.spread)
            gradients[number] = layer.given.T @ (gradient * np.float32(layer.step))
            if layer.inside is not None:
                gradient = gradient @ weights[number].T
                gradient *= layer.inside
        correct = int(np.count_nonzero(logits.argmax(axis=1) == labels))
        return Batch(loss, correct, len(labels), gradients)

    def _forward(
        self, weights: Sequence[Float32], inputs: Float32, product: Product | None, *, learning: bool
    ) -> tuple[Float32, list[_Passed]]:
        values = inputs.reshape(len(inputs), -1).astype(np.float32, copy=False)
        if values.shape[1] != self.layers[0].inputs:
            raise UsageError(f"samples of {values.shape[1]} values for the network {self.name}")
        if learning:
            self.statistics.take_inputs(float(values.min()), float(values.max()))
        values = values - self.statistics.low
        passed: list[_Passed] = []
        for number in range(len(self.layers)):
            layer = self._quantise(number, values)
            if product is None:
                values = layer.given @ weights[number]
            else:
                values = product(number, layer.given.astype(np.uint8))
            values = values * np.float32(layer.step)
            if number + 1 < len(self.layers):
                layer.normal, layer.spread = self._normalise(number, values, learning=learning)
                values = np.maximum(layer.normal, 0)
            passed.append(layer)
        return values, passed

    def _quantise(self, number: int, values: Float32) -> _Passed:
        if number:
            self.statistics.high[number] = CLIPS[self.bits]
        if self.full_precision:
            return _Passed(values, 1.0, values > 0 if number else None)
        high = float(self.statistics.high[number])
        step = high / self.top or 1.0
        codes = values * np.float32(1 / step)
        inside = (codes > 0) & (codes <= self.top) if number else None
        np.clip(np.rint(codes, out=codes), 0, self.top, out=codes)
        return _Passed(codes, step, inside)

    def _normalise(self, number: int, values: Float32, *, learning: bool) -> tuple[Float32, Float32]:
        """Its values (n, outputs) with mean 0 and variance 1 of each output, and the deviations divided by."""
        if learning:
            mean = values.mean(axis=0)
            values = values - mean
            variance = np.einsum("ij,ij->j", values, values) / np.float32(len(values))
            self.statistics.take_moments(number, mean, variance * np.float32(len(values) / max(1, len(values) - 1)))
        else:
            values = values - self.statistics.means[number]
            variance = self.statistics.variances[number]
        spread = np.sqrt(variance + _SMALL)
        return values / spread, spread


def _through_normalisation(gradient: Float32, normal: Float32, spread: Float32) -> Float32:
    """The gradient before a batch normalisation, from the one after it (Ioffe and Szegedy, arXiv 1502.03167)."""
    along = np.einsum("ij,ij->j", gradient, normal) / np.float32(len(normal))
    gradient = gradient - gradient.mean(axis=0)
    gradient -= normal * along
    gradient /= spread
    return gradient


def cross_entropy(logits: Float32, labels: NDArray[np.integer]) -> tuple[float, Float32]:
    """Mean cross entropy of the softmax of `logits` (n, classes), and its gradient."""
    rows = np.arange(len(logits))
    gradient = np.exp(logits - logits.max(axis=1, keepdims=True))
    gradient /= gradient.sum(axis=1, keepdims=True)
    loss = -math.fsum(np.log(np.maximum(gradient[rows, labels], np.finfo(np.float32).tiny))) / len(logits)
    gradient[rows, labels] -= 1
    gradient /= np.float32(len(logits))
    return loss, gradient
