"""The statistics of a recorded run as a table or as JSON values, for the commands that show them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.cli.console import print_table
from labctl.recording.reader import open_run
from labctl.units import format_quantity

if TYPE_CHECKING:
    from labctl.analysis.characterisation import Statistic

_PREFIXED = ("S", "V", "A", "s", "K", "Hz")
"""Units that are read with a prefix, as in `12 uS`."""


def statistics_of(path: Path) -> list[Statistic]:
    """Of the run at `path`, by the kind of its measurement. Raises RecordingError where there is none to make."""
    from labctl.analysis.characterisation import statistics

    with open_run(path) as tree:
        return statistics(tree)


def print_statistics(found: Iterable[Statistic]) -> None:
    """One line each: value, the interval that holds the true one 95 times of 100, and of how many it was made."""
    rows = [
        (
            each.name,
            _shown(each.value, each.unit),
            _interval(each),
            f"{each.n:,}",
            each.note,
        )
        for each in found
    ]
    print_table(rows, ("statistic", "value", "95 % interval", "of", ""))


def as_values(found: Iterable[Statistic]) -> list[dict[str, Any]]:
    """As plain JSON values."""
    return [asdict(each) for each in found]


def _interval(statistic: Statistic) -> str:
    low, high = ("" if end is None else _shown(end, statistic.unit) for end in (statistic.low, statistic.high))
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"up to {high}" if high else ""


def _shown(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "-"
    if unit in _PREFIXED:
        return format_quantity(value, unit)
    return f"{value:.4g}" if unit in ("", "1") else f"{value:.4g} {unit}"
