"""Every interval holds the truth as often as it says: of the same cases as `benchmarks/coverage_of_intervals.py`."""

from __future__ import annotations

import pytest
from coverage_of_intervals import CASES, Case, accepted, covered

from labctl.analysis import estimators
from labctl.analysis.estimators import Estimate

REPEATS = 400


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=() if case.quick else pytest.mark.slow) for case in CASES]
)
def test_the_interval_holds_the_truth_at_its_nominal_rate(case: Case) -> None:
    low, high = accepted(REPEATS, case)
    assert low <= covered(case, REPEATS) <= high


def test_an_interval_that_is_too_narrow_or_too_wide_would_be_noticed() -> None:
    """Nine tenths of 95 %, 85.5 %, are outside of what is accepted, and so is always."""
    low, high = accepted(REPEATS, Case("", lambda rng: estimators.mean(rng.standard_normal(9)), 0.0))
    assert 0.9 * 0.95 < low < 0.95 < high < 1

    def shrunk(rng: object) -> Estimate:
        found = estimators.mean(rng.standard_normal(30))  # type: ignore[attr-defined]
        return Estimate(found.value, 0.7 * found.low + 0.3 * found.value, 0.7 * found.high + 0.3 * found.value, 30)

    assert covered(Case("too narrow", shrunk, 0.0), REPEATS) < low
