"""A generative adversarial network of fully connected layers, for pictures (Goodfellow et al., arXiv 1406.2661).

The generator makes a picture of a latent, a vector of normal numbers; the discriminator says whether a picture is one
of the data. Both learn from the same batch with the same weights: the discriminator the cross entropy of its answers
to real and to generated pictures, the generator that of its pictures being taken for real (the loss that does not
saturate). The discriminator is told that pictures of the data are real with a probability of 0.9, so that it does not
grow too sure (Salimans et al., arXiv 1606.03498).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.networks.network import Layer
from labctl.learning.trainable.network import Factors, Float32, Lesson, Products, TrainableNetwork, with_bias

LATENTS = 64
UNITS = 256
_LEAK = 0.2  # slope of the hidden units below 0
_REAL = 0.9  # probability of being real that the discriminator is taught for pictures of the data
_RATES = (1.0, 1.0, 0.2, 0.2)  # plain descent balances the two where the discriminator learns five times as slowly
_PART = 1000  # pictures that are generated at once

_LATENT, _PICTURE, _SEEN, _JUDGED = range(4)  # the layers


class Gan(TrainableNetwork):
    """Generator 64 - units - pixels, discriminator pixels - units - 1; pictures of one channel with values 0 to 1.

    Hidden units are leaky rectifiers; pixels and the probability of being real are sigmoids. Per batch of n it asks for
    four products forward, the discriminator's of 2 n vectors, and three backward.
    """

    def __init__(self, shape: Sequence[int], units: int = UNITS) -> None:
        """shape: (1, height, width). units: hidden ones, of either half. Raises UsageError for anything else."""
        if len(shape) != 3 or shape[0] != 1 or min(*shape, units) < 1:
            raise UsageError(f"the network gan takes pictures of one channel, not samples of shape {tuple(shape)}")
        self._shape, self._units = tuple(shape), units
        pixels = math.prod(shape)
        layers = (
            Layer("generator1", LATENTS + 1, units, 1),
            Layer("generator2", units + 1, pixels, 1),
            Layer("discriminator1", pixels + 1, units, 2),
            Layer("discriminator2", units + 1, 1, 2),
        )
        name = "gan" if units == UNITS else f"gan-{units}"
        super().__init__(name, layers, [1 / math.sqrt(layer.inputs) for layer in layers], _RATES)

    def train_batch(
        self,
        products: Products,
        inputs: Float32,
        labels: NDArray[Any],  # noqa: ARG002
        rng: np.random.Generator,
    ) -> Lesson:
        """As `TrainableNetwork.train_batch`; `loss`, `correct` and `judged` are the discriminator's, of real and
        generated pictures alike, and `extra` has the generator's loss, "loss_generator". Labels are not looked at.
        """
        if inputs.shape[1:] != self._shape:
            raise UsageError(
                f"samples of shape {inputs.shape[1:]} for the network {self.name}, which was made for {self._shape}"
            )
        count = len(inputs)
        latents = with_bias(rng.standard_normal((count, LATENTS), np.float32).astype(inputs.dtype, copy=False))
        hidden, pictures = self._generated(products, latents)
        seen = with_bias(np.concatenate([inputs.reshape(count, -1), pictures]))
        judged = with_bias(_leaky(products.forward(_SEEN, seen)))
        real = _sigmoid(products.forward(_JUDGED, judged))
        wanted = np.repeat(np.array([_REAL, 0], real.dtype), count)[:, None]

        # One product takes back what the discriminator learns and what the generator does.
        answers = (real - wanted) / np.float32(2 * count)
        persuaded = (real[count:] - 1) / np.float32(count)
        slopes = products.backward(_JUDGED, np.concatenate([answers, persuaded]), slice(0, self._units))
        features = judged[:, :-1]
        taught = slopes[: 2 * count] * _leaks(features)
        through = slopes[2 * count :] * _leaks(features[count:])
        pixels = products.backward(_SEEN, through, slice(0, pictures.shape[1])) * (pictures * (1 - pictures))
        drawn = products.backward(_PICTURE, pixels, slice(0, self._units)) * _leaks(hidden[:, :-1])

        factors = [Factors(latents, drawn), Factors(hidden, pixels), Factors(seen, taught), Factors(judged, answers)]
        correct = int(np.count_nonzero((real > 0.5) == (wanted > 0.5)))
        extra = {"loss_generator": _cross_entropy(real[count:], 1.0)}
        return Lesson(_cross_entropy(real, wanted), correct, 2 * count, factors, extra)

    def predict(self, products: Products, inputs: Float32) -> Float32:
        """Pictures (n, height, width), 0 to 1, of latents (n, 64)."""
        if inputs.shape[1:] != (LATENTS,):
            raise UsageError(f"latents of shape {inputs.shape[1:]} for the network {self.name}: it takes {LATENTS}")
        parts = (with_bias(inputs[start : start + _PART]) for start in range(0, len(inputs), _PART))
        pictures = np.concatenate([self._generated(products, part)[1] for part in parts])
        return pictures.reshape(-1, *self._shape[1:])

    def generate(self, products: Products, count: int, rng: np.random.Generator) -> Float32:
        """`count` pictures (count, height, width), 0 to 1, of latents that `rng` draws."""
        return self.predict(products, rng.standard_normal((count, LATENTS), np.float32))

    def _generated(self, products: Products, latents: Float32) -> tuple[Float32, Float32]:
        """What the generator's second layer is given, and pictures (n, pixels)."""
        hidden = with_bias(_leaky(products.forward(_LATENT, latents)))
        return hidden, _sigmoid(products.forward(_PICTURE, hidden))


def _leaky(values: Float32) -> Float32:
    leaked: Float32 = np.maximum(values, _LEAK * values)
    return leaked


def _leaks(values: Float32) -> Float32:
    """The slope of `_leaky` where it gave `values`."""
    return np.where(values > 0, values.dtype.type(1), values.dtype.type(_LEAK))


def _sigmoid(values: Float32) -> Float32:
    """1 / (1 + exp(-values)), by the tanh that never overflows."""
    probabilities: Float32 = 0.5 + 0.5 * np.tanh(0.5 * values)
    return probabilities


def _cross_entropy(real: Float32, wanted: Float32 | float) -> float:
    """Mean over samples of the cross entropy, nats, of probabilities `real` where `wanted` is the truth."""
    real = np.clip(real, 1e-7, 1 - 1e-7)
    return float(-np.mean(wanted * np.log(real) + (1 - wanted) * np.log(1 - real)))
