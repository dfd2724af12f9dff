"""Tasks small enough to be learnt in a second, as data sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labctl.learning.datasets import Dataset
from labctl.learning.networks import Network


def clusters(features: int = 20, classes: int = 4, samples: int = 600, seed: int = 1) -> Dataset:
    """Clouds of points around centres that are apart by several of their deviations."""
    rng = np.random.default_rng(seed)
    centres = rng.random((classes, features), np.float32)
    labels = rng.integers(0, classes, samples)
    inputs = np.clip(centres[labels] + 0.1 * rng.standard_normal((samples, features), np.float32), 0, 1)
    return as_dataset("clusters", classes, inputs.astype(np.float32), labels)


def quadrants(height: int, width: int, samples: int = 400, seed: int = 1) -> Dataset:
    """Noisy pictures with one quarter brighter, which is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, samples)
    inputs = 0.5 * rng.random((samples, height, width), np.float32)
    for picture, label in zip(inputs, labels, strict=True):
        top, left = (label // 2) * height // 2, (label % 2) * width // 2
        picture[top : top + height // 2, left : left + width // 2] += 0.4
    return as_dataset("quadrants", 4, inputs, labels)


def bars(size: int, samples: int = 60, seed: int = 1) -> Dataset:
    """Noisy pictures with bright bars, whose pixels are labelled 1."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((samples, size, size), np.uint8)
    for truth in labels:
        row, col = rng.integers(0, size - 2, 2)
        truth[row : row + 3] = 1
        truth[:, col : col + 3] = 1
    inputs = 0.5 * labels + 0.4 * rng.random(labels.shape, np.float32)
    return as_dataset("bars", 2, inputs.astype(np.float32), labels)


def as_dataset(name: str, classes: int, inputs: NDArray[np.float32], labels: NDArray[np.integer]) -> Dataset:
    """Two thirds to train with, the rest to be judged by."""
    cut = 2 * len(inputs) // 3
    return Dataset(name, classes, inputs[:cut], labels[:cut], inputs[cut:], labels[cut:], "none", "made up")


def random_weights(network: Network, seed: int = 2) -> list[NDArray[np.float32]]:
    """Normal weights with the deviation that keeps activations as large as they are."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal(layer.shape) * np.sqrt(2 / layer.inputs)).astype(np.float32) for layer in network.layers
    ]


def whole_weights(network: Network, seed: int = 2) -> list[NDArray[np.float32]]:
    """Eighths, whose sums of products with codes have no rounding in float32, whatever their order."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(-3, 4, layer.shape) / 8).astype(np.float32) for layer in network.layers]


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    return float(np.mean(logits.argmax(axis=1) == labels))
