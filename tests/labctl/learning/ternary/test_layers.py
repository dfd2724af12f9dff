"""Rows and matrix of a layer give the sums that a convolution written out gives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.errors import UsageError
from labctl.learning.ternary import FloatLayer, NetworkLayer


def layer_of(weights, **options):
    outputs = len(weights)
    return NetworkLayer("conv", weights.astype(np.int8), np.ones(outputs), np.zeros(outputs), **options)


def written_out(layer, codes):
    """(n, outputs, height, width) of the layer, pooled, one product after the other."""
    padded = np.pad(codes.astype(np.int64), [(0, 0), (0, 0)] + [(layer.padding,) * 2] * 2)
    kernel, stride, along = layer.kernel, layer.stride, math.isqrt(layer.pool)
    high, wide = ((length - kernel) // stride + 1 for length in padded.shape[2:])
    sums = np.zeros((len(codes), layer.outputs, high, wide), np.int64)
    for y in range(high):
        for x in range(wide):
            seen = padded[:, None, :, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            sums[:, :, y, x] = (seen * layer.weights).sum(axis=(2, 3, 4))
    pooled = sums[:, :, : high // along * along, : wide // along * along]
    return pooled.reshape(*pooled.shape[:2], high // along, along, wide // along, along).max(axis=(3, 5))


@st.composite
def convolutions(draw):
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    options = {"stride": stride, "padding": draw(st.integers(0, 2)), "pool": draw(st.sampled_from([1, 4, 9]))}
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    outputs, channels = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    layer = layer_of(rng.integers(-1, 2, (outputs, channels, kernel, kernel)), **options)
    high, wide = (layer.patch + draw(st.integers(0, 6)) for _ in range(2))
    return layer, rng.integers(0, 16, (draw(st.integers(1, 3)), channels, high, wide)).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_pooled_sums_of_rows_are_those_of_the_convolution(case):
    layer, codes = case
    rows, wanted = layer.rows(codes), written_out(layer, codes)
    assert rows.dtype == np.uint8
    assert layer.shape_after(codes.shape[1:]) == wanted.shape[1:]
    sums = (rows.astype(np.int64) @ layer.matrix().T.astype(np.int64)).reshape(len(rows), layer.outputs, layer.pool)
    np.testing.assert_array_equal(sums.max(axis=2), wanted.transpose(0, 2, 3, 1).reshape(len(rows), -1))


def test_the_compiler_is_given_what_a_channel_is():
    layer = layer_of(np.ones((2, 3, 3, 3)), padding=1, pool=4)
    given = layer.arguments(4)
    assert given["weights"].shape == (8, 48)
    assert (given["channel"], given["pool"], given["input_bits"]) == (16, 4, 4)
    linear = layer_of(np.ones((2, 5)))
    assert linear.arguments(4)["channel"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": np.full((2, 3), 2, np.int8)}, "from 2 to 2, not -1, 0 and 1"),
        ({"weights": np.zeros((2, 3))}, "float64 of 2 x 3, not int8"),
        ({"weights": np.zeros((2, 3, 3, 2), np.int8)}, "int8 of 2 x 3 x 3 x 2"),
        ({"scale": np.ones(3)}, "its scale is not 2 finite numbers"),
        ({"offset": np.array([1, np.nan])}, "its offset is not 2 finite numbers"),
        ({"pool": 4}, "a linear layer has no stride, padding or pool"),
        ({"weights": np.zeros((2, 1, 3, 3), np.int8), "pool": 2}, "a square number"),
        ({"floats": FloatLayer(np.zeros((2, 4)), np.ones(2), np.ones(2))}, "float weights are not finite numbers"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_a_sentence(change, said):
    fitting = {"weights": np.zeros((2, 3), np.int8), "scale": np.ones(2), "offset": np.zeros(2)}
    with pytest.raises(UsageError, match=r"^layer fc: [^.]*$") as refused:
        NetworkLayer("fc", **{**fitting, **change})
    assert said in str(refused.value)
