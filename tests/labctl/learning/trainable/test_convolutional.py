"""The convolutional network: its gradients, its convolutions, what it asks for, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from held_weights import HeldWeights
from scipy.signal import correlate
from small_digits import write_small_digits

from labctl.errors import UsageError
from labctl.learning.datasets import load_dataset
from labctl.learning.trainable.convolutional import Convolutional

RNG = np.random.default_rng(0)


def pictures(count: int, shape: tuple[int, ...], classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.random((count, *shape)), rng.integers(0, classes, count)


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 16, 16)), (3, (2, 17, 20))])
def test_gradients_are_the_slopes_of_the_loss(count: int, shape: tuple[int, ...]) -> None:
    network = Convolutional(shape, 3)
    weights = HeldWeights(network, dtype=np.float64)
    inputs, labels = pictures(count, shape)
    lesson = network.train_batch(weights, inputs, labels, RNG)
    for number, factor in enumerate(lesson.factors):
        gradient = factor.inputs.T @ factor.deltas
        assert gradient.shape == network.layers[number].shape
        for direction in np.random.default_rng(4).standard_normal((3, *gradient.shape)):
            slope = weights.slope(lambda: network.train_batch(weights, inputs, labels, RNG).loss, number, direction)
            assert float(np.vdot(gradient, direction)) == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_it_convolves() -> None:
    network = Convolutional((2, 17, 18), 3)
    weights = HeldWeights(network, dtype=np.float64)
    inputs, _ = pictures(1, (2, 17, 18))
    maps = inputs[0]
    for matrix, channels in zip(weights.matrices[:2], (8, 16), strict=True):
        kernels = matrix[:-1].reshape(5, 5, len(maps), channels).transpose(3, 2, 0, 1)
        outputs = [correlate(maps, kernel, "valid")[0] for kernel in kernels] + matrix[-1][:, None, None]
        height, width = outputs.shape[1] // 2, outputs.shape[2] // 2
        pooled = outputs[:, : 2 * height, : 2 * width].reshape(channels, height, 2, width, 2).max(axis=(2, 4))
        maps = np.maximum(pooled, 0)
    features = maps.transpose(1, 2, 0).ravel()
    expected = features @ weights.matrices[2][:-1] + weights.matrices[2][-1]
    np.testing.assert_allclose(network.predict(weights, inputs)[0], expected, rtol=1e-10)


def test_a_batch_asks_once_per_layer_and_backward_for_no_bias_and_no_pixel() -> None:
    network = Convolutional((1, 28, 28), 10)
    assert [(layer.inputs, layer.outputs, layer.products) for layer in network.layers] == [
        (26, 8, 576),
        (201, 16, 64),
        (257, 10, 1),
    ]
    weights = HeldWeights(network)
    inputs, labels = pictures(3, (1, 28, 28), 10)
    lesson = network.train_batch(weights, inputs.astype(np.float32), labels, RNG)
    assert weights.calls == [
        ("forward", 0, 3 * 576, None),
        ("forward", 1, 3 * 64, None),
        ("forward", 2, 3, None),
        ("backward", 2, 3, slice(0, 256)),
        ("backward", 1, 3 * 64, slice(0, 200)),
    ]
    assert {values.dtype for factor in lesson.factors for values in (factor.inputs, factor.deltas)} == {np.dtype("f4")}
    assert all((factor.inputs[:, -1] == 1).all() for factor in lesson.factors)


def test_of_equal_outputs_one_learns() -> None:
    """Converters make equal outputs of an even ground: their gradient is not to be counted four times."""
    network = Convolutional((1, 16, 16), 3)
    weights = HeldWeights(network)
    for matrix in weights.matrices:
        np.abs(matrix, out=matrix)  # nothing is rectified
    lesson = network.train_batch(weights, np.zeros((1, 1, 16, 16), np.float32), np.array([1]), RNG)
    learning = (lesson.factors[0].deltas.reshape(4, 36, 8) != 0).sum(axis=0)
    assert learning.max() == 1


def test_strokes_are_learnt(tmp_path: Path) -> None:
    data = load_dataset("mnist", write_small_digits(tmp_path), own=True)
    margin = ((0, 0), (0, 0), (2, 2), (2, 2))
    train, test = np.pad(data.train_inputs, margin), np.pad(data.test_inputs, margin)
    network = Convolutional((1, 16, 16), 4)
    weights = HeldWeights(network)
    for _ in range(8):
        for inputs, labels in network.batches(train, data.train_labels, 10, RNG):
            weights.learn(network.train_batch(weights, inputs, labels, RNG).factors, 0.05)
    right = network.predict(weights, test).argmax(axis=1) == data.test_labels
    assert right.mean() > 0.9  # chance is 0.25


@pytest.mark.parametrize("shape", [(1, 12, 28), (784,)])
def test_samples_that_are_no_pictures_to_it_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="pictures of 16 x 16 or more"):
        Convolutional(shape, 10)


def test_pictures_of_another_size_are_refused() -> None:
    network = Convolutional((1, 16, 16), 3)
    with pytest.raises(UsageError, match=r"samples of shape \(1, 18, 18\)"):
        network.predict(HeldWeights(network), np.zeros((2, 1, 18, 18), np.float32))
