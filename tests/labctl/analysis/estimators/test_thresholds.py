"""A normal distribution told from how much of it lies below each setting of a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from interval_coverage import assert_covers
from scipy import stats

from labctl.analysis.estimators import normal_below

THRESHOLDS = np.linspace(0.0, 1.0, 21)


def below(rng: np.random.Generator, mean: float, sd: float, draws: int) -> np.ndarray:
    return rng.binomial(draws, stats.norm.cdf((THRESHOLDS - mean) / sd))


@pytest.mark.parametrize(("mean", "sd", "draws"), [(0.4, 0.1, 500), (0.0, 0.08, 2000), (1.0, 0.3, 200)])
def test_mean_and_sd_are_covered_also_where_half_of_it_is_out_of_reach(mean: float, sd: float, draws: int) -> None:
    tried = np.full(len(THRESHOLDS), draws)
    assert_covers(lambda rng: normal_below(THRESHOLDS, below(rng, mean, sd, draws), tried).mean, mean)
    assert_covers(lambda rng: normal_below(THRESHOLDS, below(rng, mean, sd, draws), tried).sd, sd)


def test_shares_beyond_a_threshold_are_exact_far_out() -> None:
    tried = np.full(len(THRESHOLDS), 10**9)
    found = normal_below(THRESHOLDS, np.rint(1e9 * stats.norm.cdf((THRESHOLDS - 0.5) / 0.1)), tried)
    assert found.above(1.5) == pytest.approx(stats.norm.sf(10), rel=1e-2)
    assert found.below(-0.5) == pytest.approx(stats.norm.cdf(-10), rel=1e-2)


def test_a_distribution_that_lies_between_two_thresholds_is_not_told() -> None:
    counts = np.where(THRESHOLDS < 0.52, 0, 100)
    found = normal_below(THRESHOLDS, counts, np.full(len(THRESHOLDS), 100))
    assert np.isnan([found.mean.value, found.sd.value]).all()
