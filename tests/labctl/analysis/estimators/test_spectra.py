"""Colours of noise and jumps between levels are found again in series made of them."""

from __future__ import annotations

import numpy as np
import pytest
from interval_coverage import assert_covers
from scipy.signal import lfilter

from labctl.analysis import estimators


def coloured(rng: np.random.Generator, slope: float, shape: tuple[int, int]) -> np.ndarray:
    """Series whose spectral density goes as frequency to the `slope`, standard deviation of order 1."""
    series, samples = shape
    spectrum = np.fft.rfft(rng.normal(size=(series, 2 * samples)))
    frequency = np.arange(spectrum.shape[1], dtype=float)
    frequency[0] = 1
    spectrum *= frequency ** (slope / 2)
    spectrum[:, 0] = 0
    found = np.fft.irfft(spectrum)[:, :samples]
    return found / found.std()


def jumping(rng: np.random.Generator, samples: int, dwell: float) -> np.ndarray:
    """0 or 1, staying `dwell` samples on average on either."""
    return np.cumsum(rng.random(samples) < 1 / dwell) % 2.0


def test_the_spectrum_of_white_noise_is_its_variance_over_half_the_rate() -> None:
    values = np.random.default_rng(1).normal(0, 2.0, (40, 8000))
    frequency, density = estimators.power_spectrum(values, rate=400.0)
    # 40 series of 15 half-overlapping Hann windows, about 9 independent each, at 500 frequencies
    assert density.mean() == pytest.approx(4.0 / 200.0, rel=4 / np.sqrt(40 * 9 * 500))
    assert frequency[0] == pytest.approx(3 * 0.4)
    assert frequency[-1] == 200.0


@pytest.mark.parametrize("slope", [0.0, -1.0, -1.3])
def test_slopes_of_spectra_and_their_intervals(slope: float) -> None:
    def one(rng: np.random.Generator) -> estimators.Estimate:
        frequency, density = estimators.power_spectrum(coloured(rng, slope, (1, 8192))[0], 400.0)
        return estimators.log_log_slope(frequency, density)

    found = [one(np.random.default_rng(seed)).value for seed in range(60)]
    # one series scatters by 0.03 (the interval), and leakage leaves a bias of 0.01 for the steepest
    assert np.mean(found) == pytest.approx(slope, abs=4 * 0.03 / np.sqrt(60) + 0.01)
    assert_covers(one, slope, slack=0.03)  # that bias is a third of the standard error


def test_a_slope_is_told_of_a_range_of_frequencies() -> None:
    frequency = np.geomspace(0.1, 100, 400)
    density = np.where(frequency < 5, frequency**-1, 0.2)
    assert estimators.log_log_slope(frequency, density, high=4.0).value == pytest.approx(-1.0, abs=1e-9)
    assert estimators.log_log_slope(frequency, density, low=6.0).value == pytest.approx(0.0, abs=1e-9)


def test_allan_deviation_falls_for_white_noise_and_not_for_flicker() -> None:
    rng = np.random.default_rng(2)
    time, white = estimators.allan_deviation(rng.normal(0, 3.0, (200, 4096)), rate=100.0)
    assert time[:3] == pytest.approx([0.01, 0.02, 0.04])
    expected = 3.0 / np.sqrt(time * 100.0)
    # the last has 4 averages in each of 200 series, about 3 degrees of freedom: sd 1 / sqrt(2 x 600)
    assert np.sqrt((white**2).mean(axis=0)) == pytest.approx(expected, rel=4 / np.sqrt(1200))
    _, flicker = estimators.allan_deviation(coloured(rng, -1.0, (200, 4096)), rate=100.0)
    level = np.sqrt((flicker**2).mean(axis=0))
    assert level[8] / level[2] == pytest.approx(1.0, abs=0.15)
    assert (white**2).mean(axis=0)[8] / (white**2).mean(axis=0)[2] == pytest.approx(1 / 64, rel=0.15)


def test_telegraph_noise_is_found_with_its_levels_and_stays() -> None:
    rng = np.random.default_rng(3)
    state = np.stack([jumping(rng, 4000, 40.0) for _ in range(100)])
    found = estimators.find_telegraph(5.0 + 2.0 * state + rng.normal(0, 0.3, state.shape))
    assert found.found.all()
    # a level is a mean over 2000 samples of 0.3, and the fit's rounding to 512 quantiles
    assert found.low == pytest.approx(5.0, abs=0.06)
    assert found.high == pytest.approx(7.0, abs=0.06)
    # 100 x 50 stays on either level, exponential
    assert found.low_dwell.mean() == pytest.approx(40.0, rel=4 / np.sqrt(5000) + 0.03)
    assert found.high_dwell.mean() == pytest.approx(40.0, rel=4 / np.sqrt(5000) + 0.03)


def test_a_rare_level_is_found() -> None:
    rng = np.random.default_rng(4)
    state = np.zeros((50, 4000))
    for row in state:
        for start in rng.integers(100, 3800, 8):
            row[start : start + 25] = 1  # 5 % of the time
    found = estimators.find_telegraph(1.0 + state + rng.normal(0, 0.1, state.shape))
    assert found.found.mean() > 0.9


@pytest.mark.parametrize("slope", [0.0, -1.0, -2.0])
def test_noise_and_drift_are_not_taken_for_jumps(slope: float) -> None:
    values = coloured(np.random.default_rng(5), slope, (300, 4000))
    assert estimators.find_telegraph(values).found.mean() <= 0.01
    drift = np.linspace(0, 5, 4000) + 0.3 * lfilter([1], [1, -0.5], values, axis=1)
    assert estimators.find_telegraph(drift).found.mean() <= 0.01


@pytest.mark.parametrize("estimate", [estimators.power_spectrum, estimators.allan_deviation])
def test_too_few_samples_are_refused(estimate: object) -> None:
    with pytest.raises(ValueError, match="samples at least"):
        estimate(np.zeros(3), 1.0)  # type: ignore[operator]
