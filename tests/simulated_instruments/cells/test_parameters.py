"""Parameter files say what each number is and where it comes from; where not, they are refused by path."""

from __future__ import annotations

import dataclasses
from importlib.resources import files

import pytest

from labctl.simulated_instruments.cells.parameters import ParameterError, parameters_digest
from labctl.simulated_instruments.cells.rram_parameters import RramParameters


@pytest.fixture
def shipped():
    return (files("labctl.data") / "cells" / "rram_40nm.toml").read_text(encoding="utf-8")


def test_a_given_file_is_read_like_the_shipped_one(shipped, tmp_path):
    path = tmp_path / "cell.toml"
    path.write_text(shipped, encoding="utf-8")
    assert RramParameters.from_file(path) == RramParameters.default()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            'value = 3.433\nunit = "V"',
            'value = 3433\nunit = "mV"',
            r"\$\.breakdown_voltage\.unit: expected 'V'",
        ),
        ("value = 3.433", "value = nan", r"\$\.breakdown_voltage\.value: expected a finite number"),
        ("value = 3.433", "value = true", r"\$\.breakdown_voltage\.value: expected a finite number"),
        ("value = 3.433", "", r"\$\.breakdown_voltage: expected a table"),
        ("[breakdown_voltage]", "[breakdown_volts]", r"\$\.breakdown_volt(s: not a parameter|age: missing)"),
        ("value = 3.433", "value = = 3", "cell.toml"),
    ],
)
def test_a_wrong_file_is_refused_by_path(shipped, tmp_path, old, new, told):
    path = tmp_path / "cell.toml"
    path.write_text(shipped.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ParameterError, match=told):
        RramParameters.from_file(path)


def test_a_value_without_a_source_is_refused(shipped, tmp_path):
    path = tmp_path / "cell.toml"
    lines = ['source = " "' if line.startswith("source") else line for line in shipped.splitlines()]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ParameterError, match=r"\.source: expected where the value comes from"):
        RramParameters.from_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"nothing\.toml"):
        RramParameters.from_file(tmp_path / "nothing.toml")


def test_the_digest_follows_the_values():
    default = RramParameters.default()
    assert parameters_digest(default) == parameters_digest(RramParameters.default())
    other = dataclasses.replace(default, read_noise=0.02)
    assert parameters_digest(other) != parameters_digest(default)
