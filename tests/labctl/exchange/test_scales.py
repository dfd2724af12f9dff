"""Readings kept as codes."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from labctl.exchange.scales import BITS, codes_for, scale_for

FILL = np.iinfo(np.uint32).max


@example(np.array([5e-324]))
@example(np.array([-2e-311, 1e-310]))
@given(arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e-3, 1e-2)))
def test_a_reading_is_kept_to_a_ten_millionth_of_the_full_scale(values: np.ndarray) -> None:
    scale = scale_for(values)
    codes = codes_for(values, scale)
    back = scale.offset + scale.step * codes.astype(np.float64)
    assert np.abs(back - values).max() <= 1e-7 * max(np.abs(values).max(), 1e-6)


def test_the_largest_reading_does_not_look_saturated_even_in_single_precision() -> None:
    values = np.linspace(-1e-7, 4e-5, 1001)
    scale = scale_for(values)
    rounded = float(np.float32(values.max()))
    assert codes_for(values, scale).max() < scale.top
    assert (rounded - scale.offset) / scale.step < scale.top - 1


def test_what_is_not_a_number_has_the_code_of_not_read() -> None:
    scale = scale_for(np.array([1e-6, np.nan]))
    codes = codes_for(np.array([np.nan, np.inf, 1e-6]), scale)
    assert (codes == FILL).tolist() == [True, True, False]
    assert FILL > (1 << BITS) - 1
