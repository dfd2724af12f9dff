"""Faulty cells are told from working ones, and a heavy tail is no fault."""

from __future__ import annotations

import numpy as np

from labctl.analysis.calibration import faults
from labctl.analysis.calibration.faults import Fault


def test_programmed_cells_are_sorted_by_what_is_wrong() -> None:
    rng = np.random.default_rng(1)
    target = rng.uniform(5e-6, 40e-6, 500)
    table = target[:, None] + np.array([0.3e-6, 2e-6, 4e-6]) * rng.standard_t(3, (500, 3))
    table[0] = np.nan
    table[1, 1:] = np.nan
    table[2, 0] = target[2] - 12e-6
    table[3, 0] = target[3] + 12e-6
    table[4, 2] = 150e-6
    found = faults.of_states(table, target)
    wrong = [Fault.DEAD, Fault.DEAD, Fault.STUCK_LOW, Fault.STUCK_HIGH, Fault.OUTLIER]
    assert found.kind[:5].tolist() == wrong
    assert found.usable[5:].mean() > 0.97
    assert "2 gave no reading within the converter's range" in found.note("retention")


def test_a_heavy_tail_is_no_fault() -> None:
    rng = np.random.default_rng(2)
    start = rng.uniform(10e-6, 40e-6, 2000)
    change = np.clip(1e-6 * rng.standard_t(2, 2000), -start, 15e-6)
    assert faults.of_states(np.stack([start, start + change], axis=1)).usable.all()


def test_an_array_without_a_reading_is_dead() -> None:
    assert faults.of_states(np.full((3, 2), np.nan)).count(Fault.DEAD) == 3


def test_cells_that_never_form_are_no_stuck_ones() -> None:
    found = faults.of_forming(np.array([3.4, np.nan, 3.5, 3.4]), np.array([12e-6, 1e-7, 1e-7, np.nan]))
    assert found.kind.tolist() == [Fault.NONE, Fault.NEVER_FORMED, Fault.STUCK_LOW, Fault.STUCK_HIGH]
