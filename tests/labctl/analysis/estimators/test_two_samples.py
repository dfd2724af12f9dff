"""Differences between two samples, whole and by quantile."""

from __future__ import annotations

import numpy as np
import pytest
from interval_coverage import assert_covers
from scipy import stats

from labctl.analysis import estimators


def test_the_distance_is_scipys_also_with_equal_values() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=300), rng.normal(0.3, 1.0, 200)
    assert estimators.ks_distance(x, y).value == pytest.approx(stats.ks_2samp(x, y).statistic)
    x, y = np.round(x), np.round(y)
    assert estimators.ks_distance(x, y).value == pytest.approx(stats.ks_2samp(x, y).statistic)


def test_the_interval_of_the_distance_holds() -> None:
    truth = float(2 * stats.norm.cdf(0.5) - 1)  # of two normal distributions one standard deviation apart
    # the largest of many correlated differences is biased upwards by about half its standard error
    assert_covers(
        lambda rng: estimators.ks_distance(rng.normal(size=200), rng.normal(1.0, 1.0, 200)), truth, slack=0.03
    )


def test_equal_distributions_have_a_distance_near_zero_and_any_probability() -> None:
    rng = np.random.default_rng(2)
    pairs = [(rng.normal(size=200), rng.normal(size=200)) for _ in range(200)]
    probabilities = [estimators.ks_probability(x, y) for x, y in pairs]
    # uniform: a share p of them below p, within 3.5 binomial deviations
    assert np.mean(np.array(probabilities) < 0.2) == pytest.approx(0.2, abs=3.5 * np.sqrt(0.16 / 200))
    assert np.mean([estimators.ks_distance(x, y).low < 0.03 for x, y in pairs[:50]]) > 0.9


@pytest.mark.parametrize(("probability", "sigma"), [(0.05, 1.5), (0.5, 1.0), (0.95, 2.0)])
def test_quantile_differences_and_their_intervals(probability: float, sigma: float) -> None:
    truth = float(1.0 + (sigma - 1.0) * stats.norm.ppf(probability))

    def draw(rng: np.random.Generator) -> estimators.Estimate:
        return estimators.quantile_differences(rng.normal(size=250), rng.normal(1.0, sigma, 400), [probability])[0]

    assert_covers(draw, truth, slack=0.02)
