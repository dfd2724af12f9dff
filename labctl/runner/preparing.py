"""A protocol with settings that fit an array, checked against every limit before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from labctl.array import PulseLimits
from labctl.bench.live import ArrayPlan, BenchArray
from labctl.errors import CapabilityError, LimitError, SettingsError, UsageError
from labctl.plugins import load_protocol
from labctl.steps import Cost, Procedure
from labctl.units import convert


@dataclass(frozen=True, slots=True)
class Prepared:
    """A protocol with settings that fit an array, and what it would cost at most."""

    procedure: Procedure
    settings: msgspec.Struct
    cost: Cost


def prepare(protocol: str | Procedure, array: BenchArray | ArrayPlan, **settings: Any) -> Prepared:
    """Check `settings` against the protocol, the array and its limits; nothing is pulsed or read.

    `array.nominal()` of an array that is not connected does as well: then not a byte is sent.
    Raises SettingsError, TargetError, LimitError or CapabilityError.
    """
    if not isinstance(array, (BenchArray, ArrayPlan)):
        raise UsageError(f"a run needs an array of a bench, as bench.array() gives it, not {type(array).__name__}")
    procedure = load_protocol(protocol) if isinstance(protocol, str) else protocol
    plain = {name: each.item() if isinstance(each, np.generic) else each for name, each in settings.items()}
    typed = convert(plain, procedure.settings, what=procedure.name)
    check_capabilities(procedure, array)
    try:
        cost = procedure.plan(array.geometry, array.dac, array.adc, typed)
    except SettingsError as problem:
        raise SettingsError(f"{procedure.name}: {problem}") from None
    try:
        array.guard.check_plan(cost)
    except LimitError as problem:
        raise LimitError(f"{problem}{_set_by(typed, array.guard.limits)}") from None
    return Prepared(procedure, typed, cost)


def check_capabilities(procedure: Procedure, array: BenchArray | ArrayPlan) -> None:
    """Raises CapabilityError where the board of `array` cannot do what the protocol needs."""
    missing = procedure.needs & ~array.capabilities
    if missing:
        raise CapabilityError(f"{procedure.name} needs {missing.name}, which this board does not have")


def _set_by(settings: msgspec.Struct, limits: PulseLimits) -> str:
    """Which of the `settings` are widths that no pulse can have, as the end of a sentence."""
    least, most = limits.min_width or 0.0, limits.max_width or float("inf")
    names = [name for name, width in _widths(settings) if not least <= width <= most]
    return f": set {' and '.join(names)}" if names else ""


def _widths(settings: msgspec.Struct, within: str = "") -> Iterator[tuple[str, float]]:
    """The path of every pulse width in `settings`, as `--set` takes it, and its s."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, msgspec.Struct):
            yield from _widths(value, f"{within}{name}.")
        elif name == "width":
            yield f"{within}{name}", value
