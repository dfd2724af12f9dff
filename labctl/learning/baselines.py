"""What a pruned network is judged against: five other ways to make weights of the same network, in software.

untouched: the random weights as they are. last_layer: random weights, of which the last layer is trained.
pruned_software: random weights pruned without noise and without residue. trained: weights trained in float. written:
trained weights written to pairs of cells with a programming error. Those that train are generators that yield after
each batch and return the `Trained` network.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.augmentation import augmentation_of
from labctl.learning.datasets import Dataset
from labctl.learning.descent import Descent
from labctl.learning.edges import EdgeScores
from labctl.learning.networks.network import Network
from labctl.learning.training import (
    Learner,
    Progress,
    PrunedEdges,
    TrainedWeights,
    batches_per_epoch,
    train,
)

Float32 = NDArray[np.float32]
Training = Generator[Progress, None, "Trained"]

CALIBRATED = 5000
"""Training samples that a baseline's network is calibrated on, at most."""


@dataclass(frozen=True, slots=True)
class Course:
    """How to train. descent: its rate falls to 0 over all epochs. seed: of the order of samples and first values."""

    epochs: int
    batch: int
    seed: int
    descent: Descent = field(default_factory=Descent)

    def descent_over(self, samples: int) -> Descent:
        """The descent whose rate falls over all updates of the course."""
        return replace(self.descent, updates=self.epochs * batches_per_epoch(samples, self.batch))


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A network, calibrated for its weights, per layer (inputs, outputs)."""

    network: Network
    weights: list[Float32]

    def predict(self, inputs: Float32) -> Float32:
        """Logits, as the network's own `predict`."""
        return self.network.predict(self.weights, inputs)


@dataclass(frozen=True, slots=True)
class ProgrammingError:
    """Standard deviation of a written cell over the full scale of conductance, and where the figure is from."""

    deviation: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.deviation <= 1:
            raise UsageError(f"a programming error of {self.deviation:g} of the full scale: it is a number from 0 to 1")


def untouched(network: Network, data: Dataset, weights: Sequence[Float32]) -> Trained:
    """The random `weights` as they are; only the statistics are measured."""
    return _calibrated(network.fresh(), data, weights)


def last_layer(network: Network, data: Dataset, weights: Sequence[Float32], course: Course) -> Training:
    """The random `weights`, the last layer of them trained from there."""
    descent = course.descent_over(len(data.train_inputs))
    learner = TrainedWeights(weights, descent, trained=(len(weights) - 1,))
    return (yield from _trained(network.fresh(), data, learner, course))


def pruned_software(
    network: Network, data: Dataset, weights: Sequence[Float32], keep: float, course: Course
) -> Training:
    """The random `weights`, of which a share `keep` of each layer is kept and the others are exactly 0."""
    descent = course.descent_over(len(data.train_inputs))
    scores = EdgeScores(
        [layer.shape for layer in network.layers], keep, np.random.default_rng([course.seed, 2]), descent
    )
    kept = [np.array(weight, np.float32, order="C") for weight in weights]
    pruned = [np.zeros_like(weight) for weight in kept]
    return (yield from _trained(network.fresh(), data, PrunedEdges(scores, lambda: (kept, pruned)), course))


def trained(network: Network, data: Dataset, course: Course, *, full_precision: bool = True) -> Training:
    """Weights trained in float, from the deviation sqrt(2 / inputs) (He et al., arXiv 1502.01852).

    full_precision: inputs of layers too; else they have the network's bits.
    """
    rng = np.random.default_rng([course.seed, 3])
    initial = [
        rng.standard_normal(layer.shape, np.float32) * np.float32((2 / layer.inputs) ** 0.5) for layer in network.layers
    ]
    learner = TrainedWeights(initial, course.descent_over(len(data.train_inputs)))
    return (yield from _trained(network.fresh(full_precision=full_precision), data, learner, course))


def written(
    network: Network,
    data: Dataset,
    weights: Sequence[Float32],
    error: ProgrammingError,
    rng: np.random.Generator,
    *,
    clip: float = 3.0,
) -> Trained:
    """Trained `weights` in pairs of cells, with the network's bits.

    A layer's full scale is `clip` standard deviations of its weights; beyond, they are clipped. A positive weight is
    one cell of the pair, a negative one the other; both cells are off by the programming error, but not below 0.
    """
    cells = [_written(weight, error.deviation, rng, clip) for weight in weights]
    return _calibrated(network.fresh(full_precision=False), data, cells)


def _written(weight: Float32, deviation: float, rng: np.random.Generator, clip: float) -> Float32:
    scale = np.float32(clip * float(weight.std())) or np.float32(1)
    shares = np.clip(weight / scale, -1, 1)
    cells = np.maximum(np.stack([shares, -shares]), 0)
    cells += np.float32(deviation) * rng.standard_normal(cells.shape, np.float32)
    np.maximum(cells, 0, out=cells)
    result: Float32 = (cells[0] - cells[1]) * scale
    return result


def _trained(network: Network, data: Dataset, learner: Learner, course: Course) -> Training:
    yield from train(
        network,
        data.train_inputs,
        data.train_labels,
        learner,
        epochs=course.epochs,
        batch=course.batch,
        seed=course.seed,
        augment=augmentation_of(data),
    )
    return _calibrated(network, data, learner.weights())


def _calibrated(network: Network, data: Dataset, weights: Sequence[Float32]) -> Trained:
    own = [np.array(weight, np.float32, order="C") for weight in weights]
    network.calibrate(own, data.train_inputs[:CALIBRATED])
    return Trained(network, own)
