"""Converters are straight by name, and bent as their faults say."""

from __future__ import annotations

import numpy as np
import pytest

from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.chips.converters import Converter, Faults, LineConverters

SIGMAS = 5.0  # of sampling error allowed
LINES = 4096
ADC = Converter.spanning(0.0, 1.0, bits=14)
TOP = ADC.top
ROUNDING = 0.01  # LSB: float32 at 16,383


def drawn(serial="C-1", place="adc of columns", converter=ADC, **faults):
    given = {"offset": 0.0, "gain": 0.0, "bow": 0.0, "skew": 0.0, **faults}
    return LineConverters.draw(serial, place, LINES, converter, Faults(**given))


def bent(converters, position):
    """What each converter makes of one ideal position, (lines,)."""
    positions = np.full((1, LINES), position, np.float32)
    converters.bend_rows(positions)
    return positions[0].astype(np.float64)


def errors(converters, position):
    return bent(converters, position) - np.float32(position)


def assert_spread(values, spread):
    """Normal around 0 with that deviation, within the sampling errors of mean and deviation."""
    assert abs(values.mean()) < SIGMAS * spread / np.sqrt(LINES) + ROUNDING
    assert abs(values.std() - spread) < SIGMAS * spread / np.sqrt(2 * LINES) + ROUNDING


def test_without_faults_there_are_no_converters_to_bend():
    assert drawn() is None


def test_an_offset_is_the_same_everywhere():
    converters = drawn(offset=2.0)
    assert_spread(errors(converters, 0), 2.0)
    np.testing.assert_allclose(errors(converters, TOP), errors(converters, 0), atol=ROUNDING)


def test_a_gain_grows_from_zero():
    converters = drawn(gain=0.003)
    np.testing.assert_array_equal(errors(converters, 0), 0)
    assert_spread(errors(converters, TOP), 0.003 * TOP)
    np.testing.assert_allclose(errors(converters, TOP / 2), errors(converters, TOP) / 2, atol=ROUNDING)


def test_a_gain_leaves_zero_where_it_is_and_goes_with_the_converter():
    both_signs = drawn(converter=Converter.spanning(-1.0, 1.0, bits=14), gain=0.003)
    np.testing.assert_allclose(errors(both_signs, TOP / 2), 0, atol=ROUNDING)
    np.testing.assert_allclose(errors(both_signs, TOP), errors(drawn(gain=0.003), TOP / 2), atol=ROUNDING)


def test_a_bow_is_greatest_in_the_middle_and_nothing_at_the_ends():
    converters = drawn(bow=0.5)
    assert_spread(errors(converters, TOP / 2), 0.5)
    np.testing.assert_allclose(errors(converters, TOP / 4), 0.75 * errors(converters, TOP / 2), atol=ROUNDING)
    for end in (0, TOP):
        np.testing.assert_allclose(errors(converters, end), 0, atol=ROUNDING)


def test_a_skew_changes_its_sign_in_the_middle():
    converters, peak = drawn(skew=0.4), (1 - 1 / np.sqrt(3)) / 2
    assert_spread(errors(converters, peak * TOP), 0.4)
    np.testing.assert_allclose(errors(converters, (1 - peak) * TOP), -errors(converters, peak * TOP), atol=ROUNDING)
    for crossing in (0, TOP / 2, TOP):
        np.testing.assert_allclose(errors(converters, crossing), 0, atol=ROUNDING)


def test_serial_and_place_say_which_converters_they_are():
    faults = {"offset": 2.0, "gain": 0.003}
    found = bent(drawn(**faults), 5000)
    np.testing.assert_array_equal(found, bent(drawn(**faults), 5000))
    for other in (drawn(serial="C-2", **faults), drawn(place="adc of rows", **faults)):
        assert abs(np.corrcoef(found, bent(other, 5000))[0, 1]) < SIGMAS / np.sqrt(LINES)


def test_listed_or_in_order_a_line_has_the_same_converter():
    converters = drawn(offset=2.0, gain=0.003, bow=0.5, skew=0.3)
    positions = np.random.default_rng(1).uniform(-2000, 20_000, 3 * LINES).astype(np.float32)
    order, arena = np.random.default_rng(2).permutation(3 * LINES), Arena(3 * LINES)
    whole, listed = positions.copy(), positions[order]
    converters.bend(whole, None, arena)
    converters.bend(listed, order % LINES, arena)
    np.testing.assert_array_equal(listed, whole[order])


@pytest.mark.parametrize(("far", "end"), [(1e6, TOP), (-1e6, 0)])
def test_far_beyond_the_range_it_saturates(far, end):
    converters = drawn(offset=2.0, gain=0.003, bow=0.5, skew=0.3)
    codes = ADC.codes(bent(converters, far).astype(np.float32))
    np.testing.assert_array_equal(codes, end)


def test_positions_and_values_are_each_others_inverse():
    adc = Converter.spanning(-0.5e-6, 16e-6, bits=14)
    values = np.linspace(-0.5e-6, 16e-6, 1000).astype(np.float32)
    again = adc.values(adc.positions(values.copy()))
    np.testing.assert_allclose(again, values, atol=ROUNDING * adc.step)
