"""A chip's record as a table and as JSON values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from labctl.analysis.estimators import fraction
from labctl.bench.settings import WearSettings
from labctl.chips import ChipRecord, Defect
from labctl.chips.record import name_of
from labctl.chips.wear import wear_of
from labctl.cli.console import print_table
from labctl.units import format_quantity

_DEFECTS = [each for each in Defect if each not in (Defect.NONE, Defect.GOOD)]
_MOST_LINES = 12  # numbers of dead lines that are named
_MOST_RUNS = 20

Lifetimes = Mapping[str, WearSettings]
"""By the name of the bench's array."""


def print_record(record: ChipRecord, lifetimes: Lifetimes) -> None:
    """On stdout; warnings on stderr."""
    counted = sum(not each.not_counted for each in record.runs)
    apart = f", {counted:,} of them counted" if counted < len(record.runs) else ""
    print_table(
        [
            ("chip", f"{record.serial}, {record.rows} x {record.cols} {record.cell}".rstrip()),
            ("runs", f"{len(record.runs):,}{apart}"),
            ("forming yield", _yield(record)),
            *((name_of(each), _share(record.defects == each)) for each in _DEFECTS),
            ("dead rows", _lines(record.dead_rows)),
            ("dead columns", _lines(record.dead_cols)),
            ("left alone", f"{_share(record.excluded)}, of which people exclude {int(record.by_people.sum()):,}"),
            ("pulses", _spread(record.pulses, "1")),
            *((f"  {kind.name}", _spread(count, "1")) for kind, count in record.by_operation.items()),
            ("  of unknown dose", f"{int(record.unknown_dose.sum()):,}"),
            ("dose", _spread(record.dose, "Vs")),
            *_wear_rows(record, lifetimes),
            ("last readings", _readings(record)),
        ]
    )
    click.echo()
    _print_runs(record)
    for warning in record.warnings:
        click.echo(f"labctl: {warning}", err=True)


def as_values(record: ChipRecord, lifetimes: Lifetimes) -> dict[str, Any]:
    """As plain JSON values, SI units."""
    share = fraction(record.forming_yield.formed, record.forming_yield.tried)
    known = record.conductance[np.isfinite(record.conductance)]
    return {
        "serial": record.serial,
        "rows": record.rows,
        "cols": record.cols,
        "cell": record.cell,
        "forming_yield": {**asdict(record.forming_yield), "value": share.value, "low": share.low, "high": share.high},
        "formed": int(np.count_nonzero(record.formed)),
        "defects": {each.name.lower(): int(np.count_nonzero(record.defects == each)) for each in _DEFECTS},
        "dead_rows": list(record.dead_rows),
        "dead_cols": list(record.dead_cols),
        "excluded": int(np.count_nonzero(record.excluded)),
        "excluded_by_people": int(np.count_nonzero(record.by_people)),
        "pulses": _values(record.pulses),
        **{f"{kind.name.lower()}_pulses": _values(count) for kind, count in record.by_operation.items()},
        "unknown_dose": int(record.unknown_dose.sum()),
        "dose": _values(record.dose),
        "wear": {
            name: [asdict(each) for each in wear_of(lifetime, record.pulses, record.dose)]
            for name, lifetime in lifetimes.items()
        },
        "read": len(known),
        "last_read_at": float(np.nanmax(record.read_at)) if len(known) else None,
        "conductance_median": float(np.median(known)) if len(known) else None,
        "runs": [asdict(each) for each in record.runs],
        "warnings": list(record.warnings),
    }


def _values(values: NDArray[Any]) -> dict[str, float]:
    middle, high = np.quantile(values, [0.5, 0.99])
    return {
        "total": values.sum().item(),
        "median": float(middle),
        "p99": float(high),
        "max": values.max().item(),
    }


def _yield(record: ChipRecord) -> str:
    found = fraction(record.forming_yield.formed, record.forming_yield.tried)
    if not found.n:
        return "no cell was tried"
    return f"{found.value:.2%} ({found.low:.2%} to {found.high:.2%}) of {found.n:,} cells tried"


def _share(cells: NDArray[np.bool_]) -> str:
    count = int(np.count_nonzero(cells))
    return f"{count:,} ({count / cells.size:.2%})" if count else "0"


def _lines(numbers: tuple[int, ...]) -> str:
    if not numbers:
        return "0"
    more = f" and {len(numbers) - _MOST_LINES} more" if len(numbers) > _MOST_LINES else ""
    return f"{len(numbers)}: {', '.join(map(str, numbers[:_MOST_LINES]))}{more}"


def _spread(values: NDArray[Any], unit: str) -> str:
    found = {name: _amount(value, unit) for name, value in _values(values).items()}
    return f"{found['total']}; a cell: median {found['median']}, 99 % within {found['p99']}, at most {found['max']}"


def _amount(value: float, unit: str) -> str:
    return f"{value:,.0f}" if unit == "1" else format_quantity(value, unit)


def _wear_rows(record: ChipRecord, lifetimes: Lifetimes) -> list[tuple[str, str]]:
    many = len(lifetimes) > 1
    return [
        (f"wear, array {name}" if many else "wear", str(each))
        for name, lifetime in lifetimes.items()
        for each in wear_of(lifetime, record.pulses, record.dose)
    ]


def _readings(record: ChipRecord) -> str:
    known = np.isfinite(record.conductance)
    if not known.any():
        return "no cell has been read"
    last = dt.datetime.fromtimestamp(float(record.read_at[known].max()))
    middle = format_quantity(float(np.median(record.conductance[known])), "S")
    return f"{int(known.sum()):,} cells, median {middle}; the last at {last:%Y-%m-%d %H:%M:%S}"


def _print_runs(record: ChipRecord) -> None:
    """The newest, as `labctl runs find --chip` has them all."""
    rows = [
        (
            each.path.name,
            each.protocol,
            each.outcome,
            f"{each.pulses:,}",
            f"{each.bad:,} of {each.tried:,}" if each.tried else "",
            each.not_counted and f"not counted: {each.not_counted}",
        )
        for each in record.runs[-_MOST_RUNS:]
    ]
    print_table(rows, ("run", "protocol", "outcome", "pulses", "bad of tried", ""))
    if len(record.runs) > _MOST_RUNS:
        click.echo(f"and {len(record.runs) - _MOST_RUNS:,} before", err=True)
