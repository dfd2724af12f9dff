"""How well a network does whose weights somebody else holds: what a task asks for, in numbers and arrays."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.learning import metrics
from labctl.learning.datasets import Dataset
from labctl.learning.networks.perceptron import cross_entropy
from labctl.learning.trainable.gan import Gan
from labctl.learning.trainable.judge import Judge
from labctl.learning.trainable.lstm import Lstm
from labctl.learning.trainable.network import Float32, Products, TrainableNetwork
from labctl.steps import Result

_WRITTEN = 400
"""Characters of a text that a network goes on with."""

_TEMPERATURE = 0.8
_GENERATED = 2000
"""Pictures that a generator is judged by."""

_SHOWN = 64
"""Of them, that are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """accuracy: share of the test samples that are labelled right; of text, of characters foretold; of pictures that
    were generated, of those that the judge is sure of. low, high: Wilson's interval of 95 %, None where samples are not
    independent. scalars: of a step. values: for the summary. results: arrays for the record.
    """

    accuracy: float
    low: float | None
    high: float | None
    scalars: Mapping[str, float]
    values: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)


def judge(network: TrainableNetwork, products: Products, data: Dataset, seed: int) -> Verdict:
    """`network` on the test samples, with the weights that `products` multiply by. seed: of what is generated."""
    if isinstance(network, Gan):
        return _generated(network, products, data, seed)
    logits = network.predict(products, data.test_inputs)
    if isinstance(network, Lstm):
        return _read(data, logits)
    predicted = logits.argmax(axis=1)
    found = metrics.accuracy(data.test_labels, predicted)
    counts = metrics.confusion(data.test_labels, predicted, data.classes)
    confusion = Result(counts, ("label", "predicted"), "samples of a label that were predicted so")
    return Verdict(
        found.value, found.low, found.high, {"accuracy_board": found.value}, results={"confusion": confusion}
    )


def _generated(network: Gan, products: Products, data: Dataset, seed: int) -> Verdict:
    """Of generated pictures, how many a classifier of real ones is sure of."""
    classifier = _classifier(data)
    pictures = network.generate(products, _GENERATED, np.random.default_rng([seed, 32]))
    found, real = classifier.judge(pictures), classifier.judge(data.test_inputs[:_GENERATED])
    values = {
        "score": found.score,
        "score_real": real.score,
        "balance": found.balance,
        "balance_real": real.balance,
        "inception": found.inception,
        "inception_real": real.inception,
    }
    samples = Result(pictures[:_SHOWN], ("sample", "y", "x"), "pictures generated")
    scalars = {"accuracy_board": found.score, "gan_score": found.score}
    return Verdict(found.score, None, None, scalars, values, {"samples": samples})


@functools.lru_cache(maxsize=1)
def _classifier(data: Dataset) -> Judge:
    """Trained once for all that is generated."""
    return Judge(data.train_inputs, data.train_labels, data.classes, seed=0)


def _read(data: Dataset, logits: Float32) -> Verdict:
    """Of a text, how many bits a character takes by what the network expects."""
    loss, _ = cross_entropy(logits, data.test_labels)
    bits = loss / math.log(2)
    accuracy = float(np.mean(logits.argmax(axis=1) == data.test_labels))
    return Verdict(
        accuracy,
        None,
        None,
        {"accuracy_board": accuracy, "bits_per_char": bits},
        {"bits_per_char": bits},
    )


def written(network: Lstm, products: Products, data: Dataset, seed: int) -> str:
    """A text that the network goes on with, from the beginning of the test text."""
    alphabet: NDArray[np.str_] = data.extra["alphabet"]
    begin = data.test_inputs[:32].astype(int)
    rng = np.random.default_rng([seed, 31])
    numbers = network.sample(products, begin.tolist(), _WRITTEN, rng, _TEMPERATURE)
    return "".join(alphabet[numbers])
