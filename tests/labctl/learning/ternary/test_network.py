"""A network of whole numbers: whoever multiplies, the logits are the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_networks import made_network

from labctl.associative import AssociativeGeometry
from labctl.compiler import TernaryLayer, compile_layer, run_layer
from labctl.compiler.golden import GoldenArray
from labctl.errors import UsageError
from labctl.learning.ternary import NetworkLayer, TernaryNetwork, exact_products

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (7, 9, 8)).astype(np.uint8)


def test_codes_are_the_nearest_of_what_bytes_stand_for():
    network = made_network()
    grey = np.arange(256, dtype=np.uint8).repeat(72)[: 256 * 72].reshape(256, 9, 8)
    codes = network.codes(grey)
    assert codes.shape == (256, 1, 9, 8)
    assert codes[:, 0, 0, 0].tolist() == np.rint(np.arange(256) / 255 * 15).astype(int).tolist()


def test_bytes_and_numbers_from_0_to_1_are_the_same_image():
    network = made_network()
    np.testing.assert_array_equal(network.codes(IMAGES), network.codes(IMAGES[:, None] * np.float32(1 / 255)))


def test_codes_follow_sums_as_scale_and_offset_say():
    network = made_network()
    layer = network.layers[0]
    sums = RNG.integers(-400, 400, (2 * network.positions(0), layer.outputs))
    codes = network.finish(0, sums, 2)
    assert codes.shape == (2, *network.shapes[1])
    at = (1, 2, 3, 1)  # image, output, y, x
    one = sums[1 * network.positions(0) + 3 * network.shapes[1][2] + 1, 2]
    wanted = min(max(int(np.floor(one * layer.scale[2] + layer.offset[2] + 0.5)), 0), 15)
    assert codes[at] == wanted
    assert codes.max() == 15
    assert codes.min() == 0


def test_logits_do_not_depend_on_how_images_are_batched():
    network = made_network()
    np.testing.assert_array_equal(network.infer(IMAGES), network.infer(IMAGES, batch=2))
    assert network.infer(IMAGES[:0]).shape == (0, 3)


def test_whoever_multiplies_is_given_rows_and_gives_sums():
    network, seen = made_network(), []
    exact = exact_products(network)

    def multiply(index, rows):
        seen.append((index, rows.shape, rows.dtype.name))
        return exact(index, rows)

    np.testing.assert_array_equal(network.infer(IMAGES, multiply), network.infer(IMAGES))
    assert seen == [(0, (7 * 16, 16), "uint8"), (1, (7 * 9, 16), "uint8"), (2, (7, 18), "uint8")]


def test_programs_of_the_compiler_give_the_same_logits():
    network = made_network()
    array = GoldenArray(AssociativeGeometry(rows=128, tracks=64, domains=16))
    compiled = [
        compile_layer(TernaryLayer(**network.layer(index)), array.associative) for index in range(len(network.layers))
    ]

    def multiply(index, rows):
        return run_layer(compiled[index], rows, array.perform).sums

    np.testing.assert_array_equal(network.infer(IMAGES, multiply), network.infer(IMAGES))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(0, 1 << 32), st.booleans())
def test_products_in_floating_point_are_those_of_whole_numbers(bits, seed, relu):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-1, 2, (4, 900)).astype(np.int8)
    layer = NetworkLayer("fc", weights, np.ones(4), np.zeros(4), relu=relu)
    network = TernaryNetwork("one", (1, 30, 30), (layer,), bits)
    rows = rng.integers(0, network.top + 1, (5, 900)).astype(np.uint8)
    wanted = rows.astype(np.int64) @ weights.T.astype(np.int64)
    np.testing.assert_array_equal(exact_products(network)(0, rows), np.maximum(wanted, 0) if relu else wanted)


def test_sums_beyond_what_float32_holds_are_exact():
    weights = np.ones((1, 70_000), np.int8)
    network = TernaryNetwork("wide", (70_000, 1, 1), (NetworkLayer("fc", weights, np.ones(1), np.zeros(1)),), 8)
    rows = np.full((1, 70_000), 255, np.uint8)
    rows[0, 0] = 254
    assert exact_products(network)(0, rows).tolist() == [[255 * 70_000 - 1]]


def test_float_logits_are_those_of_the_float_network_written_out():
    network = made_network()
    values = IMAGES[:1].astype(np.float64)[:, None] / 255
    for layer, shape in zip(network.layers, network.shapes[1:], strict=True):
        matrix = layer.matrix(layer.floats.weights.astype(np.float64))
        sums = (layer.rows(values) @ matrix.T).reshape(-1, layer.outputs, layer.pool).max(axis=2)
        values = sums * layer.floats.scale + layer.floats.offset
        if layer is not network.layers[-1]:
            values = np.maximum(values, 0).reshape(1, *shape[1:], shape[0]).transpose(0, 3, 1, 2)
    found = network.float_logits(IMAGES[:1])
    np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(network.float_logits(IMAGES[:1] / np.float32(255)), found, rtol=1e-5, atol=1e-5)


def test_a_network_without_floats_says_so():
    network = made_network(floats=False)
    assert not network.holds_floats
    with pytest.raises(UsageError, match="holds no float network"):
        network.float_logits(IMAGES)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"takes images of 1 x 9 x 8 as bytes .* not int64 of 2 x 1 x 9 x 8"):
        made_network().codes(np.zeros((2, 9, 8), np.int64))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": ()}, "has no layers"),
        ({"input_bits": 9}, "9 bits an input"),
        ({"layers": made_network().layers[:2]}, "the last layer is linear"),
        ({"shape": (2, 9, 8)}, "takes 1 channels, not 2 x 9 x 8"),
        ({"shape": (1, 12, 12)}, "takes 18 values, not 2 x 5 x 5"),
        ({"shape": (1, 2, 2)}, "are too small for it"),
        ({"layers": (made_network().layers[2],) * 2}, "two layers of one name"),
    ],
)
def test_layers_that_do_not_follow_each_other_are_refused(change, said):
    whole = made_network()
    given = {"name": "net", "shape": whole.shape, "layers": whole.layers, "input_bits": 4}
    with pytest.raises(UsageError, match=said):
        TernaryNetwork(**{**given, **change})
