"""Weights in float32 do what plain numpy does, however few inputs anything stands on."""

import numpy as np
import pytest

from labctl.learning.mixed_precision.float_weights import FloatWeights
from labctl.learning.mixed_precision.rows import occupied
from labctl.learning.trainable.network import Factors

LAYERS = [(300, 150), (151, 10)]


def drawn(batch, share, rng):
    return [
        Factors(
            (rng.standard_normal((batch, inputs)) * (rng.random(inputs) < share)).astype(np.float32),
            rng.standard_normal((batch, outputs)).astype(np.float32),
        )
        for inputs, outputs in LAYERS
    ]


def weights(rng):
    return [rng.standard_normal(shape, np.float32) for shape in LAYERS]


@pytest.mark.parametrize("batch", [1, 3, 10, 40])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_products_and_updates_are_those_of_plain_numpy(batch, share):
    rng = np.random.default_rng(batch)
    initial, factors = weights(rng), drawn(batch, share, rng)
    held = FloatWeights(initial, rates=(1.0, 0.5))
    for layer, (matrix, each) in enumerate(zip(initial, factors, strict=True)):
        exact = matrix.astype(np.float64)
        np.testing.assert_allclose(held.forward(layer, each.inputs), each.inputs @ exact, atol=2e-4)
        np.testing.assert_allclose(held.backward(layer, each.deltas), each.deltas @ exact.T, atol=2e-4)
        np.testing.assert_allclose(
            held.backward(layer, each.deltas, slice(3, 9)), each.deltas @ exact[3:9].T, atol=2e-4
        )
    held.learn(factors, 0.1)
    for layer, rate in enumerate((0.1, 0.05)):
        exact = initial[layer] - rate * (factors[layer].inputs.T.astype(np.float64) @ factors[layer].deltas)
        np.testing.assert_allclose(held.weights(layer), exact, atol=2e-5)


def test_what_was_given_first_stays_as_it_was():
    rng = np.random.default_rng(1)
    initial = weights(rng)
    before = [each.copy() for each in initial]
    FloatWeights(initial).learn(drawn(2, 1.0, rng), 1.0)
    assert all(np.array_equal(*each) for each in zip(initial, before, strict=True))


def test_factors_that_are_views_are_learnt_from_too():
    """A network may hand out parts of larger arrays."""
    rng = np.random.default_rng(2)
    initial, factors = weights(rng), drawn(6, 1.0, rng)
    whole, parts = FloatWeights(initial), FloatWeights(initial)
    whole.learn([Factors(each.inputs[::2].copy(), each.deltas[::2].copy()) for each in factors], 0.1)
    parts.learn([Factors(each.inputs[::2], each.deltas[::2]) for each in factors], 0.1)
    for layer in range(len(LAYERS)):
        np.testing.assert_allclose(parts.weights(layer), whole.weights(layer), rtol=1e-5, atol=1e-6)


def test_rows_are_passed_over_only_where_that_pays():
    sparse = np.zeros((8, 300), np.float32)
    sparse[:, 5:70] = 1
    assert occupied(sparse, 150).tolist() == list(range(5, 70))
    assert occupied(sparse, 10) is None
    assert occupied(sparse[:1], 150) is None
    assert occupied(np.ones((8, 300), np.float32), 150) is None
