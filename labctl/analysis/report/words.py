"""How numbers, names and times stand on a page."""

from __future__ import annotations

import math
import re

from labctl.analysis.characterisation.statistic import Statistic, interval, shown
from labctl.units import format_quantity

MICRO = 1e6
_HELD = "\u00a0"
"""A space at which a line is not broken."""

_UNITS = {"Vs": "V s", "V s": "V s", "1": "", "Ohm": "Ω", "degC": "°C"}


def with_micro(text: str) -> str:
    """`12 uS` as 12 µS, held together by a space that does not break, and `1/V2` as 1/V²."""
    held = re.sub(r"(?<=\d) (?=[A-Za-zΩ°µ]{1,3}\b|%|1/V)", _HELD, text)
    with_signs = re.sub(r"(?<!\w)-(?=\d)", "−", held)
    return re.sub(rf"(?<=\d{_HELD})u(?=[A-Za-zΩ])", "µ", with_signs).replace("1/V2", "1/V²")


def quantity(value: float, unit: str, digits: int = 4) -> str:
    """With an SI prefix, as in `12.5 µS`; a dash for what is not finite."""
    if not math.isfinite(value):
        return "–"
    if unit in ("", "1"):
        return number(value, digits)
    if unit in ("S", "V", "A", "s", "Hz", "K", "Ohm", "V s", "Vs"):
        return with_micro(format_quantity(value, _UNITS.get(unit, unit) or unit, digits))
    return f"{number(value, digits)}{_HELD}{_UNITS.get(unit, unit)}"


def number(value: float, digits: int = 4) -> str:
    """Whole numbers whole and in groups of three, others with so many digits."""
    if not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    else:
        text = f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    return text.replace("-", "−", 1) if value < 0 else text


def percent(share: float) -> str:
    """Three digits, and where it is nearly all of it two after the point, or as many as tell it from all."""
    if not math.isfinite(share):
        return "–"
    missing = 1 - share
    if share < 0.9 or missing == 0:
        return f"{share * 100:.3g}{_HELD}%"
    digits = max(2, 1 - math.floor(math.log10(missing * 100))) if missing > 0 else 2
    return f"{share * 100:.{min(digits, 6)}f}".rstrip("0").rstrip(".") + f"{_HELD}%"


def moment(text: str) -> str:
    """A time of ISO 8601 as it is easier to read."""
    return re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?", r"\1 \2\3", text).replace("Z", " UTC")


def duration(seconds: float) -> str:
    """As a person says it: `8.03 s`, `3 min 20 s`, `1 d 4 h`."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 120:
        return quantity(seconds, "s", 3)
    for big, small, size, inner in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if seconds >= size:
            whole, rest = divmod(round(seconds / inner), size // inner)
            return f"{whole} {big} {rest} {small}" if rest else f"{whole} {big}"
    return quantity(seconds, "s", 3)


def spoken(name: str) -> str:
    """A name of a program as words."""
    return name.replace("_", " ")


def count(number_of: int, one: str, many: str = "") -> str:
    """`1 pulse`, `1,234 pulses`."""
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def value_of(each: Statistic, share: bool = False) -> str:
    """A statistic's value; of a share in per cent."""
    return percent(each.value) if share else with_micro(shown(each.value, each.unit))


def interval_of(each: Statistic, share: bool = False) -> str:
    """Its 95 % interval, or nothing where there is none."""
    if not share:
        return with_micro(interval(each))
    low, high = ("" if end is None else percent(end) for end in (each.low, each.high))
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"up to {high}" if high else ""
