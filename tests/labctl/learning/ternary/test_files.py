"""Files of ternary networks come back as they were, and broken ones are refused in a sentence."""

import json

import numpy as np
import pytest
from made_networks import made_network

from labctl.errors import UsageError
from labctl.learning.ternary import load_network, load_ternary_layers, save_network, shipped_network

IMAGES = np.random.default_rng(2).integers(0, 256, (5, 9, 8)).astype(np.uint8)


@pytest.fixture
def stored(tmp_path):
    """A network's arrays, by name, to change and to write with `written`."""
    save_network(made_network(), tmp_path / "made.npz")
    with np.load(tmp_path / "made.npz") as arrays:
        return dict(arrays)


def written(folder, arrays):
    np.savez(folder / "changed.npz", **arrays)
    return folder / "changed.npz"


@pytest.mark.parametrize("floats", [True, False])
def test_a_network_comes_back_as_it_was(tmp_path, floats):
    network = made_network(floats=floats)
    save_network(network, tmp_path / "made.npz")
    again = load_network(tmp_path / "made.npz")
    assert (again.name, again.shape, again.input_bits, again.description) == (
        network.name,
        network.shape,
        network.input_bits,
        network.description,
    )
    for one, other in zip(network.layers, again.layers, strict=True):
        assert (one.name, one.stride, one.padding, one.pool, one.relu) == (
            other.name,
            other.stride,
            other.padding,
            other.pool,
            other.relu,
        )
    np.testing.assert_array_equal(network.infer(IMAGES), again.infer(IMAGES))
    if floats:
        np.testing.assert_array_equal(network.float_logits(IMAGES), again.float_logits(IMAGES))


def test_the_same_network_is_the_same_bytes_and_nothing_is_left_beside_it(tmp_path):
    for name in ("one.npz", "other.npz"):
        save_network(made_network(), tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "other.npz"]


def test_a_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"made\.npz cannot be written: No such file"):
        save_network(made_network(), tmp_path / "none" / "made.npz")


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("conv1.weights", None, "the array conv1.weights is missing"),
        ("conv1.weights", np.full((4, 1, 3, 3), 0.5), "the array conv1.weights holds float64"),
        ("conv1.weights", np.full((4, 1, 3, 3), 3, np.int8), "from 3 to 3, not -1, 0 and 1"),
        ("conv2.scale", np.ones(3), "layer conv2: its scale is not 2 finite numbers"),
        ("fc.float_weights", np.ones((3, 4)), "layer fc: its float weights"),
        ("fc.float_scale", None, "the array fc.float_scale is missing"),
        ("network", None, "holds no ternary network"),
        ("network", np.array("{"), "cannot be read"),
        ("network", np.array('{"format": 1, "shape": [1, 9, 8]}'), "missing required field"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_name(tmp_path, stored, name, values, said):
    stored.pop(name)
    if values is not None:
        stored[name] = values
    path = written(tmp_path, stored)
    with pytest.raises(UsageError, match=said) as refused:
        load_network(path)
    assert str(path) in str(refused.value)


def test_a_file_of_a_later_format_is_refused(tmp_path, stored):
    told = json.loads(str(stored["network"]))
    stored["network"] = np.array(json.dumps({**told, "format": 2}))
    with pytest.raises(UsageError, match="is of format 2, and this version of labctl reads 1"):
        load_network(written(tmp_path, stored))


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut off", b"text"])
@pytest.mark.parametrize("load", [load_network, load_ternary_layers])
def test_what_is_no_such_file_is_refused(tmp_path, load, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"broken\.npz is not an \.npz file"):
        load(path)
    with pytest.raises(UsageError, match="there is no file"):
        load(tmp_path / "none.npz")


def test_a_file_of_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "objects.npz", network=np.array([{}], object))
    with pytest.raises(UsageError, match=r"is not an \.npz file of plain numbers"):
        load_network(tmp_path / "objects.npz")


def test_ternary_weights_from_elsewhere_are_layers_in_their_order(tmp_path):
    rng = np.random.default_rng(3)
    first, second = rng.integers(-1, 2, (4, 3, 5, 5)), rng.integers(-1, 2, (10, 64)).astype(np.float32)
    np.savez(tmp_path / "given.npz", first=first, second=second)
    one, other = load_ternary_layers(tmp_path / "given.npz")
    assert (one.shape.name, one.shape.inputs, one.shape.outputs) == ("first", 75, 4)
    assert (other.shape.name, other.shape.inputs, other.shape.outputs) == ("second", 64, 10)
    np.testing.assert_array_equal(one.shape.arguments(one.weights)["weights"], first.reshape(4, -1))
    np.testing.assert_array_equal(other.weights, second)


@pytest.mark.parametrize("values", [np.array([[0.5]]), np.array([[2]]), np.zeros(3), np.array([["a"]])])
def test_weights_that_are_not_ternary_are_refused(tmp_path, values):
    np.savez(tmp_path / "given.npz", fc=values)
    with pytest.raises(UsageError, match=r"given\.npz: layer fc: its weights are"):
        load_ternary_layers(tmp_path / "given.npz")


def test_a_file_without_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "none.npz")
    with pytest.raises(UsageError, match="holds no arrays"):
        load_ternary_layers(tmp_path / "none.npz")


def test_the_network_that_ships_is_loaded_by_its_name():
    assert load_network("fashion-mnist").description == shipped_network().description
