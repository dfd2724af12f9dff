"""`labctl import` and `labctl export`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click

from labctl.bench.settings import read_bench
from labctl.cli.console import QuantityType, print_json


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--mapping", "mapping_path", type=click.Path(path_type=Path), required=True, help="What stands where: a TOML file."
)
@click.option("--select", default="", metavar="even|odd|START:STOP:STEP", help="Only these of the cells, in order.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Folder for the run file. Default: where the bench puts runs."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def import_(file: Path, mapping_path: Path, select: str, out: Path | None, as_json: bool) -> None:
    """Make a run file of a measurement from elsewhere.

    FILE: a table of text (.csv, .txt, .tsv), .npy, .npz, HDF5, or a file of ArC TWO control.
    """
    from labctl.exchange.importing import import_file
    from labctl.exchange.mapping import read_mapping

    mapping = read_mapping(mapping_path)
    folder = read_bench().runs_folder if out is None else out
    done = import_file(file, mapping, folder, select=select, command=shlex.join(sys.argv[1:]))
    if as_json:
        print_json(asdict(done))
        return
    for note in done.notes:
        click.echo(note, err=True)
    of = f" of {done.cells_found:,}" if done.cells != done.cells_found else ""
    what = f"{done.measurement} of {done.chip_serial}"
    click.echo(f"{what}: {done.cells:,}{of} cells, {done.readings:,} readings", err=True)
    click.echo(done.path)


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="RUN... | CHIP.toml", type=click.Path(path_type=Path))
@click.option(
    "--to", "simulator", type=click.Choice(["aihwkit", "crosssim"]), required=True, help="For which simulator."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The module. Default: named after the chip.")
@click.option("--g-max", type=QuantityType("S"), help="The highest conductance in use. Default: the highest found.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def export(
    sources: tuple[Path, ...],
    simulator: Literal["aihwkit", "crosssim"],
    output: Path | None,
    g_max: float | None,
    force: bool,
) -> None:
    """Write a chip, or what runs of it measured, as a device model that a simulator loads.

    RUN: of retention, programming, read noise and pulse response, one of each at most.
    """
    from labctl.exchange.exporting import export_device

    done = export_device(sources, simulator, output, g_max, overwrite=force)
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    for path in done.paths:
        click.echo(path)
