"""What an array takes, counted by hand for small networks."""

from __future__ import annotations

import pytest

from labctl.errors import SettingsError
from labctl.learning.accounts import Account, Figures, OnArray, Pulses, Written, inference, switching, writing
from labctl.learning.networks import Layer
from labctl.learning.placement import place

FIGURES = Figures.named("pruning").changed(
    {
        "array_rows": 8,
        "array_columns": 4,
        "cell_conductance": "10 uS",
        "read_voltage": "200 mV",
        "line_supply": "1 V",
        "integration_time": "100 ns",
        "driver_energy": "1 pJ",
        "amplifier_power": "10 uW",
        "conversion_energy": "2 pJ",
        "conversion_time": "1 ns",
        "columns_per_converter": 2,
        "bits_set": 0.25,
        "control_power": 0,
        "integer_add": "0.1 pJ",
        "float_add": "1 pJ",
        "float_multiply": "4 pJ",
        "buffer_bit": "0.5 pJ",
    }
)
LAYER = Layer("fc", inputs=6, outputs=5, products=3)
"""On an array of 4 pairs of rows and 4 columns: blocks of 4 and 2 inputs times 4 and 1 outputs."""


def energies(account: Account) -> dict[str, float]:
    return {name: energy for name, (energy, _) in account.parts.items() if energy}


def test_a_layer_takes_what_its_cells_lines_columns_and_outputs_take() -> None:
    account = inference(OnArray([LAYER], bits=2), FIGURES)
    planes = 3 * 2
    assert energies(account) == pytest.approx(
        {
            "array": planes * 0.25 * 60 * 0.2**2 * 10e-6 * 100e-9,
            "line drivers": planes * 0.25 * (60 * 0.8 * 0.2 * 10e-6 * 100e-9 + 2 * 6 * 2 * 1e-12),
            "amplifiers": planes * 5 * 2 * 10e-6 * 100e-9,
            "ADC": planes * 5 * 2 * 2e-12,
            "shift-add": planes * 5 * 2 * 0.1e-12,
            "norm and activation": 3 * 5 * (5 + 0.1 + 5) * 1e-12,
            "buffers": 3 * (6 + 5) * 2 * 0.5e-12,
        }
    )
    assert account.energy == pytest.approx(sum(energies(account).values()))
    assert account.operations["conversion"] == 60


def test_blocks_take_turns_on_one_array_and_work_together_on_several() -> None:
    planes, conversions = 6, 2 + 1 + 2 + 1  # in ns: of widths 4, 1, 4, 1, two columns share a converter
    one = inference(OnArray([LAYER], bits=2), FIGURES)
    assert one.latency == pytest.approx(planes * (4 * 100e-9 + conversions * 1e-9))
    four = inference(OnArray([LAYER], bits=2, arrays=4), FIGURES)
    assert four.latency == pytest.approx(planes * (100e-9 + 2e-9))
    assert four.energy == pytest.approx(one.energy)


def test_blocks_as_they_were_placed_count_instead_of_those_an_array_without_faults_would_hold() -> None:
    placed = OnArray([LAYER], bits=2, blocks=[[(3, 5), (3, 5)]])
    whole = inference(placed, FIGURES)
    assert whole.operations["conversion"] == 6 * 10
    assert whole.operations["line driven for a plane"] == 6 * 0.25 * 2 * 6
    assert whole.latency == pytest.approx(6 * 2 * (100e-9 + 2e-9))


def test_the_blocks_of_a_placement_on_a_whole_array_are_those_that_an_account_assumes() -> None:
    placed = place([LAYER.shape], (8, 4))
    blocks = [[(len(each.plus), len(each.cols)) for each in placed.of_layer(0)]]
    assert inference(OnArray([LAYER], 2, blocks=blocks), FIGURES) == inference(OnArray([LAYER], 2), FIGURES)


def test_measured_conductances_count_by_layer_and_a_pruned_half_saves_half_of_the_arrays_share() -> None:
    layers = [LAYER, Layer("out", 4, 2, 1)]
    formed = inference(OnArray(layers, 4, conductance=12e-6), FIGURES)
    pruned = inference(OnArray(layers, 4, conductance=[6e-6, 12e-6]), FIGURES)
    arrays = [
        {each.layer: each.energy for each in account.entries if each.component == "array"}
        for account in (formed, pruned)
    ]
    assert arrays[1] == pytest.approx({"fc": arrays[0]["fc"] / 2, "out": arrays[0]["out"]})
    assert pruned.parts["ADC"] == formed.parts["ADC"]


