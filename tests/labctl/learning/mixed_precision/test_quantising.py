"""Codes of what drives a product and of what it gives: nearest steps, a scale for each vector, a range that follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labctl.errors import LabctlError, UsageError
from labctl.learning.mixed_precision.quantising import FULL_CODE, Converter, codes, quantised, top_level

BITS = st.one_of(st.none(), st.integers(2, 16))
VALUES = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 6)),
    elements=st.builds(
        lambda sign, value: sign * value, st.sampled_from([-1, 0, 1]), st.floats(2.0**-80, 2.0**40, width=32)
    ),
)


@given(VALUES, BITS)
def test_a_value_is_driven_within_half_a_step_of_its_vectors_largest(values, bits):
    driven, worth = quantised(values, bits)
    top = top_level(16 if bits is None else bits)
    assert np.array_equal(driven, np.rint(driven))
    assert np.abs(driven).max() <= top
    largest = np.abs(values.astype(np.float64)).max(axis=1, keepdims=True)
    error = np.abs(driven.astype(np.float64) * worth - values)
    assert np.all(error <= largest * (0.5 / top + 4 * np.finfo(np.float32).eps))
    full = np.abs(driven).max(axis=1)
    assert np.array_equal(full, np.where(largest[:, 0] > 0, top, 0))


@given(VALUES, BITS)
def test_the_codes_of_a_board_are_the_same_values_in_whole_codes(values, bits):
    driven, worth = quantised(values, bits)
    found, code_worth = codes(values, bits)
    assert found.dtype == np.int16
    assert np.abs(found.astype(int)).max() <= FULL_CODE
    np.testing.assert_allclose(found * code_worth, driven * worth, rtol=1e-6)
    assert len({int(code) % (FULL_CODE // top_level(bits or 16)) for code in found.ravel()}) == 1


@given(VALUES)
def test_what_a_vector_is_driven_by_does_not_depend_on_its_batch(values):
    together, worth = quantised(values, 8)
    alone = [quantised(vector[None], 8) for vector in values]
    assert np.array_equal(together, np.concatenate([driven for driven, _ in alone]))
    assert np.array_equal(worth, np.concatenate([each for _, each in alone]))


def test_tiny_values_are_driven_like_large_ones():
    driven, worth = quantised(np.array([[1e-36, -0.5e-36, 0]], np.float32), 8)
    assert driven.tolist() == [[127, -64, 0]]
    np.testing.assert_allclose(worth, [[1e-36 / 127]], rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    with pytest.raises(LabctlError, match="diverged"):
        quantised(np.array([[0.5, value], [1, 2]], np.float32), 8)


@pytest.mark.parametrize("bits", [0, 1, 17])
def test_bits_that_no_code_has_are_refused(bits):
    with pytest.raises(UsageError, match=f"a converter of {bits} bits"):
        Converter(bits)
    with pytest.raises(UsageError, match=f"a converter of {bits} bits"):
        quantised(np.ones((1, 2), np.float32), bits)


@given(VALUES, st.integers(2, 16))
def test_a_first_product_fits_into_half_the_range_and_is_converted_to_the_nearest_code(values, bits):
    converter, given_values = Converter(bits), values.copy()
    worth = converter.convert(values)
    assert np.array_equal(values, np.rint(values))
    largest = np.abs(given_values).max()
    assert converter.full_scale == 2 * float(largest)
    assert np.all(np.abs(values * worth - given_values) <= (0.5 + 1e-3) * worth)
    assert (converter.conversions, converter.saturated) == (values.size, 0)


def test_a_product_beyond_the_range_is_clipped_and_widens_it_for_the_next():
    converter = Converter(8)
    converter.convert(np.array([[1.0]], np.float32))
    values = np.array([[5.0, -3.0, 1.0]], np.float32)
    worth = converter.convert(values)
    np.testing.assert_allclose(values * worth, [[2, -2, 1]], atol=worth / 2)
    assert (converter.saturated, converter.full_scale) == (2, 3.0)
    again = np.array([[2.9]], np.float32)
    worth = converter.convert(again)
    np.testing.assert_allclose(again * worth, [[2.9]], atol=worth / 2)
    assert converter.saturated == 2


def test_a_product_of_nothing_sets_no_range():
    converter = Converter(8)
    values = np.zeros((1, 3), np.float32)
    converter.convert(values)
    assert not values.any()
    assert converter.full_scale == 0
