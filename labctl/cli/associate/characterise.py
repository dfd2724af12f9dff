"""`labctl associate characterize [KIND]`: what an associative chip is like, from actions to statistics."""

from __future__ import annotations

from typing import Any

import click

from labctl.cli.characterise import describe, show
from labctl.cli.procedures import carry_out, common, with_bench

KINDS = ("shift-errors", "search-margin", "write-yield", "retention")


@click.command("characterize")
@click.argument("kind", type=click.Choice([*KINDS, "all"]), default="all")
@common
def characterize(kind: str, **options: Any) -> None:
    """Measure what an associative chip is like; without a bench, the simulated one with faults.

    \b
    shift-errors   tracks shifted to and fro, and where their nanowires stand
    search-margin  rows sensed wrong, by the threshold of the match lines
    write-yield    bits that are not as they were written or read, cells that are stuck
    retention      bits that flip while nothing is done
    all            one after another

    Columns and tracks that it uses are overwritten. Settings, for --set: shift_errors.tracks, .trips, .stride, .tries;
    search_margin.columns, .low, .high, .thresholds, .refine, .searches; write_yield.columns, .cycles;
    retention.columns, .times.
    """
    settings = {} if kind == "all" else {"kinds": (kind,)}
    carry_out("associative_characterisation", lambda _: settings, show, describe, **with_bench(options, "racetrack"))
