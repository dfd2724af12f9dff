"""The tasks that networks are trained for on an array, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TrainingTaskName = Literal["fashion-mnist", "gan", "mnist", "text"]


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """What is usual here for a task.

    dataset: the name of the data it learns from. network: as `make_trainable` takes it. rate: of the first epoch;
    every further epoch has `decay` times the one before. devices: pairs of them for each weight. refresh_images:
    training samples (of text, characters) between two looks for pairs that are saturated. rounding: of the
    accumulators. published: a network, and its accuracy on a real array.
    """

    name: TrainingTaskName
    dataset: str
    network: str
    epochs: int
    batch: int
    rate: float
    decay: float
    devices: int = 1
    refresh_images: int = 100
    rounding: Literal["truncate", "floor"] = "truncate"
    published: tuple[str, float] | None = None

    def published_of(self, network: str) -> float | None:
        """The accuracy of that network on a real array; None where none is known."""
        return self.published[1] if self.published and self.published[0] == network else None


TRAINING_TASKS: dict[str, TrainingTask] = {
    task.name: task
    for task in (
        TrainingTask(
            "fashion-mnist",
            "fashion-mnist",
            "convolutional",
            epochs=8,
            batch=10,
            rate=0.05,
            decay=0.75,
            devices=6,
            refresh_images=1000,
        ),
        TrainingTask(
            "gan",
            "mnist",
            "gan-64",
            epochs=8,
            batch=100,
            rate=0.5,
            decay=0.7,
            devices=4,
            refresh_images=10_000,
            rounding="floor",
        ),
        TrainingTask(
            "mnist",
            "mnist",
            "perceptron",
            epochs=12,
            batch=10,
            rate=0.25,
            decay=0.85,
            published=("784-250-10", 0.9773),  # Nandakumar et al., Front. Neurosci. 14, 406 (2020)
        ),
        TrainingTask(
            "text",
            "text",
            "lstm",
            epochs=5,
            batch=32,
            rate=1.5,
            decay=0.85,
            devices=4,
            refresh_images=100_000,
        ),
    )
}

TRAINING_BASELINES = {
    "float": "in float32",
    "ideal": "on ideal devices",
    "granularity": "with granularity only",
    "pcm": "on the PCM model",
}
"""Where else the same network is trained, and what that is called."""
