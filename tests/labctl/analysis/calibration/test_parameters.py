"""What a fit starts from."""

from __future__ import annotations

import dataclasses

import pytest

from labctl.analysis.calibration.parameters import Base
from labctl.errors import UsageError
from labctl.simulated_instruments.cells.rram_parameters import RramParameters


@pytest.mark.parametrize("name", ["rram_40nm", "rram_1t1r_64k", "rram_analog"])
def test_a_base_has_the_values_that_its_chips_are_made_with(name: str) -> None:
    """Also those that its file leaves to a base of its own."""
    base, made = Base.load(name), dataclasses.asdict(RramParameters.named(name))
    assert base.kind == "1T1R RRAM"
    assert base.values.keys() == made.keys()
    for each in ("gate_reference", "breakdown_voltage", "compliance_conductance", "read_noise"):
        assert base.number(each) == made[each]


def test_an_unknown_base_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no such set of cell parameters; there are: .*rram_40nm"):
        Base.load("rram_1nm")
