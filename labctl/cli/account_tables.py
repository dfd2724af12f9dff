"""A cost account as tables: what each component takes, other machines beside it, and what the ratios rest on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import click

from labctl.cli.console import print_table
from labctl.units import format_quantity

_MOST_FIGURES = 8
_WIDEST = 64  # characters of a source; JSON has all


def print_account(values: Mapping[str, Any], *, what: str = "a sample") -> None:
    """What `labctl.learning.accounts.Comparison.as_values` gives, or a run's summary has of it, on stdout."""
    click.echo(f"{values['name']}: {_joules(values['energy'])} and {_seconds(values['latency'])} for {what}")
    print_table(_parts(values), ("component", "energy", "share", "time"))
    click.echo()
    print_table(_machines(values), ("beside", "energy", "time", "takes", "saved here"))
    for reference in values["references"][:1]:
        click.echo(f"\nWhat it is beside {reference['name']} when a figure is halved and doubled:")
        print_table(_figures(values["table"], reference), ("figure", "value", "halved", "doubled", "source"))


def _parts(values: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    total = values["energy"]
    return [
        (
            part["component"],
            _joules(part["energy"]),
            f"{part['energy'] / total:.1%}" if total else "",
            _seconds(part["seconds"]) if part["seconds"] else "",
        )
        for part in values["parts"]
    ]


def _machines(values: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    rows = [
        (each["name"], _joules(each["energy"]), _seconds(each["latency"]), _times(each["ratio"]), _saved(each["saved"]))
        for each in values["references"]
    ]
    return rows + [
        (
            f"published: {each['source']}",
            "",
            "",
            _times(each["ratio"]),
            f"{_saved(each['saved'])}, relative to: {each['relative_to']}",
        )
        for each in values["published"]
    ]


def _figures(table: Mapping[str, Any], reference: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    return [
        (
            each["figure"],
            _amount(**{key: table["figures"][each["figure"]][key] for key in ("value", "unit")}),
            _times(each["halved"]),
            _times(each["doubled"]),
            _short(table["figures"][each["figure"]]["source"]),
        )
        for each in reference["sensitivity"][:_MOST_FIGURES]
    ]


def _amount(value: float, unit: str) -> str:
    """A number, or one of something, has no prefix."""
    return f"{value:g} {unit}".removesuffix(" 1") if unit.startswith("1") else format_quantity(value, unit, digits=3)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _joules(value: float) -> str:
    return format_quantity(value, "J", digits=3)


def _seconds(value: float) -> str:
    return format_quantity(value, "s", digits=3)


def _times(ratio: float | None) -> str:
    """What is not finite is null in JSON."""
    if ratio is None or not math.isfinite(ratio):
        return ""
    inverse = ratio < 1
    factor = 1 / ratio if inverse and ratio else ratio
    text = f"{factor:,.0f}" if factor >= 100 else f"{factor:.3g}"
    return f"1/{text} of it" if inverse else f"{text} times"


def _saved(share: float | None) -> str:
    if share is None or not math.isfinite(share):
        return ""
    if share < 0:
        return "nothing: it takes more"
    left = 100 * (1 - share)  # its first two digits are shown: 99.9988 % is not 100 %
    digits = 1 - math.floor(math.log10(left)) if left > 0 else 1
    return f"{share:.{max(1, digits)}%}"
