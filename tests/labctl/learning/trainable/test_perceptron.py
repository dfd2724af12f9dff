"""The fully connected network: its gradients, what it asks for, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from held_weights import HeldWeights
from small_digits import write_small_digits

from labctl.errors import UsageError
from labctl.learning.datasets import load_dataset
from labctl.learning.trainable.perceptron import Perceptron

RNG = np.random.default_rng(0)


def pictures(count: int, pixels: int = 20, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.random((count, 1, 4, pixels // 4)), rng.integers(0, classes, count)


@pytest.mark.parametrize("count", [1, 7])
def test_gradients_are_the_slopes_of_the_loss(count: int) -> None:
    network = Perceptron([20, 7, 6, 3])
    weights = HeldWeights(network, spread=0.5, dtype=np.float64)
    inputs, labels = pictures(count)
    lesson = network.train_batch(weights, inputs, labels, RNG)
    for number, factor in enumerate(lesson.factors):
        gradient = factor.inputs.T @ factor.deltas
        assert gradient.shape == network.layers[number].shape
        for direction in np.random.default_rng(4).standard_normal((3, *gradient.shape)):
            slope = weights.slope(lambda: network.train_batch(weights, inputs, labels, RNG).loss, number, direction)
            assert float(np.vdot(gradient, direction)) == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_a_batch_asks_backward_only_for_hidden_units() -> None:
    network = Perceptron([20, 7, 6, 3])
    weights = HeldWeights(network)
    lesson = network.train_batch(weights, *pictures(5), RNG)
    assert weights.calls == [
        ("forward", 0, 5, None),
        ("forward", 1, 5, None),
        ("forward", 2, 5, None),
        ("backward", 2, 5, slice(0, 6)),
        ("backward", 1, 5, slice(0, 7)),
    ]
    assert [(len(factor.inputs), len(factor.deltas)) for factor in lesson.factors] == [(5, 5)] * 3
    assert all((factor.inputs[:, -1] == 1).all() for factor in lesson.factors)


def test_everything_stays_in_single_precision() -> None:
    network = Perceptron([20, 7, 3])
    inputs, labels = pictures(4)
    weights = HeldWeights(network)
    lesson = network.train_batch(weights, inputs.astype(np.float32), labels, RNG)
    assert {values.dtype for factor in lesson.factors for values in (factor.inputs, factor.deltas)} == {np.dtype("f4")}
    assert network.predict(weights, inputs.astype(np.float32)).dtype == np.float32


def test_predictions_of_many_samples_are_those_of_each() -> None:
    network = Perceptron([20, 7, 3])
    weights = HeldWeights(network, dtype=np.float64)
    inputs, _ = pictures(1500)
    together = network.predict(weights, inputs)
    assert together.shape == (1500, 3)
    np.testing.assert_allclose(together[1234], network.predict(weights, inputs[1234:1235])[0], rtol=1e-12)
    assert max(vectors for _, _, vectors, _ in weights.calls) == 1000


def test_the_loss_and_the_right_ones_are_those_of_the_logits() -> None:
    network = Perceptron([20, 7, 3])
    weights = HeldWeights(network, spread=2.0, dtype=np.float64)
    inputs, labels = pictures(50)
    logits = network.predict(weights, inputs)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    lesson = network.train_batch(weights, inputs, labels, RNG)
    assert lesson.loss == pytest.approx(-np.log(chances[np.arange(50), labels]).mean())
    assert (lesson.correct, lesson.judged) == ((logits.argmax(axis=1) == labels).sum(), 50)


def test_hidden_units_of_very_large_sums_do_not_overflow() -> None:
    network = Perceptron([20, 7, 3])
    weights = HeldWeights(network, spread=1e4)
    inputs, labels = pictures(4)
    lesson = network.train_batch(weights, inputs.astype(np.float32), labels, RNG)
    assert all(np.isfinite(factor.deltas).all() for factor in lesson.factors)


def test_strokes_are_learnt(tmp_path: Path) -> None:
    data = load_dataset("mnist", write_small_digits(tmp_path), own=True)
    network = Perceptron([144, 20, 4])
    weights = HeldWeights(network)
    for _ in range(15):
        for inputs, labels in network.batches(data.train_inputs, data.train_labels, 10, RNG):
            weights.learn(network.train_batch(weights, inputs, labels, RNG).factors, 0.4)
    right = network.predict(weights, data.test_inputs).argmax(axis=1) == data.test_labels
    assert right.mean() > 0.9  # chance is 0.25


def test_samples_of_another_size_are_refused() -> None:
    network = Perceptron([20, 7, 3])
    with pytest.raises(UsageError, match="samples of 24 values for the network 20-7-3"):
        network.predict(HeldWeights(network), np.zeros((2, 24), np.float32))


@pytest.mark.parametrize("widths", [[10], [10, 0, 3]])
def test_widths_that_make_no_network_are_refused(widths: list[int]) -> None:
    with pytest.raises(UsageError, match="as in 784-250-10"):
        Perceptron(widths)
