"""Parts of a variance and correlations are found again in samples made of them."""

from __future__ import annotations

import numpy as np
import pytest
from interval_coverage import assert_covers
from scipy.signal import lfilter

from labctl.analysis import estimators

DEVICE, CYCLE, READ = 0.4, 0.3, 0.1


def made(rng: np.random.Generator, devices: int, cycles: int, correlation: float = 0.0) -> np.ndarray:
    """(devices, cycles): devices about 5, cycles about their device, neighbours correlated."""
    noise = rng.normal(size=(devices, cycles))
    noise[:, 1:] *= np.sqrt(1 - correlation**2)
    return 5 + rng.normal(0, DEVICE, (devices, 1)) + CYCLE * lfilter([1], [1, -correlation], noise, axis=1)


def test_device_and_cycle_parts_are_told_apart() -> None:
    for components in (estimators.variance_components, estimators.robust_components):
        found = components(made(np.random.default_rng(1), 2000, 50))
        # normal theory: sd / sqrt(2 n) for n devices, and for n cycles; medians scatter 1.65 times as much
        assert found.device.value == pytest.approx(DEVICE, abs=4 * 1.65 * DEVICE / np.sqrt(2 * 2000))
        assert found.cycle.value == pytest.approx(CYCLE, abs=4 * 1.65 * CYCLE / np.sqrt(2 * 100_000))
        assert found.read is None


def test_intervals_of_the_parts_hold_also_for_correlated_cycles() -> None:
    draw = lambda rng: made(rng, 150, 40, 0.35)  # noqa: E731
    # neighbours that correlate bias the parts by about 2 rho / ((1 - rho) T) of the cycle variance: 1.4 % of its sd
    assert_covers(lambda rng: estimators.variance_components(draw(rng)).device, DEVICE, slack=0.03)
    assert_covers(lambda rng: estimators.variance_components(made(rng, 150, 40)).cycle, CYCLE, slack=0.03)


def test_intervals_of_the_robust_parts_hold() -> None:
    assert_covers(lambda rng: estimators.robust_components(made(rng, 150, 40)).device, DEVICE, slack=0.03)
    assert_covers(lambda rng: estimators.robust_components(made(rng, 150, 40)).cycle, CYCLE, slack=0.04)


def test_the_robust_parts_do_not_see_devices_that_are_far_off() -> None:
    values = made(np.random.default_rng(2), 1000, 50)
    values[:20] = 100.0
    plain, robust = estimators.variance_components(values), estimators.robust_components(values)
    assert plain.device.value > 10 * DEVICE
    # 2 % outliers on one side widen the MAD by about 3 %
    assert robust.device.value == pytest.approx(DEVICE, abs=4 * 1.65 * DEVICE / np.sqrt(2000) + 0.03 * DEVICE)


def test_missing_cycles_are_left_out() -> None:
    rng = np.random.default_rng(3)
    values = made(rng, 2000, 50)
    values[rng.random(values.shape) < 0.3] = np.nan
    found = estimators.variance_components(values)
    assert found.device.value == pytest.approx(DEVICE, abs=4 * DEVICE / np.sqrt(2 * 2000))
    assert found.cycle.value == pytest.approx(CYCLE, abs=4 * CYCLE / np.sqrt(2 * 70_000))


def test_equal_devices_have_no_part() -> None:
    found = estimators.variance_components(np.random.default_rng(4).normal(size=(200, 50)))
    assert found.device.low == 0.0
    assert found.device.value < 0.05  # the standard error of the between variance is about 1 / T sqrt(2 / n) = 0.002


def nested(rng: np.random.Generator) -> np.ndarray:
    cycles = made(rng, 60, 12)
    return cycles[..., None] + rng.normal(0, READ, (60, 12, 4))


@pytest.mark.parametrize(("part", "truth"), [("device", DEVICE), ("cycle", CYCLE), ("read", READ)])
def test_nested_parts_and_their_intervals(part: str, truth: float) -> None:
    assert_covers(lambda rng: getattr(estimators.nested_components(nested(rng)), part), truth)


def test_nested_parts_need_a_whole_table() -> None:
    with pytest.raises(ValueError, match="none missing"):
        estimators.nested_components(np.full((3, 3, 3), np.nan))


@pytest.mark.parametrize("rho", [0.0, 0.35, -0.4])
def test_lag_one_correlation_pools_series_and_its_interval_holds(rho: float) -> None:
    assert_covers(lambda rng: estimators.lag1_correlation(made(rng, 60, 60, rho)), rho)


def test_lag_one_correlation_of_one_series() -> None:
    assert_covers(lambda rng: estimators.lag1_correlation(made(rng, 1, 400, 0.5)), 0.5)


def test_lag_one_correlation_is_not_biased_by_short_series() -> None:
    found = estimators.lag1_correlation(made(np.random.default_rng(5), 20_000, 20, 0.3))
    assert found.value == pytest.approx(0.3, abs=0.01)  # without correction 0.22; what is left is of order 1 / T^2


def test_lag_one_correlation_along_another_axis_and_with_gaps() -> None:
    values = made(np.random.default_rng(6), 400, 80, 0.35)
    values[np.random.default_rng(7).random(values.shape) < 0.1] = np.nan
    found = estimators.lag1_correlation(values.T, axis=0)
    assert found.value == pytest.approx(0.35, abs=4 / np.sqrt(400 * 80 * 0.8))


@pytest.mark.parametrize("freedom", [None, 5])
def test_correlation_intervals_hold_for_heavy_tails(freedom: int | None) -> None:
    rho = 0.36

    def draw(rng: np.random.Generator) -> estimators.Estimate:
        common = np.ones(300) if freedom is None else np.sqrt(freedom / rng.chisquare(freedom, 300))
        x, y = rng.normal(size=(2, 300)) * common
        return estimators.correlation(x, rho * x + np.sqrt(1 - rho**2) * y)

    assert_covers(draw, rho, slack=0.03)  # the influence function's error is a large-sample one
