"""Centre, spread, quantiles and shares of samples of known distributions, and intervals that hold as often as said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from interval_coverage import assert_covers
from scipy import stats

from labctl.analysis import estimators
from labctl.analysis.estimators import Estimate

Draw = Callable[[np.random.Generator, int], np.ndarray]
NORMAL: Draw = lambda rng, n: rng.normal(3.0, 2.0, n)  # noqa: E731
HEAVY: Draw = lambda rng, n: 3.0 + rng.standard_t(5, n)  # noqa: E731
SKEWED: Draw = lambda rng, n: rng.lognormal(0.0, 0.5, n)  # noqa: E731


@pytest.mark.parametrize("probability", [0.01, 0.25, 0.5, 0.95])
def test_quantile_intervals_hold_whatever_the_distribution(probability: float) -> None:
    truth = float(stats.lognorm(0.5).ppf(probability))
    # order statistics are discrete: at n p = 5 the interval holds up to 98 %
    assert_covers(lambda rng: estimators.quantile(SKEWED(rng, 500), probability), truth, conservative=True)


def test_a_quantile_is_numpys() -> None:
    sample = np.random.default_rng(1).normal(size=501)
    assert estimators.median(sample).value == np.median(sample)
    assert estimators.quantile(sample, 0.9).value == np.quantile(sample, 0.9)


def test_the_interval_of_an_extreme_quantile_of_few_samples_is_open() -> None:
    found = estimators.quantile(np.arange(20.0), 0.01)
    assert found.low == -np.inf
    assert found.high < 5


@pytest.mark.parametrize(
    ("draw", "truth"), [(NORMAL, 2.0), (HEAVY, np.sqrt(5 / 3)), (SKEWED, stats.lognorm(0.5).std())]
)
def test_intervals_of_the_standard_deviation_hold_for_heavy_tails(draw: Draw, truth: float) -> None:
    # Bonett (2006, table 1) finds 0.91 to 0.93 for skewed and heavy-tailed samples of this size
    slack = 0.0 if draw is NORMAL else 0.03
    assert_covers(lambda rng: estimators.standard_deviation(draw(rng, 400)), float(truth), slack=slack)


def test_the_mean_and_its_interval() -> None:
    assert_covers(lambda rng: estimators.mean(NORMAL(rng, 30)), 3.0)


def test_robust_spread_is_the_standard_deviation_of_normal_samples_and_its_interval_holds() -> None:
    sample = NORMAL(np.random.default_rng(2), 40_000)
    # the standard error of the MAD is 1.166 sd / sqrt(n) (Hall and Welsh): 4 of them
    assert estimators.robust_spread(sample).value == pytest.approx(2.0, abs=4 * 1.166 * 2 / 200)
    assert_covers(lambda rng: estimators.robust_spread(NORMAL(rng, 200)), 2.0, conservative=True)
    truth = float(stats.t(5).ppf(0.75)) * estimators.MAD_TO_SD
    assert_covers(lambda rng: estimators.robust_spread(HEAVY(rng, 200)), truth, conservative=True)


def test_robust_spread_ignores_a_tenth_of_outliers() -> None:
    rng = np.random.default_rng(3)
    sample = NORMAL(rng, 4000)
    sample[:400] = 1e6 * rng.choice([-1, 1], 400)
    # the median deviation is then the one of probability 0.5 / 0.9 of the rest: 0.765 / 0.674 of the sd
    truth = 2.0 * stats.norm.ppf(0.5 + 0.25 / 0.9) * estimators.MAD_TO_SD
    assert estimators.robust_spread(sample).value == pytest.approx(truth, abs=4 * 1.166 * 2 / np.sqrt(3600))


@pytest.mark.parametrize("share", [0.02, 0.4, 0.998])
def test_wilsons_interval_holds_near_the_ends_too(share: float) -> None:
    # Wilson's coverage oscillates with n p; Brown, Cai and DasGupta find it within 0.03 of nominal on average
    assert_covers(lambda rng: estimators.fraction(int(rng.binomial(300, share)), 300), share, slack=0.03)


def test_wilsons_interval_is_the_published_one() -> None:
    found = estimators.fraction(10, 100)  # Wilson (1927): 0.0552 to 0.1744
    assert (found.low, found.high) == pytest.approx((0.0552, 0.1744), abs=5e-5)
    none = estimators.fraction(0, 50)
    assert none.low == 0.0
    assert none.high == pytest.approx(3.8415 / (50 + 3.8415), rel=1e-4)


def test_tails_beyond_three_deviations() -> None:
    n = 100_000
    normal = estimators.tail_fraction(np.random.default_rng(4).normal(size=n))
    heavy = estimators.tail_fraction(np.random.default_rng(5).standard_t(3, n))
    # standard error of 0.27 % of 100,000: 0.016 %
    assert normal.value == pytest.approx(0.0027, abs=4 * 0.00016)
    assert heavy.low > 0.01


def test_bootstrap_intervals_hold() -> None:
    assert_covers(lambda rng: estimators.bootstrap(np.median, NORMAL(rng, 80), repeats=200), 3.0, slack=0.03)


@pytest.mark.parametrize(
    "estimate",
    [
        estimators.mean,
        estimators.median,
        estimators.standard_deviation,
        estimators.robust_spread,
        estimators.tail_fraction,
        lambda sample: estimators.fraction(0, len(sample)),
        lambda sample: estimators.lag1_correlation(sample),
        lambda sample: estimators.correlation(sample, sample),
        lambda sample: estimators.ks_distance(sample, sample),
        lambda sample: estimators.quantile_differences(sample, sample, [0.5])[0],
        lambda sample: estimators.variance_components(sample[:, None]).device,
        lambda sample: estimators.robust_components(sample[:, None]).cycle,
    ],
)
def test_an_empty_sample_says_nothing(estimate: Callable[[np.ndarray], Estimate]) -> None:
    found = estimate(np.empty(0))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_readings_that_are_missing_are_left_out() -> None:
    sample = np.array([1.0, np.nan, 3.0, 2.0, np.inf, 4.0, 5.0])
    assert estimators.median(sample).value == 3.0
    assert estimators.mean(sample).n == 5
    assert estimators.robust_spread(sample).value == pytest.approx(estimators.MAD_TO_SD)
