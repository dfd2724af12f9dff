"""`labctl runs list|show|statistics|recover` and `labctl plot`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from labctl.bench.settings import read_bench
from labctl.cli.console import print_json, print_table
from labctl.recording.catalogue import list_runs
from labctl.recording.reader import RunSummary, read_summary
from labctl.recording.recover import recover as recover_run


@click.group()
def runs() -> None:
    """List, show, evaluate and recover recorded runs."""


@runs.command("list")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(folder: Path | None, as_json: bool) -> None:
    """The runs in FOLDER (default: where the bench puts them), newest last."""
    usual = read_bench().runs_folder if folder is None else folder
    found = [] if folder is None and not usual.exists() else list_runs(usual)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    print_table(
        [_row(each) for each in found], ("run", "protocol", "chip", "outcome", "in window", "all pulses", "started")
    )


@runs.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(run: Path, as_json: bool) -> None:
    """What one run was, and how it ended."""
    found = asdict(read_summary(run))
    if as_json:
        print_json(found)
        return
    attributes, summary = found.pop("attributes"), found.pop("summary")
    other_names = {"pulses": "all_pulses", "unknown_dose": "of_unknown_dose"}
    own = {other_names.get(name, name): value for name, value in found.items()}
    told = {"pulses, by the protocol" if name == "pulses" else name: value for name, value in summary.items()}
    flat = {**own, **attributes, **told}
    print_table([(name.replace("_", " "), value) for name, value in flat.items() if value not in ("", None)])


@runs.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def statistics(run: Path, as_json: bool) -> None:
    """What a run says of its chip, by the kind of its measurement, with confidence intervals."""
    from labctl.cli.statistics import as_values, print_statistics, statistics_of

    found = statistics_of(run)
    if as_json:
        print_json(as_values(found))
        return
    print_statistics(found)


@runs.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="The clean copy. Default: RUN with -recovered in its name.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def recover(run: Path, to: Path | None, force: bool) -> None:
    """Copy what a killed run recorded into a clean file."""
    target = to or run.with_name(f"{run.stem}-recovered{run.suffix}")
    recover_run(run, target, overwrite=force)
    click.echo(target)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="PNG, SVG or PDF. Default: beside the run.")
def plot(run: Path, output: Path | None) -> None:
    """Draw the figure of a run: maps, distributions, convergence."""
    from labctl.analysis.figures import save_figure

    click.echo(save_figure(run, output))


def _row(run: RunSummary) -> tuple[str, ...]:
    share = run.summary.get("fraction_in_window")
    return (
        run.path.name,
        run.protocol,
        str(run.attributes.get("chip_serial", "")),
        f"{run.outcome}, replayed" if run.attributes.get("replay_of") else run.outcome,
        f"{share:.2%}" if share is not None else "",
        f"{run.pulses:,}",
        str(run.attributes.get("wall_time_start", run.started)),
    )
