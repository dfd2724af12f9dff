"""`labctl runs resume`: go on with an interrupted run."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from labctl.bench.live import Bench
from labctl.bench.settings import read_bench
from labctl.cli.console import Progress
from labctl.cli.procedures import ask, flat, on_bench, print_plain, yes
from labctl.recording.catalogue import resolve_run
from labctl.recording.past import Past
from labctl.runner import RunResult, resume


@click.command("resume")
@click.argument("run")
@click.option(
    "--bench",
    type=click.Path(path_type=Path),
    help="Bench file. Default: $LABCTL_BENCH, else the one of the run, else the embedded one.",
)
@click.option("--force", is_flag=True, help="Also where the cells read quite otherwise than the run left them.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--plot/--no-plot", "plotted", default=True, show_default=True, help="Draw the figures beside the run file."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@yes
def resume_(run: str, bench: Path | None, force: bool, as_json: bool, plotted: bool, quiet: bool, yes: bool) -> None:
    """Go on with a run that was interrupted, failed or killed, in the same file.

    RUN: a path, a name or its beginning, or `last`. The protocol goes through what is recorded, the cells are read
    again, and it goes on from there: what is finished is not pulsed again, and no pulse is given twice. One with
    checkpoints goes on from the last of them.
    """
    go_on(
        resolve_run(run, lambda: read_bench(bench).runs_folder),
        bench=bench,
        force=force,
        as_json=as_json,
        plotted=plotted,
        quiet=quiet,
        yes=yes,
    )


def go_on(
    path: Path,
    show: Callable[[RunResult], int] | None = None,
    *,
    bench: Path | None,
    force: bool,
    as_json: bool,
    plotted: bool,
    quiet: bool,
    yes: bool,
) -> None:
    """Go on with the run at `path`, and print what came of it: by `show`, else as the command that began it does."""
    with Past(path) as past:
        protocol, array_name = str(past.attributes["protocol"]), str(past.attributes["array"])
        recorded = Path(str(past.attributes["bench_file"]))

    def work(live: Bench, keep: Callable[[RunResult], None]) -> None:
        array = live.array(array_name)
        if not yes:
            ask(array)
        with array, Progress(quiet) as progress:
            keep(resume(path, array, progress=progress, force=force, command=" ".join(sys.argv)))

    usual, describe = _printers(protocol)
    if bench is None and not os.environ.get("LABCTL_BENCH") and recorded.is_file():
        bench = recorded

    def shown(result: RunResult) -> int:
        _tell_reread(result)
        return (show or usual)(result)

    on_bench(bench, work, shown, describe, as_json=as_json, plotted=plotted)


def _printers(
    protocol: str,
) -> tuple[Callable[[RunResult], int], Callable[[RunResult, Path | None], dict[str, Any]]]:
    """How the command that began the run prints its result."""
    from labctl.cli import arrays, characterise, prune, train
    from labctl.cli.associate import running, selftest

    show, describe = print_plain, flat
    if protocol == "write_verify":
        show = arrays.print_programmed
    elif protocol == "forming_density":
        show = arrays.print_density
    elif protocol in ("pruning", "inference"):
        show = prune.print_pruned
    elif protocol == "training":
        show = train.print_trained
    elif protocol == "associative_selftest":
        show = selftest.print_tested
    elif protocol == "associative_inference":
        show = running.print_judged
    elif protocol in dict(characterise.KINDS.values()):
        show, describe = characterise.show, characterise.describe
    return show, describe


def _tell_reread(result: RunResult) -> None:
    reread = result.reread
    if reread is None:
        return
    far = f"{reread.changed:,} of {reread.compared:,} far from where they were"
    told = f"labctl: {reread.cells:,} cells read again: {far}"
    if math.isfinite(reread.median_change):
        told += f", the others {reread.median_change:.2%} off in the median"
    click.echo(told, err=True)
