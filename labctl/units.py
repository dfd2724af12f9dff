"""Quantities as people write them (`100 ns`, `1uS`, `5 kOhm`) to SI floats, strictly, at the edges only.

A setting declares its unit by its type (`tolerance: Siemens`). Every one of these types is a float in SI units;
text is accepted where a person types (command line, bench file, keyword arguments), and a wrong unit is an error.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, TypeVar

import msgspec

from labctl.errors import LabctlError, SettingsError

_SPELLINGS = {"Ω": "Ohm", "ohm": "Ohm", "ohms": "Ohm", "Ohms": "Ohm", "sec": "s"}


class Quantity(float):
    """A float in SI units that knows which unit that is."""

    unit: ClassVar[str] = ""


class Volt(Quantity):
    unit = "V"


class Ampere(Quantity):
    unit = "A"


class Siemens(Quantity):
    unit = "S"


class Second(Quantity):
    unit = "s"


class Kelvin(Quantity):
    unit = "K"


class VoltSecond(Quantity):
    unit = "Vs"


def parse_quantity(text: str | float, unit: str) -> float:
    """The value of `text` in SI units of `unit`.

    A bare number is taken to be in `unit` already. Raises ValueError with a sentence that says what would be right.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    if not isinstance(text, str):
        raise ValueError(f"expected a quantity in {unit}, got {type(text).__name__}")
    from quantiphy import InvalidNumber
    from quantiphy import Quantity as Parsed

    try:
        parsed = Parsed(text)
    except InvalidNumber:
        raise ValueError(f"{text!r} is not a quantity: write a number and a unit, like {_example(unit)!r}") from None
    spelled = _SPELLINGS.get(parsed.units, parsed.units)
    if spelled not in ("", unit):
        raise ValueError(f"{text!r} is not in {unit}: write it like {_example(unit)!r}")
    if spelled == "" and not _is_number(text):
        raise ValueError(f"{text!r} has no unit: write it like {_example(unit)!r}")
    value = float(parsed)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite quantity in {unit}")
    return value


def format_quantity(value: float, unit: str, digits: int = 4) -> str:
    """`value` with an SI prefix, as in `12.5 uS`."""
    from quantiphy import Quantity as Parsed

    return str(Parsed(value, unit).render(prec=digits - 1))


Converted = TypeVar("Converted")


def convert(
    value: object, to: type[Converted], *, what: str, at: str = "$", error: type[LabctlError] = SettingsError
) -> Converted:
    """`value` (plain dictionaries, lists, numbers, text) as an instance of the typed class `to`.

    Quantities may be text. Raises `error` with one sentence that starts with `what` and names the path, in which
    `at` is where `value` itself stands.
    """
    try:
        return msgspec.convert(value, to, dec_hook=_decode_quantity)
    except msgspec.ValidationError as problem:
        raise error(f"{what}: {describe(problem, at)}") from None


def describe(problem: msgspec.ValidationError, at: str = "$") -> str:
    """A validation error as `$.path: what was wrong`."""
    text, _, path = str(problem).partition(" - at `")
    place = at + path.rstrip("`").removeprefix("$")
    return f"{place}: {text[0].lower()}{text[1:]}"


def _decode_quantity(to: type, value: Any) -> Any:
    if isinstance(to, type) and issubclass(to, Quantity):
        return to(parse_quantity(value, to.unit))
    if isinstance(value, to):
        return value
    raise NotImplementedError(f"no conversion to {to.__name__}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _example(unit: str) -> str:
    return {"s": "100 ns", "S": "1 uS", "V": "1.5 V", "A": "100 uA", "Ohm": "5 kOhm", "K": "300 K"}.get(unit, f"1 {unit}")
