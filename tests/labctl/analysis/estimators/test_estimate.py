"""The jackknife of sums over units that are independent, whatever their samples are."""

from __future__ import annotations

import numpy as np
import pytest

from labctl.analysis import estimators


def mean(sums: np.ndarray) -> np.ndarray:
    found: np.ndarray = sums[:, 1] / sums[:, 0]
    return found


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.random.default_rng(1).normal(5, 2, 17)
    found = estimators.jackknife(mean, np.stack([np.ones(17), values], axis=1))
    expected = estimators.mean(values)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert found.n == 17


def test_the_interval_holds_the_true_mean_of_samples_that_go_together() -> None:
    rng = np.random.default_rng(2)
    held, rounds = 0, 400
    for _ in range(rounds):
        count = rng.integers(5, 15, 20)
        values = rng.normal(0, 1, 20)  # all samples of a unit are alike
        found = estimators.jackknife(mean, np.stack([count, count * values], axis=1).astype(float))
        held += found.low < 0 < found.high
    assert held / rounds == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / rounds))


def test_one_unit_gives_a_value_without_an_interval() -> None:
    found = estimators.jackknife(mean, [[4.0, 8.0]])
    assert found.value == 2.0
    assert np.isnan(found.low)
    assert found.n == 1
    assert np.isnan(estimators.jackknife(mean, np.empty((0, 2))).value)


def test_the_interval_of_what_is_positive_stays_above_0() -> None:
    sums = np.stack([np.ones(4), [1e-9, 1e-9, 1e-9, 1.0]], axis=1)
    assert estimators.jackknife(mean, sums).low < 0
    assert estimators.jackknife(mean, sums, positive=True).low > 0
