"""`labctl calibrate` and `labctl compare`: from runs to a twin of their chip, and how near two runs are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from labctl.cli.console import Progress, print_json, print_table
from labctl.errors import UsageError
from labctl.units import format_quantity

if TYPE_CHECKING:
    from labctl.analysis.calibration import ChipFile, MeasuredRun, Parameter
    from labctl.analysis.comparison import Comparison

_PREFIXED = ("S", "V", "s", "S/V")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The chip file to write, .toml.")
@click.option("--base", default="rram_40nm", show_default=True, help="Built-in set for what the runs do not tell.")
@click.option("--serial", help="Serial number of the twin. Default: that of the chip with -twin behind it.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def calibrate(runs: tuple[Path, ...], output: Path, base: str, serial: str | None, force: bool, as_json: bool) -> None:
    """Fit a chip's parameters from recorded RUNs and write them as a chip file.

    A simulated board whose `chip` is that file is a twin of the chip. Runs of one kind are pooled; what no run tells
    stays as in the base.
    """
    from labctl.analysis.calibration import calibrate as fit

    for path in runs:
        _check_run(path)
    if output.suffix != ".toml":
        raise UsageError(f"-o {output}: a chip file's name ends in .toml")
    if output.exists() and not force:
        raise UsageError(f"{output} exists already: choose another name, or say --force")
    chip = fit(runs, base, serial)
    chip.write(output)
    if as_json:
        print_json(_chip_values(chip, output))
        return
    print_table(
        [_row(name, each) for name, each in chip.parameters.items()], ("parameter", "value", "95 % interval", "of")
    )
    click.echo()
    for note in chip.notes:
        click.echo(note)
    click.echo(f"{output} written: chip {chip.serial}")


"""What a run file begins with."""


def _check_run(path: Path) -> None:
    """Raises UsageError where a chip or bench file stands in the place of a run."""
    if path.suffix == ".toml" and path.is_file():
        raise UsageError(f"{path} is no run: a chip or bench file stands where a run file (.h5) is meant")


def _row(name: str, parameter: Parameter) -> tuple[str, ...]:
    if np.ndim(parameter.value):
        shape = " x ".join(str(each) for each in np.shape(parameter.value))
        return name, f"{shape} values", "", _of(parameter)
    interval = ""
    if parameter.low is not None and parameter.high is not None:
        interval = f"{_shown(parameter.low, parameter.unit)} to {_shown(parameter.high, parameter.unit)}"
    return name, _shown(parameter.value, parameter.unit), interval, _of(parameter)


def _of(parameter: Parameter) -> str:
    cells = f"{parameter.cells} cells" if parameter.cells else ""
    return cells if parameter.tag == "calibrated" else f"{cells} ({parameter.tag})".strip()


def _shown(value: Any, unit: str) -> str:
    if not np.isfinite(value):
        return "-"
    if unit in _PREFIXED:
        return format_quantity(float(value), unit)
    return f"{float(value):.4g}" if unit in ("", "1") else f"{float(value):.4g} {unit}"


def _chip_values(chip: ChipFile, output: Path) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return None if value is None else np.asarray(value).tolist()

    return {
        "chip": str(output),
        "kind": chip.kind,
        "base": chip.base,
        "serial": chip.serial,
        "notes": list(chip.notes),
        "parameters": {
            name: {
                "value": plain(each.value),
                "unit": each.unit,
                "source": f"[{each.tag}] {each.source}",
                "low": plain(each.low),
                "high": plain(each.high),
                "cells": each.cells,
                "goodness": each.goodness,
            }
            for name, each in chip.parameters.items()
        },
    }


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path), metavar="RUN|CHIP.toml")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the twin's run file. Default: the bench's.")
@click.option("--quantiles", is_flag=True, help="Print every quantile, not only how many agree.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, quantiles and all.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def compare(run: Path, other: Path, out: Path | None, quantiles: bool, as_json: bool, quiet: bool) -> None:
    """Compare RUN with another run of the same kind of measurement, quantile by quantile.

    With a chip file, its twin is measured first: the same protocol with the same schedule and starting points, on a
    simulated board.
    """
    from labctl.analysis.calibration import load
    from labctl.analysis.comparison import compare as compared
    from labctl.twin import histories

    is_twin = other.suffix == ".toml"
    for path in (run,) if is_twin else (run, other):
        _check_run(path)
    first = load(run)
    second = load(_twin_run(first, other, out, quiet)) if is_twin else load(other)
    if not is_twin:
        for each in (first, second):
            each.check_alone(1, "it is no measurement of its own to compare")
    notes = histories(first) if is_twin else []
    rows = compared(first.dataset, second.dataset)
    if not rows:
        raise UsageError(f"{run.name} and {second.path.name} have no statistic in common")
    if as_json:
        print_json(_comparison_values(first.path, second.path, first.kind, rows) | {"notes": notes})
        return
    click.echo(f"{first.kind}: first {first.path.name}, second {second.path.name}", err=True)
    shown = [each for each in rows if quantiles or not _is_quantile(each)]
    print_table([_compared(each) for each in shown], ("statistic", "of", "first", "second", "verdict", "cells"))
    click.echo()
    click.echo(_agreement(rows))
    for note in notes:
        click.echo(f"note: {note}")
    if is_twin:
        click.echo(f"the twin's run: {second.path}")


def _twin_run(first: MeasuredRun, chip: Path, out: Path | None, quiet: bool) -> Path:
    """The run file of the twin, measured now."""
    from labctl.bench.settings import read_bench
    from labctl.twin import measure_twin

    folder = read_bench().runs_folder if out is None else out
    with Progress(quiet) as progress:
        return measure_twin(first, chip, folder, progress)


def _compared(row: Comparison) -> tuple[str, ...]:
    cells = " / ".join(f"{each:,}" for each in row.cells)
    return row.statistic, row.what, _shown(row.first, row.unit), _shown(row.second, row.unit), row.verdict, cells


def _is_quantile(row: Comparison) -> bool:
    return row.statistic[0] == "p" and row.statistic[1:].replace(".", "").isdigit()


def _agreement(rows: list[Comparison]) -> str:
    """How many statistics are within their errors, and how many within 25 %."""
    known = [each for each in rows if np.isfinite(each.first) and np.isfinite(each.second)]
    agreeing = sum(each.is_within_error for each in known)
    quantiles = [each for each in known if _is_quantile(each)]
    text = f"{agreeing} of {len(known)} statistics within error"
    if quantiles:
        text += f"; of these {sum(each.is_within_error for each in quantiles)} of {len(quantiles)} quantiles"
    return text


def _comparison_values(first: Path, second: Path, kind: str, rows: list[Comparison]) -> dict[str, Any]:
    return {
        "measurement": kind,
        "first": str(first),
        "second": str(second),
        "statistics": [
            {
                "statistic": each.statistic,
                "of": each.what,
                "unit": each.unit,
                "first": each.first,
                "second": each.second,
                "difference": each.second - each.first,
                "low": each.low,
                "high": each.high,
                "cells": list(each.cells),
                "within_error": each.is_within_error,
                "verdict": each.verdict,
            }
            for each in rows
        ],
    }
