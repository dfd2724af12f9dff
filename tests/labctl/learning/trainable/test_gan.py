"""The generative adversarial network: both gradients, what it asks for, and that it comes to draw what it sees."""

from __future__ import annotations

import numpy as np
import pytest
from held_weights import HeldWeights

from labctl.errors import UsageError
from labctl.learning.trainable.gan import LATENTS, Gan

RNG = np.random.default_rng(0)
LABELS = np.zeros(0, np.int64)


def bars(count: int, rng: np.random.Generator) -> np.ndarray:
    """6 x 6 pictures in the dark but for one column, of any brightness from 0.3 to 0.9."""
    pictures = 0.1 * rng.random((count, 1, 6, 6), np.float32)
    pictures[:, 0, :, 4] += rng.uniform(0.3, 0.8, (count, 1))
    return pictures


def test_gradients_are_the_slopes_of_either_loss() -> None:
    network = Gan((1, 3, 4))
    weights = HeldWeights(network, dtype=np.float64)
    inputs = RNG.random((5, 1, 3, 4))

    def lesson() -> tuple[float, float, list[np.ndarray]]:
        taught = network.train_batch(weights, inputs, LABELS, np.random.default_rng(7))
        gradients = [factor.inputs.T @ factor.deltas for factor in taught.factors]
        return taught.extra["loss_generator"], taught.loss, gradients

    gradients = lesson()[2]
    assert [gradient.shape for gradient in gradients] == [layer.shape for layer in network.layers]
    for number, gradient in enumerate(gradients):
        for direction in np.random.default_rng(4).standard_normal((3, *gradient.shape)):
            slope = weights.slope(lambda of=number // 2: lesson()[of], number, direction)
            assert float(np.vdot(gradient, direction)) == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_a_batch_asks_for_four_products_forward_and_three_backward() -> None:
    network = Gan((1, 3, 4))
    weights = HeldWeights(network)
    lesson = network.train_batch(weights, RNG.random((5, 1, 3, 4), np.float32), LABELS, RNG)
    assert weights.calls == [
        ("forward", 0, 5, None),
        ("forward", 1, 5, None),
        ("forward", 2, 10, None),
        ("forward", 3, 10, None),
        ("backward", 3, 15, slice(0, 256)),
        ("backward", 2, 5, slice(0, 12)),
        ("backward", 1, 5, slice(0, 256)),
    ]
    assert [len(factor.inputs) for factor in lesson.factors] == [5, 5, 10, 10]
    assert {values.dtype for factor in lesson.factors for values in (factor.inputs, factor.deltas)} == {np.dtype("f4")}
    assert all((factor.inputs[:, -1] == 1).all() for factor in lesson.factors)
    assert lesson.judged == 10


def test_the_discriminator_is_right_about_what_is_easily_told() -> None:
    network = Gan((1, 3, 4))
    weights = HeldWeights(network)
    weights.matrices[1][:] = 0
    weights.matrices[1][-1] = -20  # black pictures
    weights.matrices[2][:] = 1
    weights.matrices[2][-1] = -6
    weights.matrices[3][:] = 1
    lesson = network.train_batch(weights, np.ones((5, 1, 3, 4), np.float32), LABELS, RNG)
    assert (lesson.correct, lesson.judged) == (10, 10)


def test_it_comes_to_draw_what_it_sees() -> None:
    network = Gan((1, 6, 6))
    weights = HeldWeights(network)
    rng = np.random.default_rng(2)
    assert abs(network.generate(weights, 300, rng).mean(axis=(0, 1)) - 0.5).max() < 0.2  # nothing in particular
    for _ in range(1000):
        weights.learn(network.train_batch(weights, bars(20, rng), LABELS, rng).factors, 0.5)
    pictures = network.generate(weights, 300, rng)
    assert pictures.shape == (300, 6, 6)
    assert pictures.dtype == np.float32
    assert 0 <= pictures.min() <= pictures.max() <= 1
    np.testing.assert_allclose(pictures.mean(axis=(0, 1)), bars(300, rng).mean(axis=(0, 1, 2)), atol=0.15)
    assert pictures[:, :, 4].mean(axis=1).std() > 0.03  # of various brightness, as all of them are 0.14


def test_pictures_follow_from_latents_and_many_are_made_in_parts() -> None:
    network = Gan((1, 3, 4))
    weights = HeldWeights(network, dtype=np.float64)
    latents = RNG.standard_normal((1500, LATENTS))
    pictures = network.predict(weights, latents)
    assert pictures.shape == (1500, 3, 4)
    np.testing.assert_allclose(pictures[1234], network.predict(weights, latents[1234:1235])[0], rtol=1e-12)
    assert max(vectors for _, _, vectors, _ in weights.calls) == 1000
    one, same = (network.generate(weights, 4, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, same)


def test_what_does_not_fit_is_refused() -> None:
    network = Gan((1, 3, 4))
    with pytest.raises(UsageError, match=r"samples of shape \(1, 4, 4\)"):
        network.train_batch(HeldWeights(network), np.zeros((2, 1, 4, 4), np.float32), LABELS, RNG)
    with pytest.raises(UsageError, match="it takes 64"):
        network.predict(HeldWeights(network), np.zeros((2, 12), np.float32))
    with pytest.raises(UsageError, match=r"one channel, not samples of shape \(3, 8, 8\)"):
        Gan((3, 8, 8))
