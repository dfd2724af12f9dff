"""The shipped layer is small, says where it comes from, fills 512 x 512, and recognises digits."""

import json
import os

import numpy as np
import pytest

from labctl.array import Geometry
from labctl.data.targets.mnist_network import SHIPPED, accuracy_of, shipped_network
from labctl.learning.datasets.images import MNIST, read_part
from labctl.targets import DEFAULT_MAPPING, WeightMapping, default_target, load_target, place


def test_the_file_is_small():
    assert SHIPPED.stat().st_size < 300_000


def test_the_file_holds_a_layer_in_int8_and_what_it_takes_to_judge_it():
    with np.load(SHIPPED) as stored:
        assert stored["weights"].dtype == np.int8
        assert stored["weights"].shape == (512, 256)
        assert stored["weight_scale"] > 0
        assert stored["hidden_bias"].shape == (256,)
        assert stored["output_weights"].shape == (256, 10)
        assert stored["output_bias"].shape == (10,)
        assert len(np.unique(stored["pixels"])) == 512
        assert stored["pixels"].max() < 784


def test_the_file_says_where_it_comes_from():
    with np.load(SHIPPED) as stored:
        assert str(stored["made_by"]) == "train_mnist_layer.py"
        assert SHIPPED.with_name(str(stored["made_by"])).is_file()
        assert "seed" in json.loads(str(stored["settings"]))
        assert str(stored["data_set"]) == "MNIST"
        assert "CC BY-SA 3.0" in str(stored["licence"])
        assert stored["quantised_accuracy"] > 0.975


def test_the_default_target_fills_512_x_512():
    target = default_target()
    placed = place(target, Geometry(512, 512, "1T1R RRAM"), within=(1e-6, 50e-6))
    np.testing.assert_array_equal(placed.cells, np.arange(512 * 512))
    assert target.conductance.min() == np.float32(DEFAULT_MAPPING.g_min)
    assert target.conductance.max() == np.float32(DEFAULT_MAPPING.g_max)
    assert "MNIST" in target.description


def test_the_default_targets_mapping_gives_the_networks_own_weights_back():
    target = default_target()
    # Half a unit in the last place of g_max for each of the pair, and one for their difference.
    tolerance = 2 * np.spacing(np.float32(DEFAULT_MAPPING.g_max)) / target.mapping.scale
    found = target.mapping.weights(target.conductance)
    np.testing.assert_allclose(found, shipped_network().hidden_weights, atol=tolerance, rtol=1e-6)


def test_the_default_target_takes_another_range():
    target = default_target(WeightMapping("differential", g_min=1e-6, g_max=20e-6))
    assert target.conductance.max() == np.float32(20e-6)


def test_the_shipped_file_can_be_loaded_like_any_other():
    loaded = load_target(f"{SHIPPED}:weights", mapping=DEFAULT_MAPPING)
    np.testing.assert_allclose(loaded.conductance, default_target().conductance, rtol=1e-6)


def test_an_accuracy_needs_every_conductance():
    conductance = np.array(default_target().conductance)
    conductance[3, 4] = np.nan
    with pytest.raises(ValueError, match="was not read"):
        accuracy_of(conductance, np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8))


@pytest.fixture
def test_part():
    if "LABCTL_DATA" not in os.environ:
        pytest.skip("needs MNIST: set LABCTL_DATA to a folder that holds mnist/*.gz")
    return read_part(MNIST, "test")


def test_the_default_target_recognises_digits_as_well_as_its_file_says(test_part):
    images, labels = test_part.images, test_part.labels
    with np.load(SHIPPED) as stored:
        said = float(stored["quantised_accuracy"])
    one_image = 1 / len(labels)  # a tie may fall either way after a round trip through conductances
    assert accuracy_of(default_target().conductance, images, labels) == pytest.approx(said, abs=2 * one_image)


def test_an_array_that_holds_nothing_recognises_nothing(test_part):
    images, labels = test_part.images, test_part.labels
    blank = np.full((512, 512), DEFAULT_MAPPING.g_min, np.float32)
    assert accuracy_of(blank, images, labels) < 0.2
