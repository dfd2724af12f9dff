"""Tables of figures: every one sourced, others' files on top of ours, wrong ones refused in a sentence."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from labctl.errors import SettingsError
from labctl.learning.accounts import Figures
from labctl.units import is_unit

BUILT_IN = sorted(
    each.name.removesuffix(".toml")
    for each in (files("labctl.data") / "accounts").iterdir()
    if each.name.endswith(".toml")
)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_figure_of_a_built_in_table_has_a_unit_a_mark_and_a_source(name: str) -> None:
    figures = Figures.named(name)
    assert figures.figures
    for figure in figures.figures.values():
        assert is_unit(figure.unit), figure
        assert figure.mark in {"published", "recalled", "computed", "assumed"}, figure
        assert len(figure.source) > len(figure.mark) + 12, figure


def test_the_published_ratios_of_pruning_are_those_of_both_papers() -> None:
    figures = Figures.named("pruning")
    saved = {task: [each.saved for each in figures.published_for(task)] for task in ("fashion-mnist", "vessels")}
    assert saved == {"fashion-mnist": [0.821, 0.783], "vessels": [0.998, 0.997]}
    assert figures.published_for("spoken-digits")[0].ratio == pytest.approx(1 / 0.488)
    assert {each.relative_to for each in figures.published} == {"not known"}
    assert Figures.named("pruning_board").published == figures.published


def test_the_published_ratio_of_mixed_precision_says_what_it_is_relative_to() -> None:
    (published,) = Figures.named("mixed_precision").published
    assert (published.task, published.ratio) == ("mnist", 172)
    assert published.saved == pytest.approx(1 - 1 / 172)
    assert "fully digital 32-bit design" in published.relative_to


def test_a_file_of_ones_own_holds_what_differs_with_units_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[account]\ntitle = "mine"\nbase = ["pruning"]\n\n'
        '[conversion_energy]\nvalue = "250 fJ"\nunit = "J"\nsource = "[measured] our converter, 2026"\n'
    )
    mine, theirs = Figures.load(path), Figures.named("pruning")
    assert mine.title == "mine"
    assert mine.value("conversion_energy", "J") == pytest.approx(250e-15)
    assert mine.figures["conversion_energy"].mark == "measured"
    different = {name for name in theirs.figures if mine.figures[name] != theirs.figures[name]}
    assert different == {"conversion_energy"}


def test_a_caller_changes_figures_by_number_or_text_and_the_change_is_marked() -> None:
    figures = Figures.named("pruning").changed({"read_voltage": "100 mV", "columns_per_converter": 4})
    assert figures.value("read_voltage", "V") == pytest.approx(0.1)
    assert figures.value("columns_per_converter", "1") == 4
    assert figures.figures["read_voltage"].mark == "given"
    assert Figures.named("pruning").value("read_voltage", "V") == 0.2


def test_a_figure_is_doubled_and_halved_no_further_than_it_can_be() -> None:
    figures = Figures.named("digital").changed({"gpu_utilisation": 0.8, "gpu_batch": 1})
    assert figures.scaled("gpu_utilisation", 2).value("gpu_utilisation", "1") == 1
    assert figures.scaled("gpu_batch", 0.5).value("gpu_batch", "1") == 1
    assert figures.scaled("gpu_power", 2).value("gpu_power", "W") == 800


GOOD = '[a]\nvalue = 1.0\nunit = "J"\nsource = "[assumed] for a test"\n'
HEADER = '[account]\nbase = ["pruning"]\n'
ENERGY = '[conversion_energy]\nvalue = {}\nunit = "J"\nsource = "[assumed] for a test"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a", "cannot be read as a table of figures"),
        ("a = 3", r"\$\.a: expected `object`, got `int`"),
        ('[a]\nvalue = 1.0\nunit = "J"', r"\$\.a: object missing required field `source`"),
        (GOOD.replace("assumed", "guessed"), r"\$\.a\.source: expected one of \[published\], .*\[given\] and where"),
        (GOOD.replace("[assumed] ", ""), r"\$\.a\.source: expected one of"),
        (GOOD.replace(" for a test", ""), r"\$\.a\.source: expected one of"),
        (GOOD.replace("1.0", '"3 V"'), r"\$\.a\.value: '3 V' is not in J"),
        (GOOD.replace("1.0", "-1.0"), r"\$\.a\.value: cannot be below 0"),
        (GOOD.replace("1.0", "nan"), r"\$\.a\.value: .*not a finite quantity"),
        (GOOD + "most = 0.5\n", r"\$\.a\.value: cannot be above 0.5"),
        (GOOD + "colour = 1\n", r"\$\.a: object contains unknown field `colour`"),
        (
            '[account]\nbase = ["prunings"]',
            "there is no table of figures 'prunings': choose one of adc_crossbar, .*mixed_precision, pruning",
        ),
        (HEADER + GOOD, r"\$\.a: no figure of this account; there are: .*conversion_energy"),
        (HEADER + ENERGY.format(1).replace('"J"', '"W"'), r"\$\.conversion_energy\.unit: expected 'J', got 'W'"),
        (
            '[[published]]\ntask = "x"\nquantity = "saved"\nvalue = 1.2\nrelative_to = "y"\nsource = "z"',
            r"\$\.published\[0\]\.value: expected a number above 0 and below 1, got 1.2",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_in_it(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=told) as refused:
        Figures.load(path)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read .*: No such file"):
        Figures.load(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="there is no table of figures 'none'"):
        Figures.named("none")
    with pytest.raises(SettingsError, match="conversion_enrgy: no figure of this account"):
        Figures.named("pruning").changed({"conversion_enrgy": 1})
    with pytest.raises(SettingsError, match=r"digital: \$\.read_voltage: missing; the account needs it, in V"):
        Figures.named("digital").value("read_voltage", "V")
    with pytest.raises(SettingsError, match=r"gpu_rate\.value: has to be above 0"):
        Figures.named("digital").changed({"gpu_rate": 0}).positive("gpu_rate", "1/s")
