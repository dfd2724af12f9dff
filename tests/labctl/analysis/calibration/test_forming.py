"""Forming distributions are given back from a ramp, with the cells that broke down early or never."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_up import covered, quiet_base

from labctl.analysis.calibration import forming
from labctl.errors import RecordingError

BASE = quiet_base(breakdown_cycle_spread=0.0)


def formed(
    cells: int, rng: np.random.Generator, early: float = 0.0, never: float = 0.0, gates: tuple[float, ...] = (1.2,)
) -> xr.Dataset:
    """A ramp from 2.4 V in steps of 0.1 V, on cells of 3.4 V, 0.15 V with a tail of 0.3 V; exponent 1.3."""
    breakdown = rng.normal(3.4, 0.15, cells) - (rng.random(cells) < early) * rng.exponential(0.3, cells)
    ramp = np.round(np.arange(2.4, 4.05, 0.1), 3)
    step = np.searchsorted(ramp, breakdown)
    voltage = np.where(step < len(ramp), ramp[np.minimum(step, len(ramp) - 1)], np.nan)
    voltage[rng.random(cells) < never] = np.nan
    gate = np.array(gates)[np.arange(cells) % len(gates)]
    conductance = 12e-6 * ((gate - 0.5) / 0.7) ** 1.3 * np.exp(rng.normal(0, 0.15, cells))
    return xr.Dataset(
        {
            "forming_voltage": ("cell", voltage),
            "conductance": ("cell", np.where(np.isfinite(voltage), conductance, 1e-7)),
            "gate": ("cell", gate),
        },
        attrs={"measurement": "forming"},
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_ramp_gives_back_the_distribution(seed: int) -> None:
    """Five fits of six parameters: at 95 % each, three or more misses in a fit have a probability of 1 in 1,000 a fit
    where they are independent."""
    found = forming.fit(formed(4000, np.random.default_rng(seed), early=0.1, never=0.03), BASE).parameters
    truth = {
        "breakdown_voltage": 3.4,
        "breakdown_device_spread": 0.15,
        "breakdown_early_fraction": 0.1,
        "breakdown_early_tail": 0.3,
        "unformable_fraction": 0.03,
        "compliance_conductance": 12e-6,
    }
    missed = [name for name, value in truth.items() if not covered(found[name], value)]
    assert len(missed) <= 2, missed


def test_no_tail_is_invented() -> None:
    found = forming.fit(formed(2000, np.random.default_rng(9)), BASE)
    assert found.parameters["breakdown_early_fraction"].value == 0
    assert found.parameters["unformable_fraction"].value == 0
    assert "breakdown_early_tail" not in found.parameters


def test_several_gates_give_the_exponent() -> None:
    found = forming.fit(formed(3000, np.random.default_rng(10), gates=(0.9, 1.2, 1.8)), BASE).parameters
    assert covered(found["gate_exponent"], 1.3)
    assert covered(found["compliance_conductance"], 12e-6)


def test_one_gate_leaves_the_exponent_to_the_base() -> None:
    found = forming.fit(formed(1000, np.random.default_rng(11), gates=(1.5,)), BASE).parameters
    assert "gate_exponent" not in found
    expected = 12e-6 * (1.0 / 0.7) ** (1.3 - 1.5)
    assert float(found["compliance_conductance"].value) == pytest.approx(expected, rel=0.03)
    assert "exponent 1.5 of rram_40nm" in found["compliance_conductance"].source


def test_the_spread_of_formed_cells_is_split_as_in_the_base() -> None:
    found = forming.fit(formed(4000, np.random.default_rng(12)), BASE).parameters
    parts = [found[f"compliance_{name}_spread"] for name in ("device", "cycle")]
    whole = np.hypot(*(float(each.value) for each in parts))
    assert whole == pytest.approx(0.15, rel=3.3 / np.sqrt(2 * 4000))
    assert {each.tag for each in parts} == {"assumed"}


def test_faulty_cells_are_counted_apart() -> None:
    data = formed(1000, np.random.default_rng(13), never=0.01)
    assert np.isnan(data["forming_voltage"].values[:8]).sum() == 0
    conductance = data["conductance"].values.copy()
    conductance[:5], conductance[5:8] = 5e-8, 3e-4
    found = forming.fit(data.assign(conductance=("cell", conductance)), BASE)
    never = int(np.isnan(data["forming_voltage"].values).sum())
    counts = f"{never} never formed, 5 stuck low, 3 stuck high"
    assert found.notes[0] == f"forming: {992 - never} of 1000 cells used; {counts}"
    assert not {"stuck_low_fraction", "stuck_high_fraction"} & found.parameters.keys()
    assert any("stuck_high_fraction are rram_40nm's" in note for note in found.notes)


def test_too_few_formed_cells_are_one_sentence() -> None:
    with pytest.raises(RecordingError, match=r"of 1000 cells formed; a fit needs 30"):
        forming.fit(formed(1000, np.random.default_rng(14), never=0.99), BASE)
