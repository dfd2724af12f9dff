"""What may be done to samples of a task without changing what they are: more of them to learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.learning.datasets import Dataset

Float32 = NDArray[np.float32]
Samples = tuple[Float32, NDArray[Any]]
Augment = Callable[[Float32, NDArray[Any], np.random.Generator], Samples]
"""(inputs, labels, rng) of a batch -> the same, changed."""


def augmentation_of(data: Dataset) -> Augment | None:
    """What the samples of `data` are trained with: pictures whose pixels are labelled mirrored, spoken ones shifted."""
    if data.train_labels.ndim == 3:
        return mirrored
    return shifted if data.name == "spoken-digits" else None


def mirrored(inputs: Float32, labels: NDArray[Any], rng: np.random.Generator) -> Samples:
    """Each picture (..., height, width) upside down or not, left to right or not, and its labels with it."""
    given, wanted = inputs.copy(), labels.copy()
    for axis in (-2, -1):
        turned = rng.random(len(inputs)) < 0.5
        given[turned] = np.flip(given[turned], axis)
        wanted[turned] = np.flip(wanted[turned], axis)
    return given, wanted


def shifted(inputs: Float32, labels: NDArray[Any], rng: np.random.Generator) -> Samples:
    """Each sample (..., frames) as it is, or one frame later or earlier; the frame at its end is there twice then."""
    frames = inputs.shape[-1]
    later = rng.integers(-1, 2, len(inputs))
    places = np.clip(np.arange(frames) - later[:, None], 0, frames - 1)
    places = places.reshape(len(inputs), *[1] * (inputs.ndim - 2), frames)
    return np.take_along_axis(inputs, places, axis=-1), labels
