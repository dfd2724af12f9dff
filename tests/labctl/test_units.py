from __future__ import annotations

import contextlib
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.errors import BenchError, SettingsError
from labctl.units import (
    Ampere,
    Kelvin,
    Second,
    Siemens,
    Volt,
    VoltSecond,
    convert,
    format_quantity,
    is_unit,
    parse_quantity,
)

UNITS = [kind.unit for kind in (Volt, Ampere, Siemens, Second, Kelvin, VoltSecond)]
finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("100 ns", "s", 100e-9),
        ("1uS", "S", 1e-6),
        ("1 µS", "S", 1e-6),  # the micro sign
        ("1 μS", "S", 1e-6),  # the Greek letter
        ("5 kOhm", "Ohm", 5e3),
        ("5kΩ", "Ohm", 5e3),
        ("5 kΩ", "Ohm", 5e3),  # the ohm sign
        ("300 K", "K", 300.0),  # kelvin, not kilo
        ("300 mK", "K", 0.3),
        ("1.5e-3 V", "V", 1.5e-3),
        ("-.5 V", "V", -0.5),
        ("2 nV s", "Vs", 2e-9),
        ("2 nVs", "Vs", 2e-9),
        ("10 sec", "s", 10.0),
        ("1min", "s", 60.0),
        ("1.5 h", "s", 5400.0),
        ("2 d", "s", 172800.0),
        ("  3 V\t", "V", 3.0),
        ("1_000 mV", "V", 1.0),
        ("0.2", "V", 0.2),
        (0.2, "V", 0.2),
        (3, "V", 3.0),
    ],
)
def test_quantities_are_read_as_people_write_them(text: str | float, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1 s", "'1 s' is not in V: write it like '1.5 V'"),
        ("1 v", "'1 v' is not in V: write it like '1.5 V'"),
        ("1 V/s", "'1 V/s' is not in V: write it like '1.5 V'"),
        ("1,5 V", "'1,5 V' is not in V: write it like '1.5 V'"),  # never 15 V
        ("1 V 2", "'1 V 2' is not in V: write it like '1.5 V'"),
        ("1 KV", "'1 KV' is not in V: write it like '1.5 V'"),
        ("5 m", "'5 m' has no unit: write it like '1.5 V'"),
        ("5k", "'5k' has no unit: write it like '1.5 V'"),
        ("", "'' is not a quantity: write a number and a unit, like '1.5 V'"),
        ("V", "'V' is not a quantity: write a number and a unit, like '1.5 V'"),
        ("Vdd = 1 V", "'Vdd = 1 V' is not a quantity: write a number and a unit, like '1.5 V'"),
        ("inf V", "'inf V' is not a quantity: write a number and a unit, like '1.5 V'"),
        ("1__0 V", "'1__0 V' is not in V: write it like '1.5 V'"),
        ("1e400 V", "'1e400 V' is not a finite quantity in V"),
        (math.nan, "nan is not a finite quantity in V"),
        (-math.inf, "-inf is not a finite quantity in V"),
        (True, "expected a quantity in V, like '1.5 V', got bool"),
        (None, "expected a quantity in V, like '1.5 V', got NoneType"),
        ([1], "expected a quantity in V, like '1.5 V', got list"),
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(text: object, sentence: str) -> None:
    with pytest.raises(ValueError, match="V") as raised:
        parse_quantity(text, "V")  # type: ignore[arg-type]
    assert str(raised.value) == sentence


@given(finite, st.sampled_from(UNITS))
def test_a_bare_number_is_in_si_units_and_loses_nothing(value: float, unit: str) -> None:
    assert (
        parse_quantity(value, unit)
        == parse_quantity(repr(value), unit)
        == parse_quantity(f"{value!r} {unit}", unit)
        == value
    )


@given(
    st.integers(1, 9999), st.sampled_from([("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6)]), st.sampled_from(UNITS)
)
def test_a_prefix_gives_the_float_nearest_to_what_is_written(number: int, prefix: tuple[str, int], unit: str) -> None:
    assert parse_quantity(f"{number} {prefix[0]}{unit}", unit) == float(f"{number}e{prefix[1]}")


@given(st.floats(1e-14, 1e14), st.sampled_from(UNITS))
def test_what_is_shown_reads_back_to_the_digits_shown(value: float, unit: str) -> None:
    assert parse_quantity(format_quantity(value, unit), unit) == pytest.approx(value, rel=6e-4)


@given(st.text(max_size=12))
def test_no_text_raises_anything_but_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert math.isfinite(parse_quantity(text, "V"))


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    voltage: Volt = Volt(1.0)


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    width: Second
    inner: Inner = Inner()
    count: int = 1


def test_settings_come_in_si_units_whatever_was_typed() -> None:
    found = convert({"width": "250 ns", "inner": {"voltage": 2}}, Outer, what="x")
    assert (found.width, found.inner.voltage) == (250e-9, 2.0)
    assert type(found.width) is Second


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "x: $: object missing required field `width`"),
        ({"width": "1 V"}, "x: $.width: '1 V' is not in s: write it like '100 ns'"),
        ({"width": 1, "wdth": 1}, "x: $: object contains unknown field `wdth`; there are: width, inner, count"),
        ({"width": 1, "inner": {"v": 1}}, "x: $.inner: object contains unknown field `v`; there are: voltage"),
        ({"width": 1, "count": 1.5}, "x: $.count: expected `int`, got `float`"),
        (3, "x: $: expected `object`, got `int`"),
    ],
)
def test_a_wrong_setting_is_one_sentence_with_its_path(value: object, sentence: str) -> None:
    with pytest.raises(SettingsError) as raised:
        convert(value, Outer, what="x")
    assert str(raised.value) == sentence


def test_the_path_can_begin_elsewhere_and_the_error_be_another() -> None:
    with pytest.raises(BenchError, match=r"^b\.toml: \$\.a\.b\.width: 'q' is not a quantity"):
        convert({"width": "q"}, Outer, what="b.toml", at="$.a.b", error=BenchError)


@pytest.mark.parametrize(
    "text", [*UNITS, "", "1", "%", "mbar", "degC", "kΩ", "m/s", "W m-2", "m²", "V*s", "Torr", "uA", "K/min", "s^-1"]
)
def test_what_is_a_unit(text: str) -> None:
    assert is_unit(text)


@pytest.mark.parametrize("text", ["Volts", "kelvin", "Celsius", "m//s", "V ", "3", "xyz", "V\n", "K or so"])
def test_what_is_no_unit(text: str) -> None:
    assert not is_unit(text)