def test_more_planes_cost_as_much_more_but_for_what_is_done_once() -> None:
    once = ("norm and activation",)
    four, eight = (inference(OnArray([LAYER], bits), FIGURES) for bits in (4, 8))
    for part, energy in energies(four).items():
        assert energies(eight)[part] == pytest.approx(energy if part in once else 2 * energy)


def test_control_takes_its_power_for_as_long_as_the_array_works_layer_by_layer() -> None:
    figures = FIGURES.changed({"control_power": "1 mW"})
    layers = [LAYER, Layer("out", 4, 2, 1)]
    account = inference(OnArray(layers, 2), figures)
    quiet = inference(OnArray(layers, 2), FIGURES)
    assert account.parts["control"][0] == pytest.approx(1e-3 * quiet.latency)
    for name, (energy, seconds) in quiet.layers.items():
        assert account.layers[name] == pytest.approx((energy + 1e-3 * seconds, seconds))


def test_a_supply_below_the_read_voltage_costs_what_the_read_voltage_does() -> None:
    low = inference(OnArray([LAYER], 2), FIGURES.changed({"line_supply": 0.1, "driver_energy": 0}))
    assert low.parts["line drivers"][0] == 0


def test_pulses_take_what_they_put_into_cells_and_lines_out_of_pumps() -> None:
    figures = FIGURES.changed(
        {"pulse_efficiency": 0.5, "line_capacitance": "1 pF", "pulse_overhead": "1 us", "cells_at_once": 4}
    )
    pulses = [Pulses("reset", 100, "fc", voltage=2.0, width=1e-6, conductance=20e-6)]
    account = writing(Written(pulses), figures)
    assert account.energy == pytest.approx(100 * (4 * 20e-6 * 1e-6 + 4 * 1e-12) / 0.5)
    assert account.latency == pytest.approx(100 * 2e-6 / 4)
    assert set(account.layers) == {"fc"}


def test_pulses_without_voltage_width_and_conductance_have_those_of_the_table() -> None:
    told = Pulses("set", 10, voltage=1.7, width=100e-9, conductance=12.34e-6)
    assert writing(Written([Pulses("set", 10)]), FIGURES) == writing(Written([told]), FIGURES)


def test_a_read_is_a_driven_line_a_cell_an_amplifier_and_a_conversion() -> None:
    account = writing(Written(verify_reads=7, reads=3), FIGURES)
    each = 1.0 * 0.2 * 10e-6 * 100e-9 + 10e-6 * 100e-9 + 2e-12 + 1e-12
    assert energies(account) == pytest.approx({"verify reads": 7 * each, "reads": 3 * each})
    assert account.latency == pytest.approx(10 * 101e-9)


def test_what_taking_turns_costs_is_shared_by_the_samples_of_a_turn() -> None:
    figures = FIGURES.changed({"pulses_per_switch": 4, "reads_per_switch": 5})
    alone, shared = switching(1000, figures), switching(1000, figures, samples=50)
    assert alone.operations["SET pulse"] == alone.operations["RESET pulse"] == 2000
    assert alone.operations["read"] == 5000
    assert shared.energy == pytest.approx(alone.energy / 50)
    assert shared.latency == pytest.approx(alone.latency / 50)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ({"bits": 0}, "at least 1 bit and 1 array, got 0 and 1"),
        ({"bits": 4, "arrays": 0}, "at least 1 bit and 1 array, got 4 and 0"),
        ({"bits": 4, "conductance": [1e-6, 2e-6]}, "2 mean conductances for 1 layers"),
        ({"bits": 4, "blocks": []}, "blocks of 0 layers for 1 layers"),
    ],
)
def test_networks_that_cannot_be_are_refused(network: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        OnArray([LAYER], **network)  # type: ignore[arg-type]


def test_turns_that_no_sample_shares_and_arrays_without_a_pair_of_rows_are_refused() -> None:
    with pytest.raises(SettingsError, match="at least one sample, got 0"):
        switching(10, FIGURES, samples=0)
    with pytest.raises(SettingsError, match=r"array_rows\.value: cannot be below 2"):
        FIGURES.changed({"array_rows": 1})
