"""`labctl who`."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from labctl.bench.leases import Held, list_leases
from labctl.cli.console import print_json


@click.command()
@click.option("--clean", is_flag=True, help="Take away what killed processes have left.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def who(clean: bool, as_json: bool) -> None:
    """List who holds which instrument on this machine, since when, and for which run.

    held: a process has it. stale: the process was killed; the instrument is free.
    """
    found = list_leases(clean)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        click.secho(f"{each.resource_name}  {_state(each, clean)}", bold=not os.environ.get("NO_COLOR"))
        for label, text in _lines(each):
            click.echo(f"  {label:<8} {text}")
    if not found:
        click.echo("no instrument is held", err=True)


def _state(each: Held, clean: bool) -> str:
    return "stale, taken away" if clean and each.state == "stale" else each.state


def _lines(each: Held) -> list[tuple[str, str]]:
    process = f"{each.pid} of {each.user} on {each.host}" if each.pid is not None else ""
    told = (
        ("process", process),
        ("since", each.since),
        ("command", each.command),
        ("bench", each.bench),
        ("run", each.run_path),
    )
    return [(label, text) for label, text in told if text]
