"""Quantities as people write them (`100 ns`, `1uS`, `5 kOhm`) to SI floats, strictly, at the edges only.

A setting declares its unit by its type (`tolerance: Siemens`). Every one of these types is a float in SI units;
text is accepted where a person types (command line, bench file, keyword arguments), and a wrong unit is an error.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin

import msgspec

from labctl.errors import LabctlError, SettingsError

_SPELLINGS = {
    "Ohm": ("Ohm", "Ohms", "ohm", "ohms", "Ω"),
    "s": ("s", "sec"),
    "Vs": ("Vs", "V s", "V*s", "V·s"),
}
_PREFIXES = dict(zip("QRYZEPTGMk", range(30, 0, -3), strict=True)) | dict(
    zip("mμnpfazyrq", range(-3, -33, -3), strict=True)
)
_PREFIXES |= {"": 0, "u": -6}
_MULTIPLES = {"s": {"min": 60.0, "h": 3600.0, "d": 86400.0}}
"""Of a unit, those of other names."""
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,4}))?\s*([^\d\s].*)?", re.ASCII)


_SI = {"m", "g", "s", "A", "K", "mol", "cd", "rad", "sr", "Hz", "N", "Pa", "J", "W", "C", "V", "F", "Ohm", "S"} | (
    {"Wb", "T", "H", "lm", "lx", "Bq", "Gy", "Sv", "kat", "L", "l", "bar", "eV"}
)
"""Symbols that take a prefix."""
_OTHERS = {"1", "%", "ppm", "degC", "°C", "deg", "min", "h", "d", "dB", "dBm", "Torr"}
_FACTOR = re.compile(r"(.*?)(?:\^?-?[1-9]|[²³])?", re.DOTALL)


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
        value = float(text)
    elif isinstance(text, str):
        value = _parse(text, unit)
    else:
        raise ValueError(f"expected a quantity in {unit}, like {_example(unit)!r}, got {type(text).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite quantity in {unit}")
    return value


def _parse(text: str, unit: str) -> float:
    """The float nearest to what is written: 100 ns is 1e-07, not 100 times 1e-09."""
    found = _QUANTITY.fullmatch(unicodedata.normalize("NFKC", text).strip())
    if found is None:
        raise ValueError(f"{text!r} is not a quantity: write a number and a unit, like {_example(unit)!r}")
    mantissa, exponent, suffix = found[1], int(found[2] or 0), found[3]
    if suffix in _MULTIPLES.get(unit, {}):
        return float(f"{mantissa}e{exponent}") * _MULTIPLES[unit][suffix]
    if suffix:
        exponent += _power(text, suffix, unit)
    return float(f"{mantissa}e{exponent}")


def _power(text: str, suffix: str, unit: str) -> int:
    """The power of ten that a unit with its prefix stands for."""
    for spelling in _SPELLINGS.get(unit, (unit,)):
        prefix = suffix.removesuffix(spelling)
        if prefix != suffix and prefix in _PREFIXES:
            return _PREFIXES[prefix]
    if suffix in _PREFIXES:
        raise ValueError(f"{text!r} has no unit: write it like {_example(unit)!r}")
    raise ValueError(f"{text!r} is not in {unit}: write it like {_example(unit)!r}")


def is_unit(text: str) -> bool:
    """Whether `text` is made of symbols of the SI, or of what laboratories use beside it: `K`, `mbar`, `m/s`, `V s`,
    `W m-2`, `%`, and `1` or nothing for a plain number."""
    return all(_is_symbol(factor) for factor in re.split(r"[ */·]", text)) or text in ("", *_SPELLINGS["Vs"])


def _is_symbol(text: str) -> bool:
    found = _FACTOR.fullmatch(text)
    stem = found[1] if found else text
    symbols = _SI | set(_SPELLINGS["Ohm"])
    return not _OTHERS.isdisjoint({text, stem}) or any(
        stem.endswith(symbol) and stem.removesuffix(symbol) in _PREFIXES for symbol in symbols
    )


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
        raise error(f"{what}: {describe(problem, at)}{_known(str(problem), to)}") from None


def describe(problem: msgspec.ValidationError, at: str = "$") -> str:
    """A validation error as `$.path: what was wrong`."""
    text, _, path = str(problem).partition(" - at `")
    place = at + path.rstrip("`").removeprefix("$")
    return f"{place}: {text[0].lower()}{text[1:]}".replace("expected `array`", "expected a list, as in [1, 2]")


def _known(problem: str, to: type) -> str:
    """For a key or a word that is not known, those that are."""
    text, _, path = problem.partition(" - at `$")
    keys = [key for key in path.rstrip("`").split(".")[1:] if key]
    if text.startswith("Object contains unknown field"):
        inner = _type_at(to, keys)
        names = [field.encode_name for field in msgspec.structs.fields(inner)] if _is_struct(inner) else []
        return f"; there are: {', '.join(names)}" if names else ""
    if text.startswith("Invalid enum value"):
        kinds = get_args(_type_at(to, keys))
        words = [str(word) for kind in kinds for word in get_args(kind) if get_origin(kind) is Literal]
        words = words or [str(each) for each in kinds if isinstance(each, str)]
        number = ["a number"] if {int, float} & set(kinds) else []
        return f"; it takes {' or '.join([*words, *number])}" if words else ""
    return ""


def _type_at(to: Any, keys: list[str]) -> Any:
    """What stands at the path `keys` below a typed class; `object` where that cannot be told."""
    for key in keys:
        fields = msgspec.structs.fields(to) if _is_struct(to) else ()
        to = next((field.type for field in fields if field.encode_name == key), object)
    return to


def _is_struct(to: Any) -> bool:
    return isinstance(to, type) and issubclass(to, msgspec.Struct)


def _decode_quantity(to: type, value: Any) -> Any:
    if isinstance(to, type) and issubclass(to, Quantity):
        return to(parse_quantity(value, to.unit))
    if isinstance(value, to):
        return value
    if to.__name__ == "ndarray":
        return _as_array(value)
    raise ValueError(f"expected {to.__name__}, got {type(value).__name__}")


def _as_array(value: Any) -> Any:
    import numpy as np

    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected an array, got {type(value).__name__}")
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError("expected an array, got lists of different lengths") from None


def _example(unit: str) -> str:
    return {"s": "100 ns", "S": "1 uS", "V": "1.5 V", "A": "100 uA", "Ohm": "5 kOhm", "K": "300 K"}.get(
        unit, f"1 {unit}"
    )
