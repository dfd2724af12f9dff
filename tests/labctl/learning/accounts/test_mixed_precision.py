"""A training image with mixed precision beside the same in 32 bit: by hand, and what must follow from what."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from labctl.errors import SettingsError
from labctl.learning.accounts import Account, Figures, LayerCounts, TrainingCounts, compare_mixed_precision
from labctl.learning.networks import Layer

FIGURES = Figures.named("mixed_precision")
PERCEPTRON = (Layer("hidden", 785, 250, 1), Layer("out", 251, 10, 1))
"""198,760 weights: 784-250-10, biases among them."""
SMALL = (Layer("hidden", 10, 4, 1), Layer("out", 5, 2, 1))
PJ = 1e-12


def counts(
    images: float = 1000, *, updates: float | None = None, pulses: float = 500, **first: float
) -> TrainingCounts:
    layers = [LayerCounts(driven=0.2, set_pulses=pulses, **first), LayerCounts(inputs_back=4)]  # type: ignore[arg-type]
    return TrainingCounts(images, images if updates is None else updates, layers)


def energies(account: Account, *, layer: str | None = None) -> dict[str, float]:
    names = {entry.component for entry in account.entries}
    return {
        name: sum(each.energy for each in account.entries if each.component == name and layer in (None, each.layer))
        for name in names
    }


def test_the_digital_unit_takes_outer_products_of_driven_inputs_and_an_accumulator_read_and_written_for_each() -> None:
    found = energies(compare_mixed_precision(SMALL, FIGURES, counts()).account)
    taught = 10 * 4 * 0.2 + 5 * 2
    assert found["outer products"] == pytest.approx(taught * (3.7 + 0.9 + 2 * 32 * 0.15625) * PJ)
    assert found["accumulators, on the chip"] == pytest.approx(taught * 2 * 32 * 1.5625 * PJ)
    assert found["granules"] == pytest.approx((taught * 0.1 + 0.5 * (3.7 + 0.9)) * PJ)
    lookup, derivative = 32 * 0.15625 + 4.6, 2 * 3.7 + 0.9
    assert found["activations"] == pytest.approx(((4 + 2) * (lookup + 4.6) + 4 * derivative) * PJ)
    assert found["buffers"] == pytest.approx(32 * (2 * (10 + 4) + 2 * (5 + 2) + 4 + 2) * 0.3125 * PJ)


def test_pulses_take_their_current_from_their_supply_and_the_charge_of_a_line() -> None:
    counted = TrainingCounts(
        100, 100, [LayerCounts(set_pulses=50), LayerCounts(reset_pulses=2, set_pulses=1, reads=30)]
    )
    account = compare_mixed_precision(SMALL, FIGURES, counted).account
    line = 2e-12 * 3.3**2
    set_, reset = 90e-6 * 3.3 * 50e-9 + line, 360e-6 * 3.3 * 50e-9 + line
    assert energies(account, layer="hidden")["programming"] == pytest.approx(0.5 * set_)
    assert energies(account, layer="out")["programming"] == pytest.approx(0.01 * set_ + 0.02 * reset)
    assert account.operations["SET pulse"] == pytest.approx(0.51)
    assert account.operations["RESET pulse"] == pytest.approx(0.02)
    assert account.operations["read"] == pytest.approx(0.3)
    assert energies(account)["reads"] > 0


def test_a_dedicated_design_takes_three_multiply_adds_a_weight_and_fetches_reads_and_writes_it() -> None:
    skipping, whole = compare_mixed_precision(SMALL, FIGURES, counts()).references
    multiply_add, bit = 4.6 + 2 * 32 * 0.15625, 1.5625
    for design, rows in ((skipping, 0.2), (whole, 1.0)):
        found = energies(design)
        forward, back = 40 * rows + 10, 8
        assert found["forward"] == found["gradient"] == pytest.approx(forward * multiply_add * PJ)
        assert found["backward"] == pytest.approx(back * multiply_add * PJ)
        assert found["weights, on the chip"] == pytest.approx((forward + back) * 32 * bit * PJ)
        assert found["updates, on the chip"] == pytest.approx(forward * 64 * bit * PJ)
    assert (skipping.name, whole.name) == (
        "dedicated 32-bit design, zeros skipped",
        "dedicated 32-bit design, nothing skipped",
    )


def test_what_an_image_takes_does_not_depend_on_how_many_were_counted() -> None:
    one = compare_mixed_precision(SMALL, FIGURES, counts(1000, pulses=500))
    ten = compare_mixed_precision(SMALL, FIGURES, counts(10_000, pulses=5000))
    for few, many in zip((one.account, *one.references), (ten.account, *ten.references), strict=True):
        assert many.energy == pytest.approx(few.energy)
        assert many.latency == pytest.approx(few.latency)


def test_twice_the_pulses_take_twice_the_energy_of_pulses_and_nothing_of_the_products() -> None:
    one = energies(compare_mixed_precision(SMALL, FIGURES, counts(pulses=500)).account)
    two = energies(compare_mixed_precision(SMALL, FIGURES, counts(pulses=1000)).account)
    assert two.pop("programming") == pytest.approx(2 * one.pop("programming"))
    for name in ("granules", "control"):  # which take more with every pulse, not twice as much
        assert one.pop(name) < two.pop(name)
    assert two == one


def test_a_batch_shares_the_memory_of_accumulators_and_weights_but_no_arithmetic() -> None:
    alone = compare_mixed_precision(SMALL, FIGURES, counts(touched=0.2))
    shared = compare_mixed_precision(SMALL, FIGURES, counts(updates=100, touched=0.2))
    memory = ("accumulators, on the chip", "weights, on the chip", "updates, on the chip")
    pairs = zip((alone.account, *alone.references), (shared.account, *shared.references), strict=True)
    for before, after in pairs:
        ones, tens = energies(before), energies(after)
        for name in ones:
            if name != "granules":
                assert tens[name] == pytest.approx(ones[name] / (10 if name in memory else 1)), name


def test_inputs_that_are_zero_are_granted_to_both_to_one_or_to_none() -> None:
    both, one = compare_mixed_precision(SMALL, FIGURES, counts()).references
    none = compare_mixed_precision(SMALL, FIGURES, counts().without_zeros())
    assert both.energy < one.energy
    assert none.references[0].energy == none.references[1].energy == pytest.approx(one.energy)
    assert none.account.energy > compare_mixed_precision(SMALL, FIGURES, counts()).account.energy


def test_accumulators_that_do_not_fit_the_chip_are_outside_it_as_weights_are() -> None:
    large = (Layer("large", 1000, 1000, 1),)
    found = compare_mixed_precision(large, FIGURES, TrainingCounts(1, 1, [LayerCounts()]))
    assert energies(found.account)["accumulators, outside"] == pytest.approx(1e6 * 64 * 20.3 * PJ)
    assert energies(found.references[0])["updates, outside"] == pytest.approx(1e6 * 64 * 20.3 * PJ)
    narrow = compare_mixed_precision(
        large, FIGURES.changed({"accumulator_bits": 8}), TrainingCounts(1, 1, [LayerCounts()])
    )
    assert energies(narrow.account)["accumulators, on the chip"] == pytest.approx(1e6 * 16 * 1.5625 * PJ)
    assert narrow.references == found.references


def test_what_costs_the_array_lowers_the_ratio_and_what_costs_weights_only_the_design_has_raises_it() -> None:
    found = compare_mixed_precision(PERCEPTRON, FIGURES, counts(), "mnist")
    for reference, sensitivities in zip(found.references, found.sensitivities, strict=True):
        ratio = found.account.ratio(reference)
        by_name = {each.figure.name: each for each in sensitivities}
        for name in ("accumulator_bits", "conversion_energy", "read_voltage", "cell_conductance", "set_current"):
            assert by_name[name].halved > ratio > by_name[name].doubled, name
        assert by_name["float_multiply"].halved < ratio < by_name["float_multiply"].doubled
        assert sensitivities[0].figure.name == "accumulator_bits"
    assert "gpu_power" not in by_name
    assert "reset_current" not in by_name  # nothing was RESET


def test_the_published_ratio_stands_beside_that_of_its_task_and_the_update_is_what_is_between_them() -> None:
    layers = [
        LayerCounts(driven=0.19, set_pulses=0.4, reset_pulses=0.015),
        LayerCounts(inputs_back=250, set_pulses=0.1, reset_pulses=0.005),
    ]
    found = compare_mixed_precision(PERCEPTRON, FIGURES, TrainingCounts(1, 1, layers), "mnist")
    assert [each.ratio for each in found.published] == [172.0]
    assert compare_mixed_precision(PERCEPTRON, FIGURES, counts(), "text").published == ()
    parts = energies(found.account)
    update = parts["accumulators, on the chip"] + parts["outer products"]
    assert update / found.account.energy > 0.95
    skipping, whole = (found.account.ratio(each) for each in found.references)
    assert 1 < skipping < 3  # three multiply-adds and three accesses, against one and two
    assert skipping < whole < 172
    free = found.account.energy - update
    assert found.references[0].energy / free < 172 < found.references[1].energy / free


def test_an_account_of_numbers_as_numpy_counts_them_is_json() -> None:
    layers = [
        LayerCounts(driven=np.float32(0.2), set_pulses=np.uint64(7), conductance=np.float32(1e-6)),  # type: ignore[arg-type]
        LayerCounts(touched=np.float64(1), reads=np.uint32(3)),  # type: ignore[arg-type]
    ]
    counted = TrainingCounts(np.int64(10), np.uint32(10), layers)  # type: ignore[arg-type]
    found = compare_mixed_precision(SMALL, FIGURES, counted, "mnist")
    values = json.loads(json.dumps(found.as_values(), allow_nan=False))
    assert values["energy"] == pytest.approx(found.account.energy)
    assert sum(each["energy"] for each in values["parts"]) == pytest.approx(values["energy"])
    assert values["published"][0]["ratio"] == 172
    assert values["references"][0]["ratio"] == pytest.approx(found.references[0].energy / found.account.energy)


def test_figures_of_another_system_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"pruning: \$\.accumulator_bits: missing; the account needs it, in 1"):
        compare_mixed_precision(SMALL, Figures.named("pruning"), counts())
    with pytest.raises(SettingsError, match="forming_voltage: no figure of this account"):
        FIGURES.changed({"forming_voltage": 3})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"driven": 1.5}, "driven of a layer has to be a number from 0 to 1, got 1.5"),
        ({"set_pulses": -1}, "set_pulses of a layer has to be a number of at least 0, got -1"),
        ({"conductance": math.nan}, "conductance of a layer has to be a number of at least 0, got nan"),
    ],
)
def test_counts_that_cannot_be_are_refused(wrong: dict[str, float], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        LayerCounts(**wrong)  # type: ignore[arg-type]


def test_counts_that_do_not_fit_the_run_or_the_network_are_refused() -> None:
    for images, updates in ((0, 0), (10, 0), (10, 20), (math.nan, 1)):
        with pytest.raises(SettingsError, match="needs updates, and an image at least for each"):
            TrainingCounts(images, updates, [])
    with pytest.raises(SettingsError, match="at least 1 pair of devices, got 0"):
        TrainingCounts(1, 1, [], devices=0)
    with pytest.raises(SettingsError, match="counts of 2 layers for 1 layers"):
        compare_mixed_precision(SMALL[:1], FIGURES, counts())
    with pytest.raises(SettingsError, match="hidden: products backward for 11 inputs, of 10"):
        compare_mixed_precision(SMALL, FIGURES, replace(counts(), layers=[LayerCounts(inputs_back=11), LayerCounts()]))
    with pytest.raises(SettingsError, match=r"hidden: an update has 10 vectors: .* has to be given as touched"):
        compare_mixed_precision(SMALL, FIGURES, counts(updates=100))
