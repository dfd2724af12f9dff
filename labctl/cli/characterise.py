"""`labctl characterize KIND`: one measurement of a chip, from pulses to statistics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from labctl.cli.groups import HelpfulGroup
from labctl.cli.procedures import carry_out, common, print_rows, yes
from labctl.cli.statistics import as_values, print_statistics, statistics_of
from labctl.errors import LabctlError
from labctl.plugins import load_protocol
from labctl.runner import RunResult
from labctl.steps import Procedure
from labctl.units import Quantity, format_quantity

KINDS = {
    "forming": ("forming", "Form pristine cells: the voltage each one takes, and what it conducts then."),
    "iv": ("iv", "Current against read voltage, below what switches a cell."),
    "pulse-response": ("pulse_response", "Trains of equal SET and RESET pulses: the conductance after each pulse."),
    "endurance": ("endurance", "SET and RESET in turn, many times over: both states of every cycle."),
    "retention": ("retention", "Program, and read again at times that grow by equal factors."),
    "read-noise": ("read_noise", "Read the same cells over and over: the noise and its spectrum."),
    "map": ("read", "Read the whole array or a part of it; nothing is pulsed."),
    "step-size": (
        "step_size",
        "Program with different steps of the amplitude: pulses needed against precision reached.",
    ),
}
"""Kind of measurement -> the protocol that makes it, and what it is."""


class _Kinds(HelpfulGroup):
    """One command a kind, made when it is asked for: its help shows the settings of its protocol."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(KINDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return _command(cmd_name) if cmd_name in KINDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Kinds"):
            formatter.write_dl([(kind, text) for kind, (_, text) in KINDS.items()])


@click.group("characterize", cls=_Kinds, subcommand_metavar="KIND [OPTIONS]")
def characterize() -> None:
    """Measure one property of a chip's cells: run its protocol, record it, print statistics, draw a figure.

    Pristine cells among the chosen are formed first, but for `map`. `labctl characterize KIND --help` lists the
    settings.
    """


def _command(kind: str) -> click.Command:
    protocol, text = KINDS[kind]

    @yes
    @common
    def measure(**options: Any) -> None:
        carry_out(protocol, lambda _: {}, show, describe, **options)

    return click.command(kind, help=f"{text}\n\n\b\n{_settings_text(load_protocol(protocol))}")(measure)


def show(result: RunResult) -> int:
    """The statistics, and how the run ended; gives the width of the first column."""
    found = _statistics(result.path)
    if found:
        print_statistics(found)
        click.echo()
    return print_rows([], result)


def describe(result: RunResult, figure: Path | None) -> dict[str, Any]:
    """A run with its statistics as JSON."""
    found = _statistics(result.path)
    return {
        "run": str(result.path),
        "figure": str(figure) if figure else None,
        "outcome": result.outcome,
        "elapsed_s": result.elapsed_s,
        "bench_s": result.bench_s,
        "safe_state": all(not each.problem for each in result.safe_state),
        "missed": dict(result.missed),
        "summary": result.summary,
        "statistics": None if found is None else as_values(found),
    }


def _statistics(path: Path) -> list[Any] | None:
    """A run is what it is, with statistics or without."""
    try:
        return statistics_of(path)
    except LabctlError as problem:
        click.echo(f"labctl: no statistics: {problem}", err=True)
        return None


def _settings_text(procedure: Procedure) -> str:
    """The settings and their defaults, one a line, as `--set` takes them."""
    fields = msgspec.structs.fields(procedure.settings)
    lines = [line for field in fields for line in _lines(field.name, field.default)]
    return "\n".join(["Settings, for --set NAME=VALUE:", *(f"  {name} = {default}" for name, default in lines)])


def _lines(name: str, default: Any) -> Iterator[tuple[str, str]]:
    if isinstance(default, msgspec.Struct):
        for inner in default.__struct_fields__:
            yield from _lines(f"{name}.{inner}", getattr(default, inner))
    else:
        yield name, _typed(default)


def _typed(default: Any) -> str:
    if default is msgspec.NODEFAULT:
        return "(required)"
    if default is None:
        return "(none)"
    if isinstance(default, Quantity):
        return format_quantity(default, default.unit).replace(" ", "")
    if isinstance(default, (tuple, list)):
        return f"[{', '.join(f'{each:g}' if isinstance(each, float) else str(each) for each in default)}]"
    return str(default).lower() if isinstance(default, bool) else str(default)
