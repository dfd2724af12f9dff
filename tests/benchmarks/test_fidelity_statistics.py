"""The statistics of the fidelity table find what was put in, within their sampling errors."""

from __future__ import annotations

import numpy as np
import pytest
from fidelity_statistics import (
    beyond_three_sigma,
    device_and_cycle,
    lag_one,
    relative_spread,
    robust_sigma,
    small_signal,
    spectrum_slope,
    steps_against_level,
)

SIGMAS = 5.0  # of sampling error allowed


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_robust_sigma_of_normals_is_their_sigma_and_does_not_mind_outliers(rng):
    values = rng.normal(3, 2, 40_000)
    error = SIGMAS * 1.17 / np.sqrt(len(values))  # of a median absolute deviation, relative: 1.17 / sqrt(n)
    assert robust_sigma(values) == pytest.approx(2, rel=error)
    values[:100] = 1e6
    assert robust_sigma(values) == pytest.approx(2, rel=error + 0.01)


def test_tails_of_normals_are_a_normals(rng):
    n = 100_000
    assert abs(beyond_three_sigma(rng.normal(1, 5, n)) - 0.0027) < SIGMAS * np.sqrt(0.0027 / n)


def test_device_and_cycle_spread_are_told_apart(rng):
    cells, cycles = 4000, 20
    values = rng.normal(0, 0.3, (cells, 1)) + rng.normal(0, 0.5, (cells, cycles))
    device, cycle = device_and_cycle(values)
    assert cycle == pytest.approx(0.5, rel=SIGMAS / np.sqrt(2 * cells * cycles))
    variance_of_means = 0.3**2 + 0.5**2 / cycles
    assert device == pytest.approx(0.3, rel=SIGMAS * variance_of_means / 0.3**2 / np.sqrt(2 * cells))


def test_lag_one_is_the_correlation_of_an_autoregression(rng):
    cells, cycles, memory = 500, 2000, 0.35
    values = np.zeros((cells, cycles))
    for cycle in range(1, cycles):
        values[:, cycle] = memory * values[:, cycle - 1] + rng.normal(size=cells)
    bias = (1 + 4 * memory) / cycles  # of a row's estimate (Marriott and Pope, 1954)
    assert abs(lag_one(values) - memory) < SIGMAS / np.sqrt(cells * cycles) + bias


def test_relative_spread_of_steady_noise_is_the_same_in_any_window(rng):
    values = 5 * (1 + 0.01 * rng.normal(size=(10, 40_000)))
    for samples in (400, 4000):
        found = relative_spread(values, samples)
        assert np.all(np.abs(found / 0.01 - 1) < SIGMAS / np.sqrt(2 * values.shape[1]) + 1 / samples)


@pytest.mark.parametrize("slope", [0.0, 1.0, 1.5])
def test_the_slope_of_a_spectrum_is_found(rng, slope):
    """Noise shaped in its spectrum; 24 bins, the lowest of few periodograms, fix the slope to about 0.03."""
    n, rate = 1 << 17, 400.0
    frequency = np.fft.rfftfreq(n, 1 / rate)
    shape = np.where(frequency > 0, np.maximum(frequency, 1e-9) ** (-slope / 2), 0)
    values = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) * shape)
    assert spectrum_slope(values, rate) == pytest.approx(slope, abs=0.15)


def test_steps_are_sorted_by_where_they_begin():
    trains = np.array([[1.0, 1.5, 2.5, np.nan], [2.0, 4.0, np.nan, np.nan]])
    mean, spread, count = steps_against_level(trains, np.array([1.0, 2.0, 3.0]))
    assert mean.tolist() == [0.75, 2.0]
    assert count.tolist() == [2, 1]
    assert spread[0] == 0.25
    assert np.isnan(spread[1])


def test_offset_conductance_and_curvature_of_a_cubic_are_found():
    volts = np.linspace(0.05, 0.35, 7)
    currents = np.array([[-2e-6], [1e-6]]) + np.array([[5e-5], [1e-4]]) * (volts + np.array([[0.5], [0.1]]) * volts**3)
    offset, conductance, curvature = small_signal(volts, currents)
    assert offset == pytest.approx([-2e-6, 1e-6])
    assert conductance == pytest.approx([5e-5, 1e-4])
    assert curvature == pytest.approx([0.5, 0.1])
