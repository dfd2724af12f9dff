"""Accounts beside each other: ratios, what they rest on, and whole training runs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from labctl.learning.accounts import (
    Account,
    Entry,
    Figures,
    OnArray,
    Pulses,
    Written,
    compare_inference,
    compare_training,
    digital,
    inference,
    sensitivity,
    switching,
    training,
    writing,
)
from labctl.learning.networks import Layer, make_network

FIGURES = Figures.named("pruning")
PAPER = (Layer("conv1", 9, 64, 144), Layer("conv2", 576, 16, 100), Layer("fc1", 400, 128, 1), Layer("fc2", 128, 10, 1))
"""62,272 weights, as the FashionMNIST network has them."""


def test_the_array_stands_beside_four_machines_and_what_was_published_for_the_task() -> None:
    found = compare_inference(OnArray(PAPER, 4), FIGURES, "fashion-mnist")
    assert [each.name for each in found.references] == [
        "GPU, batches of 256",
        "GPU, batches of 1",
        "CPU",
        "dedicated 32-bit design",
    ]
    assert [each.saved for each in found.published] == [0.821, 0.783]
    for reference in found.references:
        assert found.account.ratio(reference) == pytest.approx(reference.energy / found.account.energy)
    assert compare_inference(OnArray(PAPER, 4), FIGURES, "mnist").published == ()


def test_what_a_figure_does_to_a_ratio_is_what_another_account_with_it_gives() -> None:
    network = OnArray(PAPER, 4)
    found = compare_inference(network, FIGURES)
    by_name = {each.figure.name: each for each in found.sensitivities[0]}
    doubled = FIGURES.changed({"conversion_energy": 2 * FIGURES.value("conversion_energy", "J")})
    halved = FIGURES.changed({"gpu_power": 200})
    assert by_name["conversion_energy"].doubled == pytest.approx(
        inference(network, doubled).ratio(digital(PAPER, doubled))
    )
    assert by_name["gpu_power"].halved == pytest.approx(inference(network, halved).ratio(digital(PAPER, halved)))
    assert "cpu_power" not in by_name  # moves nothing here
    assert "set_voltage" not in by_name
    now = found.account.ratio(found.references[0])
    reaches = [each.reach(now) for each in found.sensitivities[0]]
    assert reaches == sorted(reaches, reverse=True)
    assert reaches[0] <= 2 + 1e-9  # every figure here counts in proportion at most, but for the read voltage
    for found_for in found.sensitivities:
        assert {each.figure.name for each in found_for} >= {"conversion_energy", "integration_time", "bits_set"}


def test_a_ratio_that_is_the_square_of_a_figure_reaches_four_times() -> None:
    (each,) = sensitivity(lambda figures: figures.value("read_voltage", "V") ** 2, FIGURES)
    assert (each.figure.name, each.halved, each.doubled) == ("read_voltage", pytest.approx(0.01), pytest.approx(0.16))
    assert each.reach(0.04) == pytest.approx(4)


def test_tiles_that_take_turns_add_their_share_of_the_writing() -> None:
    network = OnArray(PAPER, 4)
    still = compare_inference(network, FIGURES).account
    turning = compare_inference(network, FIGURES, turn_cells=60000, turn_samples=100)
    assert turning.account.energy == pytest.approx(still.energy + switching(60000, FIGURES, 100).energy)
    assert turning.account.latency > still.latency
    assert "pulses_per_switch" in {each.figure.name for each in turning.sensitivities[0]}


def test_a_training_run_is_forwards_on_the_array_backwards_elsewhere_and_what_was_written() -> None:
    network = OnArray(PAPER, 4)
    written = Written([Pulses("form", 1000), Pulses("reset", 500)], verify_reads=2000, reads=100)
    run = training(network, FIGURES, 60000, written)
    assert run.energy == pytest.approx(
        60000 * (inference(network, FIGURES).energy + digital(PAPER, FIGURES, "gpu", "backwards").energy)
        + writing(written, FIGURES).energy
    )
    software = training(network, FIGURES, 60000, Written(), on_array=False, platform="cpu")
    assert software.energy == pytest.approx(60000 * digital(PAPER, FIGURES, "cpu", "both").energy)
    found = compare_training(network, FIGURES, 60000, written)
    assert found.account == run
    assert found.references[2].energy == pytest.approx(software.energy)
    assert found.published == ()


def test_an_account_is_json_that_says_where_every_figure_is_from() -> None:
    conductance = [float(each) for each in np.float32([6e-6, 6e-6, 7e-6, 8e-6])]
    found = compare_inference(OnArray(PAPER, 4, conductance=conductance), FIGURES, "fashion-mnist")
    values = json.loads(json.dumps(found.as_values(), allow_nan=False))
    assert values["energy"] == pytest.approx(found.account.energy)
    assert sum(each["energy"] for each in values["parts"]) == pytest.approx(values["energy"])
    assert sum(each["energy"] for each in values["layers"]) == pytest.approx(values["energy"])
    assert [each["layer"] for each in values["layers"]] == ["conv1", "conv2", "fc1", "fc2"]
    reference = values["references"][0]
    assert reference["saved"] == pytest.approx(1 - values["energy"] / reference["energy"])
    assert values["published"][0]["ratio"] == pytest.approx(1 / 0.179)
    for each in reference["sensitivity"]:
        assert values["table"]["figures"][each["figure"]]["source"].startswith("[")


def test_a_network_as_it_is_made_can_be_costed() -> None:
    network = make_network("mnist", "784-512-10", 4, (28, 28), 10)
    assert digital(network.layers, FIGURES, "cpu").operations["multiply-add"] == 784 * 512 + 512 * 10
    conversions = inference(OnArray(network.layers, network.bits), FIGURES).operations["conversion"]
    assert conversions == 4 * (4 * 512 + 2 * 10)  # planes, blocks of 256 inputs, outputs


def test_accounts_add_up_and_are_repeated() -> None:
    one = Account("one", (Entry("a", "x", "op", 2, 1.0, 3.0),))
    two = Account("two", (Entry("b", "x", "op", 5, 4.0),))
    both = one.times(10).plus(two)
    assert (both.name, both.energy, both.latency, both.operations) == ("one", 14.0, 30.0, {"op": 25})
    assert both.parts == {"x": (14.0, 30.0)}
    assert both.layers == {"a": (10.0, 30.0), "b": (4.0, 0.0)}
    assert two.ratio(one) == 0.25
    assert Account("none", ()).ratio(one) == math.inf
