"""The one loop that trains: batches in an order that a seed and a number decide, whoever learns from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.augmentation import Augment, Samples
from labctl.learning.descent import CHUNK, Descent
from labctl.learning.edges import EdgeScores
from labctl.learning.networks.network import Network, Product

Float32 = NDArray[np.float32]


class Learner(Protocol):
    """Whose weights a batch runs with, and who learns from its gradients."""

    def weights(self) -> Sequence[Float32]:
        """Per layer (inputs, outputs), for the next batch."""
        ...

    def learn(self, gradients: Sequence[Float32]) -> None:
        """Take d loss / d weight of the batch that ran with the last `weights`."""
        ...


class TrainedWeights:
    """Learns the weights themselves.

    Attributes:
        values: per layer (inputs, outputs); copies of what was given.
    """

    def __init__(self, initial: Sequence[Float32], descent: Descent, *, trained: Collection[int] | None = None) -> None:
        """trained: numbers of the layers that learn; None for all."""
        self.values = [np.array(weight, np.float32, order="C") for weight in initial]
        self._descent = descent
        self._trained = range(len(self.values)) if trained is None else trained
        self._velocities = [np.zeros_like(weight) for weight in self.values]
        self._updates = 0

    def weights(self) -> Sequence[Float32]:
        return self.values

    def learn(self, gradients: Sequence[Float32]) -> None:
        for number in self._trained:
            values, velocities = self.values[number].reshape(-1), self._velocities[number].reshape(-1)
            slopes = gradients[number].reshape(-1)
            for start in range(0, values.size, CHUNK):
                part = slice(start, start + CHUNK)
                self._descent.step(values[part], velocities[part], slopes[part].copy(), self._updates)
        self._updates += 1


class PrunedEdges:
    """Learns which edges to keep.

    read: gives, per layer (inputs, outputs), the weights of the edges if kept and if pruned, anew for every batch.
    """

    def __init__(self, scores: EdgeScores, read: Callable[[], tuple[Sequence[Float32], Sequence[Float32]]]) -> None:
        self.scores = scores
        self._read = read
        self._last: tuple[Sequence[Float32], Sequence[Float32]] = ((), ())

    def weights(self) -> Sequence[Float32]:
        self._last = self._read()
        return self.scores.weights(*self._last)

    def learn(self, gradients: Sequence[Float32]) -> None:
        self.scores.update(gradients, *self._last)


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch is done. batch: how many are by now, of all epochs. epoch: from 0, the one it belongs to.

    ends_epoch: it was the last of its epoch. loss, correct, judged: as in `Batch`.
    """

    batch: int
    epoch: int
    ends_epoch: bool
    loss: float
    correct: int
    judged: int


def batches_per_epoch(samples: int, batch: int) -> int:
    """Whole batches only. Raises UsageError where there is none."""
    if not 1 <= batch <= samples:
        raise UsageError(f"batches of {batch} samples cannot be made of {samples}")
    return samples // batch


def train(
    network: Network,
    inputs: Float32,
    labels: NDArray[Any],
    learner: Learner,
    *,
    epochs: int,
    batch: int,
    seed: int,
    done: int = 0,
    product: Product | None = None,
    augment: Augment | None = None,
) -> Iterator[Progress]:
    """Train batch by batch, and say so after each.

    Epochs shuffle the samples, and leave out the rest that fills no batch. What a batch holds, and what `augment`
    draws, follows from `seed` and the batch's number alone: training goes on after `done` batches as if it had not
    stopped. Raises UsageError for a batch that the samples do not fill.
    """
    per_epoch = batches_per_epoch(len(inputs), batch)
    order = np.empty(0, np.intp)
    for number in range(done, epochs * per_epoch):
        epoch, place = divmod(number, per_epoch)
        if not place or number == done:
            order = np.random.default_rng([seed, 0, epoch]).permutation(len(inputs))
        chosen = order[place * batch : (place + 1) * batch]
        given: Samples = inputs[chosen], labels[chosen]
        if augment is not None:
            given = augment(*given, np.random.default_rng([seed, 1, number]))
        taught = network.train_batch(learner.weights(), *given, product)
        learner.learn(taught.gradients)
        yield Progress(number + 1, epoch, place + 1 == per_epoch, taught.loss, taught.correct, taught.judged)
