"""What every command that runs a protocol shares: its options, the question, the run, the figure, the result."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from labctl.bench.live import ArrayPlan, Bench, BenchArray, load_bench, not_safe
from labctl.bench.settings import embedded_path
from labctl.cli.console import Progress, print_json, print_table, settings_from
from labctl.errors import Interrupted, LabctlError, SafeStateError, UsageError
from labctl.plugins import load_protocol
from labctl.runner import RunResult, check_capabilities, prepare, run
from labctl.steps import Cost
from labctl.units import format_quantity

_Decorated = Callable[..., Any]
_FEW_CELLS = 8  # that may all be dead on a bench that is wired as it should be
_DAYS = 5 * 86_400.0  # from which on nobody thinks in seconds any more
_LABELS = 16  # characters of the first column, so that what is printed later stands under it


def common(command: _Decorated) -> _Decorated:
    """The options of every command that runs a protocol; `carry_out` takes them."""
    options = [
        click.option(
            "--bench",
            type=click.Path(path_type=Path),
            help="Bench file. Default: $LABCTL_BENCH, else the embedded one.",
        ),
        click.option("--array", "array_name", help="Which array of the bench; not needed where there is one."),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of the protocol's own choices."),
        click.option("--out", type=click.Path(path_type=Path), help="Folder for the run file. Default: the bench's."),
        click.option(
            "--set",
            "pairs",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any setting of the protocol, as in --set set.stop=2.6V.",
        ),
        click.option("--all-cells", is_flag=True, help="Leave out no cell for what its chip's record says."),
        click.option("--dry-run", is_flag=True, help="Check and cost the run; send nothing."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option(
            "--plot/--no-plot", "plotted", default=True, show_default=True, help="Draw the figures beside the run file."
        ),
        click.option("-q", "--quiet", is_flag=True, help="No progress."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def with_bench(options: dict[str, Any], name: str) -> dict[str, Any]:
    """`options` of a command, whose bench is the embedded one of that `name` unless another is given."""
    if options["bench"] is None and not os.environ.get("LABCTL_BENCH"):
        return {**options, "bench": embedded_path(name)}
    return options


yes = click.option("--yes", is_flag=True, help="Do not ask before pulsing a real chip.")


def carry_out(
    protocol: str,
    settings_for: Callable[[BenchArray | ArrayPlan], dict[str, Any]],
    show: Callable[[RunResult], int],
    describe: Callable[[RunResult, Path | None], dict[str, Any]],
    *,
    bench: Path | None,
    array_name: str | None,
    seed: int,
    out: Path | None,
    pairs: Iterable[str],
    all_cells: bool,
    dry_run: bool,
    as_json: bool,
    plotted: bool,
    quiet: bool,
    yes: bool = False,
) -> None:
    """Run `protocol` as the options say, or cost it, and print what came of it.

    settings_for: the protocol's settings on an array; `--set` goes before them. show: prints a result as text, and
    gives the width of its first column; describe: it and its figure as JSON. Raises SafeStateError, with the result
    printed, where an instrument did not reach safe state at the end of the run.
    """
    procedure = load_protocol(protocol)
    extra = settings_from(procedure, pairs)

    def work(live: Bench, keep: Callable[[RunResult], None]) -> None:
        array = live.array(array_name)
        plan = array.nominal()
        check_capabilities(procedure, plan)  # before targets are made to fit an array that cannot take them
        cost = prepare(procedure, plan, **{**settings_for(plan), **extra}).cost
        if dry_run:
            _print_cost(cost, as_json)
            return
        if cost.max_pulses and not yes:
            ask(array)
        with array, Progress(quiet) as progress:
            settings = {**settings_for(array), **extra}
            command = " ".join(sys.argv)
            given = {**settings, "all_cells": all_cells}
            keep(run(procedure, array, out=out, seed=seed, progress=progress, command=command, **given))

    on_bench(bench, work, show, describe, as_json=as_json, plotted=plotted)


def on_bench(
    bench: Path | None,
    work: Callable[[Bench, Callable[[RunResult], None]], None],
    show: Callable[[RunResult], int],
    describe: Callable[[RunResult, Path | None], dict[str, Any]],
    *,
    as_json: bool,
    plotted: bool,
) -> None:
    """Do `work` on a bench and print what came of the run it keeps, if there is one; see `carry_out`."""
    kept: list[RunResult] = []
    unsafe: SafeStateError | None = None
    try:
        with load_bench(bench) as live:
            work(live, kept.append)
    except SafeStateError as problem:
        if not kept:
            raise
        unsafe = problem  # told after what came of the run, which is finished
    if not kept:
        return
    (result,) = kept
    unsafe = unsafe or _late(result)
    try:
        _tell(result, show, describe, as_json, plotted)
    except KeyboardInterrupt:
        interrupted = Interrupted(f"interrupted while the run was evaluated; it is recorded in {result.path}")
        if unsafe is not None:
            interrupted.add_note(str(unsafe))
        raise interrupted from None
    if unsafe is not None:
        raise unsafe


def _tell(
    result: RunResult,
    show: Callable[[RunResult], int],
    describe: Callable[[RunResult, Path | None], dict[str, Any]],
    as_json: bool,
    plotted: bool,
) -> None:
    if as_json:
        print_json(describe(result, _draw(result.path) if plotted else None))
    else:
        width = show(result)
        figure = _draw(result.path) if plotted else None
        if figure is not None:
            click.echo(f"{'figure':<{width}}  {figure}")
    if _is_dead(result.summary):
        click.echo("labctl: no cell responded: check wiring, lines and gate of the bench", err=True)


def _is_dead(summary: Mapping[str, Any]) -> bool:
    """Whether so many cells were tried to form, and not one conducts, that it is not the cells."""
    if "formed_now" in summary:  # of forming alone
        conduct, pulses = summary["formed_before"] + summary["formed_now"], "pulses"
        dead = summary["never_formed"] + summary.get("left_pristine", 0)
    elif "forming_pulses" in summary and "formable" in summary:
        conduct, dead, pulses = summary["formable"], summary["outcomes"]["never_formed"], "forming_pulses"
    else:
        return False
    return bool(conduct == 0 and dead > _FEW_CELLS and summary[pulses] > 0)


def _late(result: RunResult) -> SafeStateError | None:
    """What did not reach safe state when the run ended; it has by now, or letting go of it would have failed."""
    told = not_safe([each for each in result.safe_state if not each.has_parted])
    return SafeStateError(f"the run ended {told}; reached only when it was let go of") if told else None


def ask(array: BenchArray) -> None:
    """Pulses change a real chip for good: ask, unless the instrument is simulated in this very process."""
    if array.is_in_process:
        return
    question = f"Pulse the cells of array {array.name!r} on {array.address}?"
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer from: say --yes")
    click.confirm(question, abort=True, err=True)


def _draw(path: Path) -> Path | None:
    """The figure beside the run, which is what it is with or without one."""
    try:
        from labctl.analysis.figures import save_figure

        return save_figure(path)
    except LabctlError as problem:
        click.echo(f"labctl: no figure: {problem}", err=True)
    except KeyboardInterrupt:
        click.echo("labctl: no figure: interrupted", err=True)
    return None


def flat(result: RunResult, figure: Path | None) -> dict[str, Any]:
    """A run as JSON, the protocol's summary among its keys."""
    return {
        "run": str(result.path),
        **result.summary,
        "elapsed_s": result.elapsed_s,
        "bench_s": result.bench_s,
        "outcome": result.outcome,
        "safe_state": all(not each.problem for each in result.safe_state),
        "missed": dict(result.missed),
        "figure": str(figure) if figure else None,
    }


