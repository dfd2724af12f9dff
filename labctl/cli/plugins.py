"""`labctl plugins`."""

from __future__ import annotations

from dataclasses import asdict

import click

from labctl.cli.console import print_json, print_table
from labctl.plugins import list_plugins


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def plugins(as_json: bool) -> None:
    """List the drivers, protocols, simulators and servers of all installed packages, and what is wrong with any."""
    found = list_plugins()
    if as_json:
        print_json([asdict(plugin) for plugin in found])
        return
    print_table(
        [(each.group.removeprefix("labctl."), each.name, each.distribution, each.problem or "ok") for each in found],
        ("group", "name", "package", "state"),
    )
