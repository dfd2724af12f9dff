"""Options of commands that compile the layers of a network: with which weights, how, and for what array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_Decorated = Callable[..., Any]
_MOST_TRACKS, _MOST_DOMAINS = 65_536, 4096


def compiling(command: _Decorated) -> _Decorated:
    """`command` with --sparsity, --seed, --unroll, --order, --cse, --tracks, --domains and --ports."""
    options = [
        click.option(
            "--sparsity", type=click.FloatRange(0, 1), help="Share of zeros among drawn weights.  [default: 0.42]"
        ),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of drawn weights."),
        click.option(
            "--unroll",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Input channels of one group, at most.",
        ),
        click.option(
            "--order",
            type=click.Choice(["outputs", "inputs"]),
            default="outputs",
            show_default=True,
            help="Loop order of tiles.",
        ),
        click.option("--cse/--no-cse", default=True, show_default=True, help="Share common subexpressions."),
        click.option(
            "--tracks", type=click.IntRange(1, _MOST_TRACKS), default=128, show_default=True, help="Of an array."
        ),
        click.option(
            "--domains", type=click.IntRange(1, _MOST_DOMAINS), default=64, show_default=True, help="Of a track."
        ),
        click.option("--ports", type=click.IntRange(1), default=2, show_default=True, help="Of a track."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
