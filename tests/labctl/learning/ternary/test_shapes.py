"""Networks known by their shapes, and random weights for them."""

import math
from itertools import pairwise

import numpy as np
import pytest

from labctl.compiler import TernaryLayer
from labctl.errors import UsageError
from labctl.learning.ternary import NETWORKS, LayerShape, ternary_weights

# Of the papers' own tables, less what is not a weight of these layers (biases, normalisations).
WEIGHTS = {"resnet18": 11_678_912, "vgg11": 132_851_392, "vgg16": 138_344_128}
SHAPE = LayerShape("conv", 5, 40, 3, 1, 1, 64, 4)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_network_has_as_many_weights_as_is_known_of_it(name):
    assert sum(math.prod(shape.weights_shape) for shape in NETWORKS[name]) == WEIGHTS[name]


def test_resnet18_takes_as_many_products_an_image_as_is_known_of_it():
    products = sum(shape.inputs * shape.outputs * shape.positions for shape in NETWORKS["resnet18"])
    assert products == pytest.approx(1.8e9, rel=0.02)  # "1.8 x 10^9 FLOPs", multiply-adds, in table 1 of its paper


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_of_a_network_have_names_of_their_own_and_follow_each_other(name):
    shapes = NETWORKS[name]
    assert len({shape.name for shape in shapes}) == len(shapes)
    for before, after in pairwise(shapes):
        if after.kernel == 3 and before.kernel == 3:
            assert after.channels == before.outputs


@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.8, 1.0])
def test_weights_have_the_share_of_noughts_that_is_asked_for(sparsity):
    weights = ternary_weights(SHAPE, sparsity)
    assert weights.shape == (40, 5, 3, 3)
    assert (weights.reshape(40, -1) == 0).sum(axis=1).tolist() == [round(sparsity * 45)] * 40
    if sparsity < 1:
        assert {-1, 1} <= set(np.unique(weights).tolist())


def test_weights_follow_from_seed_and_name():
    first = ternary_weights(SHAPE, seed=3)
    np.testing.assert_array_equal(first, ternary_weights(SHAPE, seed=3))
    other = LayerShape("other", 5, 40, 3, 1, 1, 64, 4)
    for different in (ternary_weights(SHAPE, seed=4), ternary_weights(other, seed=3)):
        assert (first != different).any()


def test_a_negative_seed_is_refused():
    with pytest.raises(UsageError, match="seed: must be a whole number from 0 on, not -1"):
        ternary_weights(SHAPE, seed=-1)


def test_the_compiler_takes_them_with_pooling_on_the_array_or_without():
    weights = ternary_weights(SHAPE)
    apart = TernaryLayer(**SHAPE.arguments(weights))
    assert (apart.weights.shape, apart.pool, apart.channel) == ((40, 45), 1, 9)
    pooled = TernaryLayer(**SHAPE.arguments(weights, pool_on_array=True))
    assert (pooled.weights.shape, pooled.pool, pooled.channel) == ((160, 80), 4, 16)
    # Of each position its own kernel, elsewhere in the patch they see together.
    assert (np.abs(pooled.weights).sum(axis=1) == np.repeat(np.abs(apart.weights).sum(axis=1), 4)).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match=r"a sparsity of 1\.5"):
        ternary_weights(SHAPE, 1.5)
    with pytest.raises(UsageError, match=r"weights of the shape \(40, 5, 3\) are not \(40, 5, 3, 3\)"):
        SHAPE.arguments(np.zeros((40, 5, 3), np.int8))
