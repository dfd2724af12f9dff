"""Wilson's interval of a proportion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labctl.proportions import wilson_interval


@given(n=st.integers(1, 100_000), part=st.floats(0, 1), confidence=st.sampled_from([0.68, 0.95, 0.999]))
def test_it_is_that_of_scipy(n: int, part: float, confidence: float) -> None:
    count = round(part * n)
    known = stats.binomtest(count, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(count, n, confidence) == pytest.approx((known.low, known.high), abs=1e-12)


def test_none_and_all_end_where_a_proportion_does() -> None:
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
