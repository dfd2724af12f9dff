"""Analog steps follow their table."""

from __future__ import annotations

import numpy as np
import pytest

from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.model import select
from labctl.simulated_instruments.cells.step_tables import StepTable

LEVELS, MEAN, SPREAD = (1e-3, 2e-3), (2e-6, 6e-6), (0.5e-6, 1e-6)


def change(conductance, noise, voltage=1.0, widths=1.0):
    count = len(conductance)
    ((_, where),) = select(None, count, Arena(count))
    table = StepTable.of(LEVELS, MEAN, SPREAD, voltage=1.0)
    conductance, noise = np.asarray(conductance, np.float32), np.asarray(noise, np.float32)
    return table.change(where, conductance, noise, np.float32(voltage), widths).copy()


def test_mean_and_spread_are_linear_between_levels_and_constant_beyond():
    conductance = [0.0, 1e-3, 1.5e-3, 2e-3, 9e-3]
    resolution = 6e-6 / 1000  # of the lookup
    np.testing.assert_allclose(change(conductance, np.zeros(5)), [2e-6, 2e-6, 4e-6, 6e-6, 6e-6], atol=resolution)
    raised = change(conductance, np.ones(5)) - change(conductance, np.zeros(5))
    np.testing.assert_allclose(raised, [0.5e-6, 0.5e-6, 0.75e-6, 1e-6, 1e-6], atol=resolution)


def test_wider_and_higher_pulses_step_further():
    one, wide, high = (change([1e-3], [0.0], *how)[0] for how in ((1.0, 1.0), (1.0, 3.0), (1.2, 1.0)))
    assert wide == pytest.approx(3 * one, rel=1e-5)
    assert high == pytest.approx(np.e * one, rel=1e-5)


def test_an_empty_table_is_none():
    assert StepTable.of((), (), (), 1.0) is None


@pytest.mark.parametrize(
    ("levels", "told"), [((2e-3, 1e-3), "must increase"), ((1e-3,), "as many means and spreads as levels")]
)
def test_a_wrong_table_is_refused(levels, told):
    with pytest.raises(ValueError, match=told):
        StepTable.of(levels, MEAN, SPREAD, 1.0)
