"""`program-array`, `form-array` and `read-array`: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np

from labctl.array import MemoryArray
from labctl.bench.live import ArrayPlan, BenchArray, load_bench
from labctl.cli.console import Progress, QuantityType, print_json, print_table, settings_from
from labctl.errors import LabctlError, TargetError, UsageError
from labctl.plugins import load_protocol
from labctl.runner import RunResult, prepare, run
from labctl.steps import Cost
from labctl.targets import DEFAULT_MAPPING, Target, WeightMapping, default_target, load_target, place, readable_range
from labctl.units import format_quantity

_Decorated = Callable[..., Any]


def _common(command: _Decorated) -> _Decorated:
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


_yes = click.option("--yes", is_flag=True, help="Do not ask before pulsing a real chip.")


@click.command("program-array")
@click.argument("target", required=False)
@click.option("--unit", help="Unit of the target's conductances, as in uS, where the file does not say.")
@click.option("--dataset", help="Which array of a .npz or .h5 file.")
@click.option(
    "--mapping",
    type=click.Choice(["single", "differential"]),
    help="The target holds weights: how they stand in cells.",
)
@click.option("--g-min", type=QuantityType("S"), help="Lowest conductance a weight maps to.  [default: 2uS]")
@click.option("--g-max", type=QuantityType("S"), help="Highest conductance a weight maps to.  [default: 40uS]")
@click.option(
    "--scale",
    type=QuantityType("S"),
    help="Conductance per unit of weight. Default: the largest weight at the end of the range.",
)
@click.option(
    "--at", default="0,0", show_default=True, metavar="ROW,COL", help="Where on the array the target's first cell goes."
)
@click.option(
    "--exclude", type=click.Path(path_type=Path), help="Cells never to touch: .npy of booleans, or .csv of row,column."
)
@click.option(
    "--tolerance",
    type=QuantityType("S"),
    default="1uS",
    show_default=True,
    help="Half the width of every cell's window.",
)
@click.option("--max-pulses", type=int, help="Pulses a cell may get.  [default: 200]")
@click.option(
    "--reverify",
    type=QuantityType("s", many=True),
    help="Delays at which to read again, as in 0s,1s.  [default: 0s,1s]",
)
@click.option("--form/--no-form", default=True, show_default=True, help="Form pristine cells first.")
@_yes
@_common
def program_array(
    target: str | None,
    unit: str | None,
    dataset: str | None,
    mapping: str | None,
    g_min: float | None,
    g_max: float | None,
    scale: float | None,
    at: str,
    exclude: Path | None,
    tolerance: float,
    max_pulses: int | None,
    reverify: list[float] | None,
    form: bool,
    **common: Any,
) -> None:
    """Program cells to the conductances of TARGET and verify them.

    TARGET is a .npy, .npz, .csv or .h5 file: conductances (--unit, where the file does not say it) or weights
    (--mapping). Without TARGET the shipped weights of a trained MNIST layer are programmed.
    """
    _refuse_idle_options(
        target,
        mapping,
        {"--unit": unit, "--dataset": dataset, "--mapping": mapping},
        {"--g-min": g_min, "--g-max": g_max, "--scale": scale},
    )
    weights = None
    if mapping:
        low = DEFAULT_MAPPING.g_min if g_min is None else g_min
        high = DEFAULT_MAPPING.g_max if g_max is None else g_max
        weights = WeightMapping(mapping, low, high, scale)  # type: ignore[arg-type]
    loaded = load_target(target, unit=unit, mapping=weights, dataset=dataset) if target else default_target()
    corner = _corner(at)
    settings: dict[str, Any] = {"tolerance": tolerance}
    if max_pulses is not None:
        settings["max_pulses"] = max_pulses
    if reverify is not None:
        settings["reverify"] = reverify
    if not form:
        settings["form_pristine"] = False

    def with_target(array: BenchArray | ArrayPlan) -> dict[str, Any]:
        return {**settings, **_on_array(loaded, corner, exclude, array)}

    _carry_out("write_verify", with_target, _print_programmed, pulses=True, **common)


@click.command("form-array")
@_yes
@_common
def form_array(**common: Any) -> None:
    """Form pristine cells with a ramp of pulses, each cell until it conducts."""
    _carry_out("forming", lambda _: {}, _print_plain, pulses=True, **common)


@click.command("read-array")
@click.option("--repeats", type=int, default=1, show_default=True, help="How often to read each cell.")
@_common
def read_array(repeats: int, **common: Any) -> None:
    """Read every cell; nothing is pulsed."""
    _carry_out("read", lambda _: {"repeats": repeats}, _print_plain, pulses=False, **common)


def _carry_out(
    protocol: str,
    settings_for: Callable[[BenchArray | ArrayPlan], dict[str, Any]],
    show: Callable[[RunResult], None],
    *,
    pulses: bool,
    bench: Path | None,
    array_name: str | None,
    seed: int,
    out: Path | None,
    pairs: Iterable[str],
    dry_run: bool,
    as_json: bool,
    plotted: bool,
    quiet: bool,
    yes: bool = False,
) -> None:
    procedure = load_protocol(protocol)
    extra = settings_from(procedure, pairs)
    with load_bench(bench) as live:
        array = live.array(array_name)
        plan = array.nominal()
        if dry_run:
            _print_cost(prepare(procedure, plan, **{**settings_for(plan), **extra}).cost, as_json)
            return
        if pulses and not yes:
            _ask(array)
        with array, Progress(quiet) as progress:
            settings = {**settings_for(array), **extra}
            result = run(
                procedure, array, out=out, seed=seed, progress=progress, command=" ".join(sys.argv), **settings
            )
    if as_json:
        print_json(_as_json(result, _draw(result.path) if plotted else None))
        return
    show(result)
    figure = _draw(result.path) if plotted else None
    if figure is not None:
        click.echo(f"figure            {figure}")


def _ask(array: BenchArray) -> None:
    """Pulses change a real chip for good: ask, unless the instrument is simulated in this very process."""
    if array.is_in_process:
        return
    question = f"Pulse the cells of array {array.name!r} on {array.resource_name}?"
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer from: say --yes")
    click.confirm(question, abort=True, err=True)


def _refuse_idle_options(
    target: str | None, mapping: str | None, of_target: dict[str, Any], of_mapping: dict[str, Any]
) -> None:
    """An option that would do nothing is a mistake the user wants to hear of."""
    idle = [name for name, value in of_target.items() if value is not None and target is None]
    if idle:
        raise UsageError(f"{', '.join(idle)}: says how to read a TARGET file, and none is given")
    idle = [name for name, value in of_mapping.items() if value is not None and mapping is None]
    if idle:
        raise UsageError(f"{', '.join(idle)}: says how weights map to conductances, and there is no --mapping")


def _corner(text: str) -> tuple[int, int]:
    try:
        row, col = (int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter("write ROW,COL, like 0,128", param_hint="--at") from None
    return row, col


def _on_array(
    target: Target, corner: tuple[int, int], exclude: Path | None, array: BenchArray | ArrayPlan | MemoryArray
) -> dict[str, Any]:
    """The target as maps of the whole array."""
    geometry = array.geometry
    placed = place(target, geometry, within=readable_range(array.adc), at=corner)
    conductance = np.zeros(geometry.cells, np.float32)
    wanted = np.zeros(geometry.cells, bool)
    conductance[placed.cells], wanted[placed.cells] = placed.conductance, True
    shape = (geometry.rows, geometry.cols)
    maps: dict[str, Any] = {"target": conductance.reshape(shape), "cells": wanted.reshape(shape)}
    if exclude is not None:
        maps["exclude"] = _excluded(exclude, shape)
    return maps


def _excluded(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(rows, cols) bool of a .npy mask or a .csv of row,column."""
    try:
        if path.suffix == ".npy":
            mask = np.load(path, allow_pickle=False)
            if mask.shape != shape or mask.dtype != bool:
                raise TargetError(f"{path.name}: must be booleans of shape {shape}, not {mask.dtype} of {mask.shape}")
            return np.asarray(mask)
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.partition("#")[0].strip()]
        pairs = np.loadtxt(lines, int, delimiter=",", ndmin=2, comments="#") if lines else np.empty((0, 2), int)
        mask = np.zeros(shape, bool)
        if pairs.shape[1] != 2 or (pairs < 0).any() or (pairs >= shape).any():
            raise TargetError(f"{path.name}: every line must be row,column on an array of {shape[0]} x {shape[1]}")
        mask[pairs[:, 0], pairs[:, 1]] = True
        return mask
    except (OSError, ValueError) as problem:
        raise TargetError(f"{path}: cannot be read as cells to exclude: {problem}") from None


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


