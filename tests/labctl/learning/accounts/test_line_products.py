"""What products on lines take, forward and backward, counted by hand for small arrays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import pytest

from labctl.errors import SettingsError
from labctl.learning.accounts import Entry, Figures, LayerCounts, TrainingCounts
from labctl.learning.accounts.line_products import line_products
from labctl.learning.networks import Layer

FIGURES = Figures.named("mixed_precision").changed(
    {
        "array_rows": 8,
        "array_columns": 16,
        "cell_conductance": "10 uS",
        "read_voltage": "200 mV",
        "line_supply": "1 V",
        "integration_time": "100 ns",
        "driver_energy": "3 pJ",
        "amplifier_power": "10 uW",
        "conversion_energy": "2 pJ",
        "conversion_time": "1 ns",
        "columns_per_converter": 4,
        "integer_add": "0.1 pJ",
        "float_add": "1 pJ",
        "float_multiply": "4 pJ",
    }
)
LAYER = Layer("fc", inputs=6, outputs=5, products=1)


def entries(layer: Layer, counted: LayerCounts, figures: Figures = FIGURES, devices: int = 1) -> list[Entry]:
    (work,) = TrainingCounts(1, 1, [replace(counted, touched=1.0)], devices).of([layer])
    return list(line_products(work, figures))


def by_component(found: Iterable[Entry]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for entry in found:
        sums[entry.component] += entry.energy
    return {name: energy for name, energy in sums.items() if energy}


def test_forward_takes_driven_cells_and_lines_and_a_conversion_for_each_output() -> None:
    found = entries(LAYER, LayerCounts(driven=0.5, forward=3, backward=0))
    cells = 3 * 2 * 6 * 5 * 0.5
    assert by_component(found) == pytest.approx(
        {
            "array": cells * 0.2**2 * 10e-6 * 100e-9,
            "line drivers": cells * 0.8 * 0.2 * 10e-6 * 100e-9 + 3 * 2 * 6 * 0.5 * 3e-12,
            "amplifiers": 3 * 5 * 10e-6 * 100e-9,
            "ADC": 3 * 5 * 2e-12,
            "codes": 3 * (6 * 0.5 * 4e-12 + 5 * 5e-12),  # nothing to add: 12 columns hold both lines of all inputs
        }
    )
    assert sum(entry.seconds for entry in found) == pytest.approx(3 * (100e-9 + 4e-9))  # 5 rows, 4 on a converter


def test_backward_senses_both_lines_of_each_input_asked_for_and_subtracts() -> None:
    found = entries(LAYER, LayerCounts(forward=0, backward=2, inputs_back=4, driven=0.5))
    cells = 2 * 2 * 6 * 5  # current flows to all lines, also those that nobody senses; no delta is zero
    assert by_component(found) == pytest.approx(
        {
            "array": cells * 0.2**2 * 10e-6 * 100e-9,
            "line drivers": cells * 0.8 * 0.2 * 10e-6 * 100e-9 + 2 * 5 * 3e-12,
            "amplifiers": 2 * 8 * 10e-6 * 100e-9,
            "ADC": 2 * 8 * 2e-12,
            "codes": 2 * (4 * 0.1e-12 + 5 * 4e-12 + 4 * 5e-12),
        }
    )
    assert sum(entry.seconds for entry in found) == pytest.approx(2 * (100e-9 + 4e-9))


def test_a_layer_larger_than_an_array_is_in_parts_whose_codes_are_added() -> None:
    large = Layer("large", inputs=10, outputs=12, products=1)  # 20 lines: 2 x 2 parts on columns, 3 x 1 on rows
    counts = {
        which: {entry.operation: entry.count for entry in entries(large, counted) if entry.count}
        for which, counted in (
            ("forward", LayerCounts(forward=1, backward=0)),
            ("backward", LayerCounts(forward=0, backward=1)),
        )
    }
    assert counts["forward"]["conversion"] == 3 * 12
    assert counts["forward"]["line driven"] == 20
    assert counts["forward"]["codes added"] == 2 * 12
    assert counts["backward"]["conversion"] == 20
    assert counts["backward"]["line driven"] == 3 * 12
    assert counts["backward"]["codes added"] == 10


def test_pairs_for_each_weight_multiply_lines_and_cells_but_not_the_conversions_forward() -> None:
    whole = FIGURES.changed({"array_columns": 64})
    one, three = (
        {entry.operation: entry.count for entry in entries(LAYER, LayerCounts(backward=0), whole, devices)}
        for devices in (1, 3)
    )
    assert three["cell driven"] == 3 * one["cell driven"]
    assert three["line driven"] == 3 * one["line driven"]
    assert three["conversion"] == one["conversion"]


def test_a_conductance_that_was_measured_counts_instead_of_the_tables() -> None:
    table, measured = (
        by_component(entries(LAYER, LayerCounts(conductance=conductance))) for conductance in (None, 5e-6)
    )
    assert measured["array"] == pytest.approx(table["array"] / 2)
    assert measured["ADC"] == table["ADC"]


def test_an_array_without_lines_for_the_pairs_of_a_weight_is_refused() -> None:
    with pytest.raises(SettingsError, match="an array of 8 x 16 cells has no lines for 9 pairs of each weight"):
        entries(LAYER, LayerCounts(), devices=9)
