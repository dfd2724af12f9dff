"""A small convolutional network for pictures, in plain numpy.

Convolution - 2 x 2 maximum - rectifier, twice, and a fully connected layer on what is left. A convolution is one
product: a row of its inputs is a patch of the picture, a row of its outputs the channels at that position. Positions
that no maximum is taken of are never computed. Maps are (n, height, width, channels). The rows of a convolution are
ordered by the place in the maximum first, (2, 2, n, height, width), so that a maximum is one of whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.networks.network import Layer
from labctl.learning.networks.perceptron import cross_entropy
from labctl.learning.trainable.network import Factors, Float32, Lesson, Products, TrainableNetwork, with_bias

_CHANNELS = (8, 16)
_SPREAD = 0.85  # of initial weights, times the root of the inputs: what a pulse adds is small enough beside it
_KERNEL = 5
_PART = 100  # samples that are predicted at once: 58,000 patches of the first convolution


@dataclass(frozen=True, slots=True, eq=False)
class _Convolved:
    """What a convolution leaves for the backward pass.

    given: the shape of its map. patches: its inputs. lower: which maxima came from the lower two of their four;
    upper_right, lower_right: where the right one of the upper two, of the lower two, was larger. rectified: (n, height,
    width, channels), the rectified maxima, as are the others.
    """

    given: tuple[int, ...]
    patches: Float32
    lower: NDArray[np.bool_]
    upper_right: NDArray[np.bool_]
    lower_right: NDArray[np.bool_]
    rectified: Float32


class Convolutional(TrainableNetwork):
    """Two convolutions of 5 x 5 with 8 and 16 channels, and a fully connected layer.

    Per batch it asks for a product forward of every layer, and backward of every layer but the first.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        """shape: (channels, height, width) of a sample. Raises UsageError for pictures too small."""
        if len(shape) != 3 or min(shape[1:]) < 16:
            raise UsageError(
                f"the network convolutional takes pictures of 16 x 16 or more, not samples of shape {tuple(shape)}"
            )
        channels, height, width = shape
        layers = []
        for number, outputs in enumerate(_CHANNELS, start=1):
            height, width = (height - _KERNEL + 1) // 2, (width - _KERNEL + 1) // 2
            layers.append(Layer(f"conv{number}", channels * _KERNEL**2 + 1, outputs, 4 * height * width))
            channels = outputs
        layers.append(Layer("fc", height * width * channels + 1, classes, 1))
        super().__init__("convolutional", layers, [_SPREAD / math.sqrt(layer.inputs) for layer in layers])
        self._shape = tuple(shape)

    def train_batch(
        self,
        products: Products,
        inputs: Float32,
        labels: NDArray[Any],
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Lesson:
        convolved, features, logits = self._forward(products, inputs)
        loss, deltas = cross_entropy(logits, labels)
        correct = int(np.count_nonzero(logits.argmax(axis=1) == labels))
        factors = [Factors(features, deltas)]
        for number in range(len(convolved) - 1, -1, -1):
            unbiased = slice(0, self.layers[number + 1].inputs - 1)
            slopes = products.backward(number + 1, deltas, unbiased)
            if number + 1 < len(convolved):
                slopes = _map_of_patches(slopes, convolved[number + 1].given)
            deltas = _before_maximum(convolved[number], slopes)
            factors.append(Factors(convolved[number].patches, deltas))
        factors.reverse()
        return Lesson(loss, correct, len(labels), factors)

    def predict(self, products: Products, inputs: Float32) -> Float32:
        parts = (inputs[start : start + _PART] for start in range(0, len(inputs), _PART))
        return np.concatenate([self._forward(products, part)[2] for part in parts])

    def _forward(self, products: Products, inputs: Float32) -> tuple[list[_Convolved], Float32, Float32]:
        """What the convolutions leave, what the last layer was given, and the logits."""
        if inputs.shape[1:] != self._shape:
            raise UsageError(
                f"samples of shape {inputs.shape[1:]} for the network {self.name}, which was made for {self._shape}"
            )
        values = np.moveaxis(inputs, 1, -1)
        convolved = []
        for number in range(len(_CHANNELS)):
            patches = _patches_of_map(values)
            outputs = products.forward(number, patches)
            height, width = (values.shape[1] - _KERNEL + 1) // 2, (values.shape[2] - _KERNEL + 1) // 2
            done = _maximum(values.shape, patches, outputs.reshape(2, 2, len(values), height, width, -1))
            convolved.append(done)
            values = done.rectified
        features = with_bias(values.reshape(len(values), -1))
        return convolved, features, products.forward(len(_CHANNELS), features)


def _patches_of_map(values: Float32) -> Float32:
    """(2 2 n height width, kernel kernel channels + 1) patches of a map, with the bias."""
    samples, rows, columns, channels = values.shape
    height, width = (rows - _KERNEL + 1) // 2, (columns - _KERNEL + 1) // 2
    sample, row, column, channel = values.strides
    patches = as_strided(
        values,
        (2, 2, samples, height, width, _KERNEL, _KERNEL, channels),
        (row, column, sample, 2 * row, 2 * column, row, column, channel),
        writeable=False,
    )
    inputs = np.empty((*patches.shape[:5], _KERNEL**2 * channels + 1), values.dtype)
    inputs[..., :-1].reshape(patches.shape)[...] = patches
    inputs[..., -1] = 1
    return inputs.reshape(-1, inputs.shape[-1])


def _map_of_patches(slopes: Float32, given: tuple[int, ...]) -> Float32:
    """The slopes of a map of shape `given`: each of its values sums those of the patches that it is in."""
    samples, rows, columns, channels = given
    height, width = (rows - _KERNEL + 1) // 2, (columns - _KERNEL + 1) // 2
    placed = slopes.reshape(2, 2, samples, height, width, -1).transpose(2, 3, 0, 4, 1, 5)
    patches = placed.reshape(samples, 2 * height, 2 * width, _KERNEL, _KERNEL, channels)
    summed = np.zeros(given, slopes.dtype)
    for row in range(_KERNEL):
        for column in range(_KERNEL):
            summed[:, row : row + 2 * height, column : column + 2 * width] += patches[:, :, :, row, column]
    return summed


def _maximum(given: tuple[int, ...], patches: Float32, outputs: Float32) -> _Convolved:
    """Of equal outputs the first is the largest: only one of four learns."""
    left, right = outputs[:, 0], outputs[:, 1]
    upper_right, lower_right = right > left
    upper, lower = np.maximum(left, right)
    rectified = np.maximum(np.maximum(upper, lower), 0)
    return _Convolved(given, patches, lower > upper, upper_right, lower_right, rectified)


def _before_maximum(convolved: _Convolved, slopes: Float32) -> Float32:
    """The deltas of the convolution's outputs, (rows, channels), from the slopes of its rectified maxima."""
    passed = slopes.reshape(convolved.rectified.shape) * (convolved.rectified > 0)
    deltas = np.empty((2, 2, *passed.shape), passed.dtype)
    lower = passed * convolved.lower
    upper = passed - lower
    np.multiply(upper, convolved.upper_right, out=deltas[0, 1])
    np.subtract(upper, deltas[0, 1], out=deltas[0, 0])
    np.multiply(lower, convolved.lower_right, out=deltas[1, 1])
    np.subtract(lower, deltas[1, 1], out=deltas[1, 0])
    return deltas.reshape(-1, passed.shape[-1])
