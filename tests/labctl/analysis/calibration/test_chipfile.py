"""A chip file says what was fitted, reads back as it was written, and is what a simulated board takes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import quiet_base, relaxing

from labctl.analysis.calibration import ChipFile, Parameter, read_chip, retention
from labctl.analysis.calibration.parameters import between
from labctl.errors import RecordingError, UsageError
from labctl.simulated_instruments.cells.technologies import Technology

VALUES = st.floats(1e-12, 1e12) | st.floats(-1e12, -1e-12) | st.just(0.0)


def chip(**parameters: Parameter) -> ChipFile:
    return ChipFile("1T1R RRAM", "rram_40nm", "X-1-twin", parameters, ["A twin."], ["forming: 3 cells"])


@given(VALUES, st.floats(1e-6, 0.5), st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])))
def test_a_number_keeps_what_its_interval_says_is_known(value: float, relative: float, text: str) -> None:
    half = abs(value) * relative
    written = chip(breakdown_voltage=between(value, (value - half, value + half), "V", text, 7, goodness=text))
    table = tomllib.loads(written.text())["breakdown_voltage"]
    assert abs(table["value"] - value) <= max(0.06 * half, 1e-8 * abs(value))
    assert table["source"] == f"[calibrated] {text}"
    assert table.get("goodness", "") == text


def test_a_file_reads_back_and_writes_the_same_again(tmp_path: Path) -> None:
    fit = retention.fit(relaxing(900, np.random.default_rng(1)), quiet_base())
    written = chip(**fit.parameters)
    written.write(tmp_path / "chip.toml")
    found = read_chip(tmp_path / "chip.toml")
    assert found.parameters.keys() == fit.parameters.keys()
    for name, parameter in fit.parameters.items():
        assert found.parameters[name].value == pytest.approx(parameter.value, rel=2e-3, abs=1e-12)
        assert found.parameters[name].cells == parameter.cells
    again = replace(found, heading=written.heading, notes=written.notes)
    assert again.text() == written.text() == chip(**fit.parameters).text()


def test_a_simulated_board_takes_it(tmp_path: Path) -> None:
    fit = retention.fit(relaxing(900, np.random.default_rng(2)), quiet_base())
    chip(**fit.parameters).write(tmp_path / "chip.toml")
    technology = Technology.from_file(tmp_path / "chip.toml")
    assert technology.serial == "X-1-twin"
    times = technology.parameters.relaxation_times  # type: ignore[attr-defined]
    assert times == pytest.approx(tuple(fit.parameters["relaxation_times"].value))


def test_a_person_can_read_it() -> None:
    text = chip(breakdown_voltage=between(3.43317, (3.42888, 3.43746), "V", "a ramp", 400, "KS 0.02")).text()
    assert text.startswith("# A twin.\n#\n# forming: 3 cells\n\n[chip]\n")
    assert "value = 3.4332\n" in text
    assert "low = 3.4289\nhigh = 3.4375\ncells = 400\n" in text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("value = ", "chip.toml: not TOML"),
        ("[breakdown_voltage]\nvalue = 3", r"\$.chip: expected a table with kind, base and serial"),
        ('[chip]\nkind = "a"\nbase = "b"\nserial = "c"\n[x]\nvalue = 1', r"\$.x: expected a table of value, unit"),
        (
            '[chip]\nkind = "a"\nbase = "b"\nserial = "c"\n[x]\nvalue = [[1], [2, 3]]\nunit = "V"\nsource = "s"',
            r"\$.x.value: expected a number or an even table",
        ),
        (
            '[chip]\nkind = "a"\nbase = "b"\nserial = "c"\n[x]\nvalue = nan\nunit = "V"\nsource = "s"',
            r"\$.x.value: expected finite numbers",
        ),
    ],
)
def test_what_is_no_chip_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "chip.toml").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        read_chip(tmp_path / "chip.toml")


def test_files_that_cannot_be_read_or_written_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("absent.toml: cannot be read as a chip file")):
        read_chip(tmp_path / "absent.toml")
    with pytest.raises(RecordingError, match="the chip file cannot be written"):
        chip().write(tmp_path / "absent" / "chip.toml")
