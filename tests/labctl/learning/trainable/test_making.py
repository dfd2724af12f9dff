"""Trainable networks by their names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from labctl.errors import UsageError
from labctl.learning.trainable.making import make_trainable
from labctl.learning.trainable.network import with_bias
from labctl.learning.trainable.tasks import TRAINING_TASKS

SHAPE = (1, 28, 28)


@pytest.mark.parametrize(
    ("task", "network", "shape", "classes", "name", "weights"),
    [
        ("mnist", None, SHAPE, 10, "784-250-10", 198_760),
        ("mnist", "perceptron", (1, 12, 12), 4, "144-250-4", 145 * 250 + 251 * 4),
        ("mnist", "784-100-50-10", SHAPE, 10, "784-100-50-10", 78_500 + 5_050 + 510),
        ("fashion-mnist", None, SHAPE, 10, "convolutional", 26 * 8 + 201 * 16 + 257 * 10),
        ("fashion-mnist", "784-10", SHAPE, 10, "784-10", 7_850),
        ("gan", None, SHAPE, 10, "gan-64", 65 * 64 + 65 * 784 + 785 * 64 + 65),
        ("gan", "gan", SHAPE, 10, "gan", 65 * 256 + 257 * 784 + 785 * 256 + 257),
        ("text", None, (), 40, "lstm", (40 + 128 + 1) * 512 + 129 * 40),
        ("text", "lstm-16", (), 40, "lstm-16", (40 + 16 + 1) * 64 + 17 * 40),
    ],
)
def test_names_make_networks(
    task: str, network: str | None, shape: tuple[int, ...], classes: int, name: str, weights: int
) -> None:
    made = make_trainable(task, network, shape, classes)
    assert made.name == name
    assert sum(layer.inputs * layer.outputs for layer in made.layers) == weights
    assert len(made.spreads) == len(made.rates) == len(made.layers)
    assert min(made.spreads) > 0
    assert min(made.rates) > 0


@pytest.mark.parametrize(
    ("task", "network", "sentence"),
    [
        ("sorting", None, "there is no task 'sorting' to train for: choose one of fashion-mnist, gan, mnist, text"),
        ("mnist", "784-250-9", "the network 784-250-9 does not go from 784 values to 10 classes"),
        (
            "mnist",
            "unet",
            "no network is called 'unet': there are perceptron, convolutional, and widths as in 784-250-10",
        ),
        ("mnist", "lstm", "the network lstm is not one for the task mnist: there are perceptron"),
        ("mnist", "gan", "the network gan is not one for the task mnist: there are perceptron"),
        ("gan", "784-250-10", "the network 784-250-10 is not one for the task gan: there are gan and gan-UNITS"),
        ("text", "convolutional", "the network convolutional is not one for the task text: there are lstm"),
        ("text", "lstm-", "no network is called 'lstm-': there are lstm and lstm-UNITS"),
    ],
)
def test_names_that_are_none_are_refused(task: str, network: str | None, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        make_trainable(task, network, SHAPE, 10)
    assert sentence in str(refused.value)


def test_every_task_says_how_it_is_trained() -> None:
    for name, task in TRAINING_TASKS.items():
        assert name == task.name
        assert task.epochs >= 1
        assert task.batch >= 1
        assert task.rate > 0
        assert 0 < task.decay <= 1


def test_the_bias_is_a_last_input_of_one() -> None:
    values = np.array([[2, 3], [4, 5]], np.float32)
    given = with_bias(values)
    np.testing.assert_array_equal(given, [[2, 3, 1], [4, 5, 1]])
    assert given.dtype == np.float32


def test_a_network_that_carries_nothing_takes_nothing_back() -> None:
    network = make_trainable("mnist", "784-10", SHAPE, 10)
    network.restore(network.state())
    with pytest.raises(UsageError, match="carries nothing from batch to batch, but hidden came"):
        network.restore({"hidden": np.zeros(3)})


def test_an_epoch_has_every_sample_once_but_those_that_fill_no_batch() -> None:
    network = make_trainable("mnist", "784-10", SHAPE, 10)
    inputs, labels = np.arange(23, dtype=np.float32), np.arange(23)
    batches = list(network.batches(inputs, labels, 5, np.random.default_rng(1)))
    assert len(batches) == network.batches_per_epoch(23, 5) == 4
    seen = np.concatenate([labels for _, labels in batches])
    assert len(set(seen)) == 20
    assert list(seen) != sorted(seen)
    for given, wanted in batches:
        np.testing.assert_array_equal(given, wanted)


def test_making_one_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from labctl.learning.trainable.making import make_trainable\n"
        "for task, network in (('mnist', None), ('fashion-mnist', None), ('gan', None), ('text', None)):\n"
        "    make_trainable(task, network, (1, 28, 28), 10)\n"
        "print([name for name in ('torch', 'scipy', 'xarray', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
