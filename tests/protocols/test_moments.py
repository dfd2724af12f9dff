"""Running mean and spread are those of all values at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from labctl.protocols.moments import RunningMoments


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 99))
def test_in_any_portions_it_is_as_all_at_once(portions: list[int], seed: int) -> None:
    """Values that vary by a millionth of their mean, which sums of squares in float32 would lose."""
    values = np.random.default_rng(seed).normal(1e-5, 1e-11, (sum(portions), 3)).astype(np.float32)
    moments = RunningMoments(3)
    for portion in np.split(values, np.cumsum(portions)[:-1]):
        moments.add(portion)
    assert moments.count == len(values)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0, dtype=np.float64), rtol=1e-12)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1, dtype=np.float64)
        np.testing.assert_allclose(moments.spread, spread, rtol=1e-6, atol=1e-18)
    else:
        assert np.isnan(moments.spread).all()
