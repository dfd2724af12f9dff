"""What a mapping may say, and the sentence where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labctl.errors import MappingError
from labctl.exchange.mapping import Retention, format_of, mapping_from, read_mapping

RETENTION: dict[str, Any] = {
    "measurement": "retention",
    "chip": "X-1",
    "technology": "1T1R RRAM",
    "conductance": {"at": "g", "unit": "uS"},
    "time": {"values": [0, 1], "unit": "h"},
}


def test_a_mapping_is_of_the_kind_of_its_measurement() -> None:
    found = mapping_from(RETENTION)
    assert isinstance(found, Retention)
    assert found.time.values == [0, 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"measurement": "relaxation"}, r"\$\.measurement: one of retention, read-noise.* not 'relaxation'"),
        ({"conductance": {"at": "g", "units": "uS"}}, r"\$\.conductance: object contains unknown field `units`; there"),
        ({"conductance": {"unit": "uS"}}, r"\$\.conductance: say either `at`"),
        ({"conductance": {"at": ["a", "b"], "unit": "uS"}}, r"\$\.conductance: `at` names several, so say `axes`"),
        ({"conductance": {"at": "g", "axes": ["cell", "hour"]}}, r"\$\.conductance\.axes\[1\]: invalid enum value"),
        ({"conductance": {"at": "g", "pick": {"time": "a:b"}}}, r"\$\.conductance: a range of `pick` is written"),
        ({"conductance": {"at": "g", "scale": 0}}, r"\$\.conductance: scale must be"),
        ({"time": {"at": "t", "read_voltage": "0.2 A"}}, r"\$\.time\.read_voltage: '0\.2 A' is not in V"),
        ({"cells": {"row": {"at": "r"}}}, r"\$\.cells: say either `address`, or `row` and `col`"),
        ({"array": {"rows": 0, "cols": 4}}, r"\$\.array: rows and cols must be at least 1"),
        ({"temperature": "85 C"}, r"\$\.temperature: '85 C' is not in K"),
        ({"chip": " "}, r"\$: `chip` and `technology` must not be empty"),
        ({"gate": {"values": 1}}, r"\$: object contains unknown field `gate`"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MappingError, match=sentence):
        mapping_from(RETENTION | change)


def test_a_pulse_has_an_amplitude_and_a_width_or_neither() -> None:
    tables = {"measurement": "pulse-response", "chip": "X", "technology": "Y"}
    with pytest.raises(MappingError, match=r"\$\.set: a pulse has an amplitude and a width"):
        mapping_from(tables | {"set": {"at": "s", "amplitude": "1 V"}})
    with pytest.raises(MappingError, match=r"\$: say `set` or `reset` or both"):
        mapping_from(tables)


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="cannot be read as a mapping: No such file"):
        read_mapping(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("measurement = retention")
    with pytest.raises(MappingError, match=r"bad\.toml: not TOML"):
        read_mapping(tmp_path / "bad.toml")


def test_the_format_follows_from_the_name_or_is_asked_for() -> None:
    mapping = mapping_from(RETENTION)
    assert format_of(mapping, Path("a.H5")) == "hdf5"
    with pytest.raises(MappingError, match=r"\$\.file\.format"):
        format_of(mapping, Path("a.bin"))
    assert format_of(mapping_from(RETENTION | {"file": {"format": "csv"}}), Path("a.bin")) == "csv"
