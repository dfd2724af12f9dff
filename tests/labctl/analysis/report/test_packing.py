"""Maps in 16 bits: what comes out is what went in, as near as the page says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labctl.analysis.report.packing import pack_codes, pack_numbers, unpack


@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e6, 1e6) | st.just(np.nan)))
def test_numbers_come_back_to_half_of_the_scale_and_none_as_none(values: np.ndarray) -> None:
    packed = pack_numbers(values)
    found = unpack(packed)
    assert np.array_equal(np.isnan(found), np.isnan(values))
    known = ~np.isnan(values)
    rounding = 4 * np.finfo(float).eps * np.abs(values[known])
    assert np.all(np.abs(found[known] - values[known]) <= packed["scale"] / 2 * (1 + 1e-9) + rounding)


@given(arrays(np.float64, st.integers(1, 200), elements=st.integers(0, 65534).map(float) | st.just(np.nan)))
def test_counts_are_exact(values: np.ndarray) -> None:
    assert np.array_equal(unpack(pack_numbers(values)), values, equal_nan=True)


@given(arrays(np.uint8, (7, 9)))
def test_codes_are_exact(codes: np.ndarray) -> None:
    assert np.array_equal(unpack(pack_codes(codes)).reshape(7, 9), codes)


def test_infinite_is_none_and_one_value_is_kept() -> None:
    found = unpack(pack_numbers(np.array([1.2, np.inf, -np.inf, 1.2])))
    assert np.array_equal(found, [1.2, np.nan, np.nan, 1.2], equal_nan=True)
