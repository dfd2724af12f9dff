"""Training: what comes out computes in whole numbers what was trained, and knows strokes from each other."""

import json

import numpy as np
import pytest
from small_digits import write_small_digits

from labctl.errors import UsageError
from labctl.learning.datasets import load_dataset
from labctl.learning.metrics import accuracy

torch = pytest.importorskip("torch", reason="training needs torch")

from labctl.learning.ternary import training  # noqa: E402
from labctl.learning.ternary.training import Course, train_ternary  # noqa: E402

COURSE = Course(float_epochs=4, epochs=4, batch=20, channels=(4, 6), hidden=(8,))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_small_digits(tmp_path_factory.mktemp("data"), 800, 200)
    return load_dataset("mnist", folder, own=True)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def network(data, told):
    return train_ternary(data, COURSE, told.append)


def test_both_networks_know_strokes_from_each_other(data, network):
    # Mirrored while training, falling and rising strokes are the same thing: three of four kinds can be told apart.
    for logits in (network.infer, network.float_logits):
        assert accuracy(data.test_labels, logits(data.test_inputs).argmax(axis=1)).value > 0.6


def test_it_has_the_layers_of_its_course_and_says_how_it_was_made(data, network):
    assert network.shapes == ((1, 12, 12), (4, 6, 6), (6, 3, 3), (8,), (4,))
    assert [layer.name for layer in network.layers] == ["conv1", "conv2", "fc1", "fc2"]
    made = json.loads(network.description)
    assert made["data_digest"] == data.digest
    assert made["course"]["seed"] == COURSE.seed


def test_every_epoch_is_told(told, network):
    assert network.classes == 4
    assert [(each.phase, each.epoch) for each in told] == [
        (phase, epoch) for phase in ("float", "ternary") for epoch in range(1, 5)
    ]
    assert told[3].loss < told[0].loss


def test_the_same_seed_gives_the_same_network(data):
    short = Course(float_epochs=1, epochs=1, batch=40, channels=(2,), hidden=())
    first, second = (train_ternary(data, short).infer(data.test_inputs) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_whole_numbers_give_what_the_trained_model_gives(data, monkeypatch):
    kept = []
    monkeypatch.setattr(training, "_layer", lambda model, *rest: kept.append(model) or layer_of(model, *rest))
    network = train_ternary(data, Course(float_epochs=1, epochs=1, batch=40, channels=(4,), hidden=(6,)))
    images = data.test_inputs
    with torch.no_grad():
        wanted = kept[0](torch.from_numpy(images)).numpy()
    # A code next to a half may be rounded either way in float32: few logits, by little.
    differ = np.abs(network.infer(images) - wanted) > 1e-4 * np.abs(wanted).max()
    assert differ.any(axis=1).mean() < 0.02


layer_of = training._layer


def test_images_too_small_for_their_poolings_are_refused(data):
    with pytest.raises(UsageError, match="images of 12 x 12 are too small for 4 poolings"):
        train_ternary(data, Course(channels=(2, 2, 2, 2)))


def test_a_course_without_epochs_is_refused():
    with pytest.raises(UsageError, match="at least 1 epoch"):
        Course(epochs=0)


def test_too_few_images_for_a_batch_are_refused(data):
    with pytest.raises(UsageError, match="800 training images do not make one batch of 900"):
        train_ternary(data, Course(batch=900))
