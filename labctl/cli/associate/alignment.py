"""`labctl associate align`: where all nanowires stand, and those astray brought back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from labctl.cli.procedures import carry_out, common, flat, print_rows, with_bench
from labctl.proportions import wilson_interval
from labctl.runner import RunResult


@click.command("align")
@click.option("--tries", type=int, help="How often nanowires astray are shifted, at most.  [default: 8]")
@common
def align(tries: int | None, **options: Any) -> None:
    """Check the positions of all nanowires by their guard domains, and shift back those astray.

    Checked, shifted, and checked again, until none is astray or tries are out. Without a bench, on the simulated
    one with faults. `--set tracks=[0,16]` takes some tracks.
    """
    settings = {} if tries is None else {"tries": tries}
    carry_out("associative_alignment", lambda _: settings, print_aligned, flat, **with_bench(options, "racetrack"))


def print_aligned(result: RunResult) -> int:
    """Where nanowires were, and where they are; gives the width of the first column."""
    return print_rows(_rows(result.summary, result), result)


def _rows(found: Mapping[str, Any], result: RunResult) -> list[tuple[str, Any]]:
    if not found["tracks"]:
        return []
    counters = found["counters"]
    columns = [result.results[name].values for name in ("offset", "nanowires_before", "nanowires_after")]
    counts = zip(columns[0], columns[1].sum(axis=0), columns[2].sum(axis=0), strict=True)
    return [
        ("nanowires", f"{found['nanowires']:,} on {found['tracks']} tracks"),
        ("astray before", _share(found["astray_before"], found)),
        ("astray after", _share(found["astray_after"], found)),
        *(
            (f"  ahead by {offset:+d}", f"{before:,} before, {after:,} after")
            for offset, before, after in counts
            if before or after
        ),
        ("tries", f"{found['tries']}, {counters['realignments']:,} shifts by one domain"),
        ("position checks", f"{counters['checks']:,} of a track; {found['misreads']:,} of a nanowire misread"),
    ]


def _share(count: int, found: Mapping[str, Any]) -> str:
    low, high = wilson_interval(count, found["nanowires"])
    return f"{count:,}: {count / found['nanowires']:.4%} (95 %: {low:.4%} to {high:.4%})" if count else "none"
