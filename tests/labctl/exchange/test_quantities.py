"""Units of foreign files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.exchange.quantities import Dimension, numbers_of, to_si


@pytest.mark.parametrize(
    ("number", "unit", "dimension", "expected"),
    [
        (12.5, "uS", Dimension.CONDUCTANCE, 12.5e-6),
        (80, "kOhm", Dimension.CONDUCTANCE, 12.5e-6),
        (80e3, "ohm", Dimension.CONDUCTANCE, 12.5e-6),
        (2, "h", Dimension.TIME, 7200),
        (3, "ms", Dimension.TIME, 3e-3),
        (-150, "mV", Dimension.VOLTAGE, -0.15),
        (0.4, "kHz", Dimension.FREQUENCY, 400),
        (7, "1", Dimension.NUMBER, 7),
    ],
)
def test_units_become_si(number: float, unit: str, dimension: Dimension, expected: float) -> None:
    assert to_si(number, unit, dimension) == pytest.approx(expected, rel=1e-12)


def test_a_current_becomes_a_conductance_by_its_read_voltage() -> None:
    assert to_si([2.5, -0.5], "uA", Dimension.CONDUCTANCE, read_voltage=0.2) == pytest.approx([12.5e-6, -2.5e-6])
    with pytest.raises(ValueError, match="read_voltage"):
        to_si(2.5, "uA", Dimension.CONDUCTANCE)


def test_no_resistance_is_no_conductance_and_an_infinite_one_is_none_at_all() -> None:
    found = to_si([0.0, np.inf, np.nan], "Ohm", Dimension.CONDUCTANCE)
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == 0


@pytest.mark.parametrize("dimension", [Dimension.CONDUCTANCE, Dimension.TIME, Dimension.VOLTAGE])
def test_a_wrong_unit_is_refused(dimension: Dimension) -> None:
    with pytest.raises(ValueError, match="'parsec' is no unit of a"):
        to_si(1.0, "parsec", dimension)


def test_a_plain_number_is_a_conductance_only_by_a_scale() -> None:
    with pytest.raises(ValueError, match="'1' is no unit"):
        to_si(1.0, "1", Dimension.CONDUCTANCE)
    assert to_si(3e-5, "1", Dimension.CONDUCTANCE, scaled=True) == 3e-5


@given(st.floats(1e-9, 1e-2))
def test_a_conductance_is_the_same_as_its_resistance(conductance: float) -> None:
    assert to_si(1 / conductance, "Ohm", Dimension.CONDUCTANCE) == pytest.approx(conductance, rel=1e-15)


def test_text_is_no_number() -> None:
    with pytest.raises(ValueError, match="'n/a', which is not a number"):
        numbers_of(np.array(["1.5", "n/a"]))
