"""How good generated pictures are, by a classifier that was trained on real ones.

The score is the share of pictures that the classifier is sure of: those of which one class has a probability above 0.9.
The balance is the entropy of the classes it finds, in units of the largest there can be: 1 where all are generated
alike, 0 where it is always the same. The inception score, exp of the mean Kullback-Leibler divergence of a picture's
class probabilities from their mean, is high only for pictures that are sure and various (Salimans et al., arXiv
1606.03498; there the classifier is another one, so that figures do not compare). Real pictures judged by the same
classifier say what can be reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.descent import Descent
from labctl.learning.networks.perceptron import Perceptron
from labctl.learning.training import TrainedWeights, batches_per_epoch, train

Float32 = NDArray[np.float32]

SURE = 0.9
"""Probability above which the classifier is sure of a picture."""

_UNITS = 250
_EPOCHS = 3
_BATCH = 100


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """score: share of pictures it is sure of. balance: of classes, 0 to 1. inception: 1 to the number of classes.

    labels: (n,) the class it finds in each picture.
    """

    score: float
    balance: float
    inception: float
    labels: NDArray[np.intp]


class Judge:
    """A perceptron in float32, trained on pictures (n, 1, height, width) and labels (n,) when it is made."""

    def __init__(self, inputs: Float32, labels: NDArray[Any], classes: int, seed: int) -> None:
        """Raises UsageError for fewer than two classes, or fewer pictures than a batch of 100."""
        if classes < 2:
            raise UsageError("pictures of one class cannot be judged by their classes")
        widths = (math.prod(inputs.shape[1:]), _UNITS, classes)
        self._network = Perceptron(widths, 8, full_precision=True)
        rng = np.random.default_rng(seed)
        initial = [
            rng.standard_normal(layer.shape, np.float32) * np.float32(math.sqrt(2 / layer.inputs))
            for layer in self._network.layers
        ]
        updates = _EPOCHS * batches_per_epoch(len(inputs), _BATCH)
        self._learner = TrainedWeights(initial, Descent(updates=updates))
        for _ in train(self._network, inputs, labels, self._learner, epochs=_EPOCHS, batch=_BATCH, seed=seed):
            pass

    def judge(self, pictures: Float32) -> Verdict:
        """What it finds in pictures (n, height, width), or (n, 1, height, width), of values 0 to 1.

        Raises UsageError where there is none, or they are of another size than those it was trained on.
        """
        logits = self._network.predict(self._learner.values, pictures).astype(np.float64)
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        classes = probabilities.shape[1]
        labels = probabilities.argmax(axis=1)
        found = np.bincount(labels, minlength=classes) / len(labels)
        mean = probabilities.mean(axis=0)
        divergence = _entropy(mean) - float(np.mean([_entropy(each) for each in probabilities]))
        return Verdict(
            score=float(np.mean(probabilities.max(axis=1) > SURE)),
            balance=_entropy(found) / math.log(classes),
            inception=math.exp(divergence),
            labels=labels,
        )


def _entropy(probabilities: NDArray[np.float64]) -> float:
    """Nats."""
    there = probabilities[probabilities > 0]
    return float(-np.sum(there * np.log(there)))
