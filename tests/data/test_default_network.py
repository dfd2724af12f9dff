"""The ternary network that ships is small, says how it was made, and recognises clothes as well as its notes say."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from labctl.data import networks
from labctl.learning.datasets.images import FASHION_MNIST, read_part
from labctl.learning.metrics import accuracy
from labctl.learning.ternary import shipped_network

FOLDER = Path(networks.__file__).parent
NOTES = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_file_is_small():
    assert (FOLDER / "ternary_fashion_mnist.npz").stat().st_size < 600_000


def test_the_network_has_the_layers_that_its_notes_name():
    network = shipped_network()
    assert network.shapes == ((1, 28, 28), (16, 14, 14), (32, 7, 7), (64,), (10,))
    assert network.input_bits == 4
    assert network.holds_floats
    for layer in network.layers:
        zeros = (layer.weights == 0).mean()
        assert re.search(rf"^\| {layer.name} \|.*\| {layer.weights.size:,} \| {zeros:.1%} \|$", NOTES, re.MULTILINE)


def test_it_says_how_it_was_made():
    made = json.loads(shipped_network().description)
    assert made["data"] == "fashion-mnist"
    assert made["course"]["seed"] == 1
    assert made["torch"].startswith("2.13.0")


def test_it_is_as_right_as_its_notes_say():
    if "LABCTL_DATA" not in os.environ:
        pytest.skip("needs Fashion-MNIST: set LABCTL_DATA to a folder that holds fashion_mnist/*.gz")
    network, test = shipped_network(), read_part(FASHION_MNIST, "test")
    for what, logits in (("ternary", network.infer), ("float", network.float_logits)):
        found = accuracy(test.labels, np.argmax(logits(test.images), axis=1)).value
        assert f"| {what} | {found:.2%} |" in NOTES
