"""Ternary weights of real ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labctl.learning.ternary import NORMAL_SPARSITY, ternarised


def test_weights_beyond_the_threshold_keep_their_sign_and_the_others_are_nought():
    weights = np.array([[1.0, -0.5, 0.4, -0.1], [-2.0, -2.0, -2.0, -2.0]])  # thresholds 0.35 and 1.4
    ternary, alpha = ternarised(weights)
    assert ternary.tolist() == [[1, -1, 1, 0], [-1, -1, -1, -1]]
    np.testing.assert_allclose(alpha, [1.9 / 3, 2.0])


@given(arrays(np.float64, (3, 2, 3, 3), elements=st.floats(-10, 10)))
def test_no_other_factor_brings_the_ternary_weights_nearer(weights):
    ternary, alpha = ternarised(weights)
    assert ternary.shape == weights.shape

    def distance(factor):
        return ((weights - factor[:, None, None, None] * ternary) ** 2).sum(axis=(1, 2, 3))

    for other in (0.99, 1.01):
        assert (distance(alpha) <= distance(alpha * other) + 1e-9).all()


def test_weights_of_nought_stay_so():
    ternary, alpha = ternarised(np.zeros((2, 5)))
    assert not ternary.any()
    assert not alpha.any()


def test_normal_weights_leave_the_share_of_noughts_that_is_computed():
    count = 400_000
    ternary, _ = ternarised(np.random.default_rng(1).standard_normal((1, count)))
    deviation = (NORMAL_SPARSITY * (1 - NORMAL_SPARSITY) / count) ** 0.5  # the threshold's own spread adds to it
    assert (ternary == 0).mean() == pytest.approx(NORMAL_SPARSITY, abs=4 * 1.5 * deviation)
