"""What an associative array takes, counted by hand for small layers."""

from __future__ import annotations

import pytest

from labctl.errors import SettingsError
from labctl.learning.accounts import (
    Account,
    Arrays,
    AssociativeLayer,
    Figures,
    OnArray,
    allowed_for_programs,
    arrays_for,
    compare_associative,
    inference,
    movement_share,
    on_associative,
    on_crossbars,
    ratio_without_programs,
)
from labctl.learning.networks import Layer

FIGURES = Figures.named("associative").changed(
    {
        "associative_rows": 4,
        "cell_search_energy": "5 fJ",
        "masked_share": 0.5,
        "line_search_energy": "30 fJ",
        "cell_write_energy": "3 pJ",
        "cell_read_energy": "2 pJ",
        "wire_shift_energy": "1 pJ",
        "written_share": 0.25,
        "search_time": "1 ns",
        "write_time": "5 ns",
        "read_time": "2 ns",
        "shift_time": "3 ns",
        "instruction_bits": 10,
        "program_bit": "2 pJ",
        "sequencer_power": 0,
        "integer_add": "0.1 pJ",
        "float_add": "1 pJ",
        "float_multiply": "4 pJ",
        "buffer_bit": "0.5 pJ",
    }
)
LAYER = AssociativeLayer(
    layer=Layer("conv", inputs=6, outputs=5, products=9),
    rows=9,
    tracks=8,
    searches=4,
    searched_columns=12,
    writes=3,
    written_columns=8,
    cleared_columns=2,
    shifts=7,
    loaded_columns=24,
    read_columns=20,
    unfinished_columns=3,
    instructions=7,
)


def energies(account: Account) -> dict[str, float]:
    return {name: energy for name, (energy, _) in account.parts.items() if energy}


def test_a_layer_takes_what_its_searches_writes_shifts_and_moved_bits_take() -> None:
    account = on_associative([LAYER], 4, FIGURES)
    assert energies(account) == pytest.approx(
        {
            "search": 9 * (4 * 30e-15 + 12 * 5e-15 + (4 * 8 - 12) * 2.5e-15),
            "write": 9 * (0.25 * 6 + 2) * 3e-12,
            "shift": 9 * 7 * 1e-12,
            "loading": 9 * 24 * 3e-12,
            "reading": 9 * 20 * 2e-12,
            "buffers": 9 * (24 + 3 + 5 * 4) * 0.5e-12,
            "norm and activation": 9 * 5 * (5 + 0.1 + 5) * 1e-12,
            "program": 7 * 10 * 2e-12,
        }
    )
    assert account.latency == pytest.approx((4 * 1 + 3 * 5 + 7 * 3 + 24 * 5 + 20 * 2) * 1e-9)
    moved = (9 * 24 * 3 + 9 * 20 * 2 + 9 * 47 * 0.5) * 1e-12
    assert movement_share(account) == pytest.approx(moved / account.energy)


def test_samples_that_go_through_together_share_a_program() -> None:
    alone, shared = (on_associative([LAYER], 4, FIGURES.changed({"program_samples": each})) for each in (1, 4))
    assert energies(shared)["program"] == pytest.approx(energies(alone)["program"] / 4)
    assert energies(shared)["search"] == energies(alone)["search"]


def test_what_works_longer_takes_more_control() -> None:
    figures = FIGURES.changed({"sequencer_power": "1 mW"})
    account = on_associative([LAYER], 4, figures)
    assert energies(account)["control"] == pytest.approx(account.latency * 1e-3)


def test_the_same_layers_on_crossbars_are_a_column_an_output_or_one_for_each_slice_of_a_weight() -> None:
    ternary = on_crossbars([LAYER], 4, FIGURES)
    assert ternary.entries == inference(OnArray([LAYER.layer], 4), FIGURES).entries
    wide = on_crossbars([LAYER], 4, FIGURES.changed({"crossbar_weight_bits": 7}), ternary=False)
    assert wide.name == "crossbars with converters, weights of 7 bit"
    for component in ("array", "ADC", "shift-add", "amplifiers"):
        assert wide.parts[component][0] == pytest.approx(4 * ternary.parts[component][0])
    for component in ("norm and activation", "buffers"):
        assert wide.parts[component] == ternary.parts[component]


def test_crossbars_of_a_layer_work_at_once_and_each_is_controlled() -> None:
    figures = FIGURES.changed({"array_rows": 2, "control_power": "1 mW"})
    whole, cut = (on_crossbars([LAYER], 4, each) for each in (figures.changed({"array_rows": 12}), figures))
    assert (
        arrays_for([LAYER], figures).crossbars == 6 * arrays_for([LAYER], figures.changed({"array_rows": 12})).crossbars
    )
    assert cut.latency == pytest.approx(whole.latency)
    assert energies(cut)["control"] == pytest.approx(6 * cut.latency * 1e-3)


def test_a_comparison_stands_beside_both_crossbars_and_what_was_published_and_says_what_it_rests_on() -> None:
    found = compare_associative([LAYER], FIGURES, task="resnet18")
    assert found.account == on_associative([LAYER], 4, FIGURES)
    assert [each.name for each in found.references] == [
        "crossbars with converters, ternary weights",
        "crossbars with converters, weights of 8 bit",
    ]
    assert [each.ratio for each in found.published] == [7.5]
    assert not compare_associative([LAYER], FIGURES, task="vgg11").published
    named = [each.figure.name for each in found.sensitivities[0]]
    assert {"cell_write_energy", "wire_shift_energy", "cell_search_energy", "conversion_energy"} <= set(named)
    assert "published_movement" not in named


def test_what_programs_may_take_for_a_ratio_gives_that_ratio() -> None:
    account, reference = on_associative([LAYER], 4, FIGURES), on_crossbars([LAYER], 4, FIGURES)
    scaled = ("cell_search_energy", "line_search_energy", "wire_shift_energy", "cell_write_energy", "instruction_bits")
    for factor in (0.5, 2.0):
        figures = FIGURES
        for name in scaled:
            figures = figures.scaled(name, factor)
        loading = account.parts["loading"][0] * (factor - 1)  # is written, too, and has to stay as it was
        ratio = reference.energy / (on_associative([LAYER], 4, figures).energy - loading)
        assert allowed_for_programs(account, reference, ratio) == pytest.approx(factor)


def test_the_ratio_that_free_programs_would_have_is_the_most_there_can_be() -> None:
    account, reference = on_associative([LAYER], 4, FIGURES), on_crossbars([LAYER], 4, FIGURES)
    left = sum(account.parts[name][0] for name in ("loading", "reading", "buffers", "norm and activation"))
    most = ratio_without_programs(account, reference)
    assert most == pytest.approx(reference.energy / left)
    assert allowed_for_programs(account, reference, most * 1.01) is None
    assert allowed_for_programs(account, reference, most * 0.99) is not None


def test_layers_take_turns_on_associative_arrays_and_stay_on_crossbars() -> None:
    figures = FIGURES.changed({"array_rows": 8, "array_columns": 4})
    assert arrays_for([LAYER, LAYER], figures) == Arrays(associative=3, crossbars=2 * 2 * 2)


@pytest.mark.parametrize("name", ["associative", "associative_access", "associative_fefet"])
def test_the_tables_have_every_figure_that_an_account_needs(name: str) -> None:
    found = compare_associative([LAYER], Figures.named(name), task="resnet18")
    assert found.account.energy > 0
    assert all(reference.energy > 0 for reference in found.references)


def test_no_layers_have_no_account() -> None:
    with pytest.raises(SettingsError, match="at least one layer"):
        compare_associative([], FIGURES)
