from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.array import BitProducts, Geometry, Operation, PulseLimits, Readout, Scale

scales = st.builds(
    Scale,
    step=st.floats(1e-12, 1.0),
    offset=st.floats(-1.0, 1.0).map(lambda x: round(x, 3)),
    bits=st.integers(1, 14),
    unit=st.just("V"),
)


@given(scales, st.data())
def test_codes_of_values_of_codes_are_the_codes(scale: Scale, data: st.DataObject) -> None:
    exact = Scale(scale.step, scale.offset if abs(scale.offset) < 100 * scale.step else 0.0, scale.bits, "V")
    codes = np.array(data.draw(st.lists(st.integers(0, exact.top), max_size=20)), np.uint16)
    np.testing.assert_array_equal(exact.codes(exact.values(codes)), codes)


@given(st.floats(-10, 20))
def test_a_value_has_the_nearest_code_or_none(value: float) -> None:
    scale = Scale(0.01, 0.5, 8, "V")
    if -0.005 < value - 0.5 < 2.555:
        assert abs(0.5 + 0.01 * int(scale.codes(value)) - value) <= 0.005 * (1 + 1e-9)
    elif not -0.0051 < value - 0.5 < 2.5551:
        with pytest.raises(ValueError, match=r"outside the converter's range of 0\.5 to 3\.05 V"):
            scale.codes([1.0, value])


def test_a_converter_of_many_bits_keeps_all_of_them() -> None:
    scale = Scale(1e-14, 0.0, 31, "S")
    codes = scale.codes([1e-9, 2.1e-5])
    assert codes.tolist() == [100_000, 2_100_000_000]
    # Values are single precision: half a unit in the last of 24 bits.
    np.testing.assert_allclose(scale.values(codes), [1e-9, 2.1e-5], rtol=2**-24)


def test_nan_has_no_code() -> None:
    with pytest.raises(ValueError, match="outside the converter's range"):
        Scale(1.0, 0.0, 8, "V").codes([float("nan")])


def test_shapes_survive_conversion() -> None:
    scale = Scale(1.0, 0.0, 8, "V")
    assert scale.values(np.zeros((2, 3), np.uint16)).shape == scale.codes(np.zeros((2, 3))).shape == (2, 3)
    assert scale.values(5).shape == ()


def test_a_readout_is_in_siemens_and_knows_where_it_is_saturated() -> None:
    scale = Scale(1e-8, -1e-6, 14, "S")
    codes = np.array([[100, 16_383]], np.uint16)
    readout = Readout(np.array([3, 4], np.uint32), codes, scale, 0.0, 4e-6)
    np.testing.assert_allclose(readout.conductance, [[0.0, 16_383e-8 - 1e-6]], atol=1e-12)
    np.testing.assert_array_equal(readout.saturated, [[False, True]])


def test_each_operation_has_its_own_highest_voltage() -> None:
    limits = PulseLimits(max_form_voltage=3.0, max_reset_voltage=1.0)
    assert [limits.max_voltage(each) for each in Operation] == [3.0, None, 1.0]


def test_a_geometry_counts_its_cells() -> None:
    assert Geometry(3, 5, "1T1R RRAM").cells == 15


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_currents_of_bit_products_are_the_weighted_sum_of_their_planes(bits: int) -> None:
    scale = Scale(1e-6, -8e-3, 14, "A")
    planes = np.random.default_rng(1).integers(0, 1 << 14, (bits, 5, 3))
    sums = sum(plane << bit for bit, plane in enumerate(planes)).astype(np.uint32)
    found = BitProducts(sums, scale, bits, np.zeros(3, np.uint32), 0.0).currents
    expected = sum(scale.values(plane).astype(np.float64) * 2**bit for bit, plane in enumerate(planes))
    assert (found.shape, found.dtype) == ((5, 3), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
