"""The loop that trains networks whose weights somebody else holds: on an array, on models of devices, or in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from labctl.errors import UsageError
from labctl.learning.datasets import Dataset
from labctl.learning.trainable.network import Factors, Lesson, Products, TrainableNetwork


class Learner(Products, Protocol):
    """Holds weights, multiplies by them, and learns."""

    def learn(self, factors: Sequence[Factors], rate: float) -> None:
        """Take the factors of a batch's gradients, at a learning rate."""
        ...


@dataclass(frozen=True, slots=True)
class Course:
    """How to train. rate: of the first epoch, times `decay` with every further one. seed: of the order of samples."""

    epochs: int
    batch: int
    rate: float
    decay: float
    seed: int

    def rate_of(self, epoch: int) -> float:
        """Of the epoch of that number, from 0."""
        return float(self.rate * self.decay**epoch)


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch is done. batch: how many are by now, of all epochs. epoch: from 0, the one it belongs to.

    samples: in this batch (of text, characters). ends_epoch: it was the last of its epoch.
    """

    batch: int
    samples: int
    epoch: int
    ends_epoch: bool
    lesson: Lesson


def batches_per_epoch(network: TrainableNetwork, data: Dataset, course: Course) -> int:
    """Raises UsageError where there is none."""
    count = network.batches_per_epoch(len(data.train_inputs), course.batch)
    if count < 1:
        raise UsageError(f"batches of {course.batch} cannot be made of {len(data.train_inputs)} training samples")
    return count


def train(
    network: TrainableNetwork, learner: Learner, data: Dataset, course: Course, *, done: int = 0
) -> Iterator[Progress]:
    """Train batch by batch, and say so after each.

    What a batch holds follows from the seed and the batch's number alone, and what it draws from these and from where
    in its epoch training began: it goes on after `done` whole epochs as if it had not stopped. Raises UsageError for a
    batch that the samples do not fill.
    """
    per_epoch = batches_per_epoch(network, data, course)
    for epoch in range(done // per_epoch, course.epochs):
        rate = course.rate_of(epoch)
        first = max(done - epoch * per_epoch, 0)
        if not first:
            network.begin_epoch()
        order = np.random.default_rng([course.seed, 0, epoch])
        batches = network.batches(data.train_inputs, data.train_labels, course.batch, order)
        draws = np.random.default_rng([course.seed, 1, epoch, first])
        for place, (inputs, labels) in enumerate(islice(batches, first, None), first):
            lesson = network.train_batch(learner, inputs, labels, draws)
            learner.learn(lesson.factors, rate)
            number = epoch * per_epoch + place + 1
            yield Progress(number, labels.size, epoch, place + 1 == per_epoch, lesson)
