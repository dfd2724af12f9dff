"""Make the default target: train a small network on MNIST and keep its first layer, 512 x 256, in int8.

    OMP_NUM_THREADS=1 LABCTL_DATA=folder python data/targets/train_mnist_layer.py

reads folder/mnist/*.gz and writes mnist_layer.npz beside this script. On one machine the same seed gives the
same bytes; on another, matrix products may round differently and the weights with them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labctl.data.targets.mnist_network import SHIPPED, Images, Labels, Network
from labctl.errors import UsageError
from labctl.learning.datasets.images import MNIST, read_part

Floats = NDArray[np.float32]

INPUTS, HIDDEN, DIGITS = 512, 256, 10
TOP_CODE = 127  # int8, symmetric

DESCRIPTION = (
    "First layer (512 inputs x 256 hidden units) of a 512-256-10 ReLU network trained on MNIST, in int8; "
    "the inputs are the 512 pixels with the highest variance."
)
LICENCE = (
    "Only weights are here, no image. MNIST (LeCun, Cortes, Burges) is under CC BY-SA 3.0. "
    "The weights are under labctl's own licence."
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. clip: first-layer weights are held within this many of their standard deviations.

    weight_decay: the share of a weight, times the learning rate, that each step takes off it (AdamW).
    """

    seed: int = 1
    epochs: int = 20
    batch: int = 200
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    clip: float = 2.5


@dataclass(slots=True)
class Adam:
    """Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019) for one array."""

    value: Floats
    decay: float
    mean: Floats = field(init=False)
    square: Floats = field(init=False)
    steps: int = 0

    def __post_init__(self) -> None:
        self.mean, self.square = np.zeros_like(self.value), np.zeros_like(self.value)

    def step(self, gradient: Floats, rate: float) -> None:
        """Move `value` in place."""
        self.steps += 1
        self.mean += np.float32(0.1) * (gradient - self.mean)
        self.square += np.float32(0.001) * (gradient * gradient - self.square)
        mean = self.mean / np.float32(1 - 0.9**self.steps)
        root = np.sqrt(self.square / np.float32(1 - 0.999**self.steps))
        self.value -= np.float32(rate) * (mean / (root + np.float32(1e-8)) + np.float32(self.decay) * self.value)


def most_varied_pixels(images: Images) -> NDArray[np.uint16]:
    """Indices, ascending, of the 512 pixels whose variance over `images` (n, 28, 28) is highest."""
    variance = images.reshape(len(images), -1).astype(np.float32).var(axis=0)
    return np.sort(np.argsort(-variance, kind="stable")[:INPUTS]).astype(np.uint16)


def untrained(pixels: NDArray[np.uint16], rng: np.random.Generator) -> Network:
    """He initialisation: weights N(0, 2 / inputs), biases zero."""

    def normal(inputs: int, outputs: int) -> Floats:
        return rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs)).astype(np.float32)

    return Network(
        pixels,
        hidden_weights=normal(INPUTS, HIDDEN),
        hidden_bias=np.zeros(HIDDEN, np.float32),
        output_weights=normal(HIDDEN, DIGITS),
        output_bias=np.zeros(DIGITS, np.float32),
    )


def train(images: Images, labels: Labels, settings: Settings) -> Network:
    """A network trained on `images` (n, 28, 28) and `labels` (n,): cross-entropy, cosine learning rate."""
    rng = np.random.default_rng(settings.seed)
    network = untrained(most_varied_pixels(images), rng)
    inputs = network.inputs(images)
    weights = [
        Adam(network.hidden_weights, settings.weight_decay),
        Adam(network.output_weights, settings.weight_decay),
    ]
    biases = [Adam(network.hidden_bias, 0), Adam(network.output_bias, 0)]
    steps = settings.epochs * (len(images) // settings.batch)
    for step, chosen in enumerate(batches(len(images), settings, rng)):
        rate = settings.learning_rate * (1 + np.cos(np.pi * step / steps)) / 2
        slopes = gradients(network, inputs[chosen], labels[chosen])
        for moved, slope in zip([*weights, *biases], slopes, strict=True):
            moved.step(slope, rate)
        limit = settings.clip * network.hidden_weights.std()
        np.clip(network.hidden_weights, -limit, limit, out=network.hidden_weights)
    return network


def batches(count: int, settings: Settings, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Indices of whole batches, in a new order each epoch."""
    for _ in range(settings.epochs):
        order = rng.permutation(count)
        for start in range(0, count - settings.batch + 1, settings.batch):
            yield order[start : start + settings.batch]


def gradients(network: Network, inputs: Floats, labels: Labels) -> tuple[Floats, Floats, Floats, Floats]:
    """Of the mean cross-entropy: by hidden weights, output weights, hidden bias, output bias."""
    hidden = np.maximum(inputs @ network.hidden_weights + network.hidden_bias, 0)
    logits = hidden @ network.output_weights + network.output_bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    back = (error @ network.output_weights.T) * (hidden > 0)
    return inputs.T @ back, hidden.T @ error, back.sum(axis=0), error.sum(axis=0)


def main() -> None:
    training, test = read_part(MNIST, "train"), read_part(MNIST, "test")
    settings = Settings()
    network = train(training.images, training.labels, settings)
    scale = np.float32(np.abs(network.hidden_weights).max() / TOP_CODE)
    codes = np.rint(network.hidden_weights / scale).astype(np.int8)
    quantised = replace(network, hidden_weights=codes * scale)
    accuracies = network.accuracy(test.images, test.labels), quantised.accuracy(test.images, test.labels)
    np.savez_compressed(
        SHIPPED,
        weights=codes,
        weight_scale=scale,
        hidden_bias=network.hidden_bias,
        output_weights=network.output_weights,
        output_bias=network.output_bias,
        pixels=network.pixels,
        float_accuracy=accuracies[0],
        quantised_accuracy=accuracies[1],
        description=DESCRIPTION,
        made_by=Path(__file__).name,
        settings=json.dumps(asdict(settings)),
        data_set="MNIST",
        licence=LICENCE,
    )
    print(f"{SHIPPED}: test accuracy {accuracies[0]:.4f} in float32, {accuracies[1]:.4f} in int8")


if __name__ == "__main__":
    try:
        main()
    except UsageError as problem:
        sys.exit(str(problem))
