"""Parameter sets are found by name or by file, and know which cells they are for."""

from __future__ import annotations

from importlib.resources import files

import pytest

from labctl.simulated_instruments.cells.parameters import ParameterError, ParameterFile
from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.cells.technologies import Technology, make_cells
from labctl.simulated_instruments.chips.associative import AssociativeChip

BUILT_IN = sorted(
    each.name.removesuffix(".toml")
    for each in (files("labctl.data") / "cells").iterdir()
    if each.name.endswith(".toml") and ParameterFile.read(each).kind != AssociativeChip.cell_kind
)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_technology_makes_cells(name):
    cells = make_cells("A1", 64, Technology.named(name).parameters)
    assert all(len(each) == 64 for each in cells.state.values())
    assert {"pulses", "reads"} <= cells.state.keys()


def test_racetracks_are_no_cells_of_a_crossbar():
    with pytest.raises(ParameterError, match=r"\$\.chip\.kind: 'racetrack' is not one of 1T1R RRAM, PCM"):
        Technology.named("racetrack")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ParameterError, match=r"no cells 'rram_1nm': choose one of .*rram_40nm"):
        Technology.named("rram_1nm")


CALIBRATED = """
[chip]
kind = "1T1R RRAM"
base = "rram_40nm"
serial = "LAB-7-twin"

[breakdown_voltage]
value = 2.9
unit = "V"
source = "[calibrated] a forming run"
low = 2.88
high = 2.92
cells = 4096
goodness = "KS 0.02"
"""


def test_a_calibrated_chip_needs_only_what_differs_from_its_base(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text(CALIBRATED)
    technology = Technology.from_file(path)
    assert technology.serial == "LAB-7-twin"
    assert technology.parameters.breakdown_voltage == 2.9
    assert technology.parameters.set_voltage == RramParameters.default().set_voltage


def test_the_base_may_have_a_base_itself(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text(CALIBRATED.replace('base = "rram_40nm"', 'base = "rram_1t1r_64k"'))
    parameters = Technology.from_file(path).parameters
    assert parameters.breakdown_voltage == 2.9
    assert parameters.compliance_conductance == RramParameters.named("rram_1t1r_64k").compliance_conductance
    assert parameters.gate_threshold == RramParameters.default().gate_threshold


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('kind = "1T1R RRAM"', 'kind = "DRAM"', r"\$\.chip\.kind: 'DRAM' is not one of"),
        ('base = "rram_40nm"', 'base = "nothing"', "no cells 'nothing'"),
        ('base = "rram_40nm"', "", r"\$\.\w+: missing"),
        ("low = 2.88", "lowest = 2.88", r"\$\.breakdown_voltage: expected a table of value, unit and source"),
        ("value = 2.9", "value = [2.9]", r"\$\.breakdown_voltage\.value: expected a finite number"),
        ("serial = ", "serial = 7 #", r"\$\.chip\.serial: expected a text"),
    ],
)
def test_a_wrong_chip_file_is_refused_by_path(tmp_path, old, new, told):
    path = tmp_path / "chip.toml"
    path.write_text(CALIBRATED.replace(old, new))
    with pytest.raises(ParameterError, match=told):
        Technology.from_file(path)