def _as_json(result: RunResult, figure: Path | None) -> dict[str, Any]:
    return {
        "run": str(result.path),
        **result.summary,
        "elapsed_s": result.elapsed_s,
        "outcome": result.outcome,
        "safe_state": all(not each.problem for each in result.safe_state),
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
    click.echo("dry run: every check passed, nothing was sent", err=True)


def _print_programmed(result: RunResult) -> None:
    summary = result.summary
    share, rms = summary["fraction_in_window"], summary["rms_error_siemens"]
    per_cell = summary["pulses_per_cell"]
    rows = [
        ("cells", f"{summary['cells']:,}"),
        ("in window", f"{share:.2%} of {summary['formable']:,} formed" if share is not None else "no cell formed"),
        *((name.replace("_", " "), f"{count:,}") for name, count in summary["outcomes"].items() if count),
        *(
            (f"verify after {each['after_s']:g} s", f"{each['in_window']:,} of {each['cells']:,} still in window")
            for each in summary["verifies"]
        ),
        ("pulses", f"{summary['pulses']:,}, of which {summary['forming_pulses']:,} to form"),
        (
            "pulses a cell",
            f"mean {per_cell['mean']:.1f}, median {per_cell['median']:.0f}, 99 % within {per_cell['p99']:.0f}",
        ),
        ("RMS error", format_quantity(rms, "S") if rms is not None else "-"),
    ]
    _print_rows(rows, result)


def _print_plain(result: RunResult) -> None:
    _print_rows([(_label(name), _shown(name, value)) for name, value in result.summary.items()], result)


def _print_rows(rows: list[tuple[str, Any]], result: RunResult) -> None:
    unsafe = [f"{each.instrument}: {each.problem}" for each in result.safe_state if each.problem]
    print_table(
        [
            *rows,
            ("time", f"{result.elapsed_s:.2f} s"),
            ("safe state", "; ".join(unsafe) or "reached"),
            ("run file", result.path),
        ]
    )


def _label(name: str) -> str:
    return name.removesuffix("_siemens").removesuffix("_volts").replace("_", " ")


def _shown(name: str, value: Any) -> str:
    for ending, unit in (("_siemens", "S"), ("_volts", "V")):
        if name.endswith(ending) and isinstance(value, float):
            return format_quantity(value, unit) if np.isfinite(value) else "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
