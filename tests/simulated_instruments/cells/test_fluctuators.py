"""Fluctuators persist, and add up to 1/f noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.fluctuators import COUNT, TIME_CONSTANTS, Fluctuators
from labctl.simulated_instruments.cells.model import Moment, select

CELLS = 4096
SIGMAS = 5.0


def shifts(model, at, cells=CELLS, slower_than=0.0):
    ((_, where),) = select(None, cells, Arena(cells))
    return model.shift(where, at, slower_than).copy()


def alike(amplitude=0.01, serial="A1"):
    return Fluctuators(serial, np.full((COUNT, CELLS), amplitude, np.float32))


def test_the_same_moment_shows_the_same_noise():
    np.testing.assert_array_equal(shifts(alike(), Moment(3.7)), shifts(alike(), Moment(3.7)))


def test_a_moment_later_hardly_anything_has_moved():
    """A tenth of the fastest time constant: one cell in 20 has seen its fastest fluctuator flip."""
    first, later = shifts(alike(), Moment(10.0)), shifts(alike(), Moment(10.0 + TIME_CONSTANTS[0] / 10))
    moved = np.mean(first != later)
    expected = 0.5 * 0.1  # half of those whose state is drawn anew
    assert moved == pytest.approx(expected, abs=SIGMAS * np.sqrt(expected / CELLS) + 0.005)


def test_it_has_no_mean_and_the_variance_of_its_parts():
    found = np.array([shifts(alike(), Moment(float(each))) for each in np.arange(50) * 1e6])
    assert abs(found.mean()) < SIGMAS * 0.01 * np.sqrt(COUNT / found.size)
    assert found.var() == pytest.approx(COUNT * 1e-4, rel=SIGMAS * np.sqrt(2 / found.size))


def test_what_is_left_out_is_given_as_variance():
    ((_, where),) = select(None, CELLS, Arena(CELLS))
    model, cut = alike(), 0.1
    fast = sum(each <= cut for each in TIME_CONSTANTS)
    np.testing.assert_allclose(model.variance(where, cut), fast * 1e-4, rtol=1e-5)
    steady = [shifts(model, Moment(5.0 + each), slower_than=cut) for each in (0.0, 0.01)]
    assert np.mean(steady[0] != steady[1]) < 0.05


@pytest.mark.parametrize("excess", [0.0, 0.3])
def test_the_spectrum_falls_as_told(excess):
    """Mean spectrum of many cells, fitted from 0.01 to 10 Hz: slope 1 + excess, ripple of the few scales allowed."""
    growth = np.array(TIME_CONSTANTS) ** (excess / 2)
    model = Fluctuators("A1", (0.01 * growth[:, np.newaxis] * np.ones((1, 256))).astype(np.float32))
    rate, samples = 100.0, 1 << 15
    trace = np.array([shifts(model, Moment(1000.0 + n / rate), cells=256) for n in range(samples)])
    frequency, power = signal.welch(trace, rate, nperseg=1 << 14, axis=0)
    power = power.mean(axis=1)
    fitted = (frequency > 0.01) & (frequency < 10)
    bins = np.geomspace(0.01, 10, 13)
    which = np.digitize(frequency[fitted], bins)
    logs = np.array([np.log(power[fitted][which == each].mean()) for each in range(1, 13) if (which == each).any()])
    centres = [np.log(frequency[fitted][which == each]).mean() for each in range(1, 13) if (which == each).any()]
    slope = -np.polyfit(centres, logs, 1)[0]
    assert slope == pytest.approx(1 + excess, abs=0.15)


def test_each_cell_has_its_turn_at_its_own_time():
    """A batch whose turns take long: the noise of the last cell is that of its own moment."""
    period = 0.01
    together = shifts(alike(), Moment(50.0, period))
    alone = shifts(alike(), Moment(50.0 + period * (CELLS - 1)))
    first = shifts(alike(), Moment(50.0))
    assert together[-1] == alone[-1]
    assert np.mean(together != first) > 0.3


def test_serials_are_independent():
    first, other = (shifts(alike(serial=each), Moment(7.0)) for each in ("A1", "A2"))
    assert abs(np.corrcoef(first, other)[0, 1]) < SIGMAS / np.sqrt(CELLS)
