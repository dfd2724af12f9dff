"""How a trainable network's samples become the batches of an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from labctl.errors import UsageError
from labctl.learning.trainable.perceptron import Perceptron

INPUTS = np.arange(23, dtype=np.float32)[:, None]
LABELS = 10 * np.arange(23)


def test_an_epoch_goes_through_the_samples_in_an_order_of_its_own_and_leaves_out_what_fills_no_batch() -> None:
    network = Perceptron((1, 2))
    assert network.batches_per_epoch(23, 5) == 4
    batches = list(network.batches(INPUTS, LABELS, 5, np.random.default_rng(1)))
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5]
    for inputs, labels in batches:
        np.testing.assert_array_equal(10 * inputs[:, 0], labels)
    order = np.concatenate([labels for _, labels in batches])
    assert len(set(order)) == 20
    assert (order != np.sort(order)).any()


def test_a_batch_follows_from_its_number_and_the_generator() -> None:
    network = Perceptron((1, 2))
    first, again, other = (list(network.batches(INPUTS, LABELS, 5, np.random.default_rng(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[3][0], again[3][0])
    assert (first[3][0] != other[3][0]).any()


def test_a_network_that_carries_nothing_takes_no_state() -> None:
    network = Perceptron((1, 2))
    network.begin_epoch()
    assert network.state() == {}
    network.restore({})
    with pytest.raises(UsageError, match="1-2 carries nothing from batch to batch, but hidden came"):
        network.restore({"hidden": np.zeros(3)})