def _print_cost(cost: Cost, as_json: bool) -> None:
    peaks = {operation.name: volts for operation, volts in cost.amplitudes.items()}
    found = {
        "max_pulses": cost.max_pulses,
        "max_reads": cost.max_reads,
        "max_pulses_per_cell": cost.max_pulses_per_cell,
        "peak_volts": peaks,
    }
    if as_json:
        print_json(found)
        return
    print_table(
        [
            ("pulses, at most", f"{cost.max_pulses:,}"),
            ("reads, at most", f"{cost.max_reads:,}"),
            ("pulses a cell, at most", cost.max_pulses_per_cell),
            *((f"peak {name}", format_quantity(volts, "V")) for name, volts in peaks.items()),
        ]
    )
    click.echo(
        "dry run: every check passed, nothing was sent; which cells the chip's record leaves alone is only known once "
        "the chip is connected",
        err=True,
    )


def print_plain(result: RunResult) -> int:
    """Every line of the summary, and how the run ended; gives the width of the first column."""
    return print_rows([(_label(name), _shown(name, value)) for name, value in result.summary.items()], result)


def print_rows(rows: list[tuple[str, Any]], result: RunResult) -> int:
    """`rows`, and how the run ended; gives the width of the first column."""
    unsafe = [f"{each.instrument}: {each.problem}" for each in result.safe_state if each.problem]
    ending = [
        *result.missed.items(),
        ("time of computer", f"{result.elapsed_s:.2f} s{_time_of_bench(result)}"),
        ("safe state", "; ".join(unsafe) or "reached"),
        ("run file", result.path),
    ]
    width = max(_LABELS, *(len(label) for label, _ in (*rows, *ending)))
    print_table([(f"{label:<{width}}", value) for label, value in (*rows, *ending)])
    return width


def duration(seconds: float) -> str:
    """As a person says it: in days, hours or minutes where it is a whole number of them, in days where it is many."""
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    if seconds > _DAYS:
        return f"{seconds / 86_400:.3g} d"
    return format_quantity(seconds, "s")


def _time_of_bench(result: RunResult) -> str:
    """The time on the array's clock, where it is another than the computer's by more than a factor and a second."""
    bench, computer = result.bench_s, result.elapsed_s
    differs = abs(bench - computer) > 1 and not computer / 2 < bench < computer * 2
    return f" (bench: {bench:.4g} s)" if differs else ""


def _label(name: str) -> str:
    return name.removesuffix("_siemens").removesuffix("_volts").replace("_", " ")


def _shown(name: str, value: Any) -> str:
    for ending, unit in (("_siemens", "S"), ("_volts", "V")):
        if name.endswith(ending) and isinstance(value, float):
            return format_quantity(value, unit) if np.isfinite(value) else "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
