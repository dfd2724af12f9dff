"""Numbers in anybody's unit to SI, resistance and current to conductance."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.units import parse_quantity

Floats = NDArray[np.float64]


class Dimension(Enum):
    """What a quantity of a measurement is, and its unit in labctl."""

    CONDUCTANCE = "S"
    CURRENT = "A"
    VOLTAGE = "V"
    TIME = "s"
    FREQUENCY = "Hz"
    NUMBER = "1"


def to_si(
    values: ArrayLike, unit: str, dimension: Dimension, *, scaled: bool = False, read_voltage: float | None = None
) -> Floats:
    """`values` in `unit` as `dimension` in SI; same shape, NaN where there is no such number.

    A conductance may be given as a resistance, or as the current at `read_voltage` in V. scaled: that `values` were
    taken to SI by a scale, so that a unit of `1` says what they are. Raises ValueError with a sentence.
    """
    numbers = np.asarray(values, np.float64)
    if unit == "1" and (dimension is Dimension.NUMBER or scaled):
        return numbers
    if dimension is Dimension.CONDUCTANCE:
        return _conductance(numbers, unit, read_voltage)
    if dimension is Dimension.NUMBER:
        raise ValueError(f"a plain number has the unit '1', not {unit!r}")
    return numbers * _factor(unit, dimension)


def _conductance(numbers: Floats, unit: str, read_voltage: float | None) -> Floats:
    factor = _parsed(unit, "S")
    if factor is not None:
        return numbers * factor
    factor = _parsed(unit, "Ohm")
    if factor is not None:
        return _inverse(numbers * factor)
    factor = _parsed(unit, "A")
    if factor is None:
        raise ValueError(f"{unit!r} is no unit of a conductance: S, Ohm or A, as in uS or kOhm; or 1 with a scale")
    if not read_voltage:
        raise ValueError("a current becomes a conductance by its `read_voltage`, which is missing")
    return numbers * factor / read_voltage


def _inverse(resistance: Floats) -> Floats:
    """1/R: 0 for an infinite resistance; NaN for none at all."""
    conductance = np.full(resistance.shape, np.nan)
    np.divide(1.0, resistance, out=conductance, where=resistance != 0)
    return conductance


def _factor(unit: str, dimension: Dimension) -> float:
    factor = _parsed(unit, dimension.value)
    if factor is None:
        known = f"{dimension.value} with or without a prefix" + (", min, h or d" if dimension is Dimension.TIME else "")
        raise ValueError(f"{unit!r} is no unit of a {dimension.name.lower()}: {known}; or 1 with a scale")
    return factor


def _parsed(unit: str, si: str) -> float | None:
    """How many `si` one `unit` is; None where it is something else."""
    try:
        return parse_quantity(f"1 {unit}", si) if unit else None
    except ValueError:
        return None


def numbers_of(values: NDArray[Any]) -> Floats:
    """Numbers as float64. Raises ValueError where they are text or structured."""
    if values.dtype.kind not in "iufb":
        place = first_text(values)
        what = str(values.dtype) if place is None else str(values.ravel()[place])
        raise ValueError(f"holds {what!r}, which is not a number")
    return np.asarray(values, np.float64)


def first_text(values: NDArray[Any]) -> int | None:
    """The flat index of the first of `values` that is no number and not empty; None where there is none."""
    if values.dtype.kind in "iufb":
        return None
    return next((place for place, each in enumerate(values.ravel()) if str(each) and not is_number(each)), None)


def is_number(item: object) -> bool:
    """Whether it is a number, or its text."""
    try:
        float(str(item))
    except ValueError:
        return False
    return True
