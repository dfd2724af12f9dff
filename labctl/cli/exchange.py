"""`labctl import` and `labctl export`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from labctl.bench.settings import read_bench
from labctl.cli.console import QuantityType, print_json
from labctl.errors import UsageError
from labctl.recording.catalogue import resolve_run


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


_SIMULATORS = ("aihwkit", "crosssim")
_FORMATS = ("csv", "parquet", "netcdf", "zarr", "matlab")
_TABLES = ("events", "operations", "steps", "maps", "auxiliaries", "results", "settings")


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="RUN... | CHIP.toml", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice([*_FORMATS, *_SIMULATORS]), required=True, help="The format, or simulator.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to. Default: beside the run, named after it; a device model after the chip. Of several runs: a folder.",
)
@click.option("--what", type=click.Choice([*_TABLES, "all"]), multiple=True, help="These tables only; may be repeated.")
@click.option("--joined", is_flag=True, help="With each event its operation's kind, width, gate, ..., phase, row, col.")
@click.option(
    "--raw", is_flag=True, help="netcdf, zarr: converter codes with their scale instead of volts and siemens."
)
@click.option(
    "--g-max", type=QuantityType("S"), help="Device models: the highest conductance in use. Default: the highest found."
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def export(
    sources: tuple[Path, ...],
    to: str,
    output: Path | None,
    what: tuple[str, ...],
    joined: bool,
    raw: bool,
    g_max: float | None,
    force: bool,
) -> None:
    """Write runs in a format of other programs, or a chip as a device model that a simulator loads.

    csv and parquet: a file a table, in a folder; netcdf, zarr and matlab: one with all tables. An output without an
    ending is a folder, made where there is none, or the store of zarr. Values are in SI units,
    with units and provenance.

    aihwkit and crosssim: what a chip file, or runs of a chip (retention, programming, read noise, pulse response, one
    of each at most) tell of its cells.
    """
    if to in _SIMULATORS:
        _refuse(to, {"--what": what, "--joined": joined, "--raw": raw})
        from labctl.exchange.exporting import export_device

        done = export_device(sources, cast(Any, to), output, g_max, overwrite=force)
    else:
        _refuse(to, {"--g-max": g_max is not None})
        paths = [resolve_run(path, lambda: read_bench().runs_folder) for path in sources]  # before what takes long
        from labctl.exchange.tables.exporting import export_tables

        tables = _TABLES if not what or "all" in what else what
        done = export_tables(paths, cast(Any, to), output, what=tables, joined=joined, raw=raw, overwrite=force)
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    for path in done.paths:
        click.echo(path)


def _refuse(to: str, given: Mapping[str, object]) -> None:
    """Options that say nothing about what `to` writes."""
    for option, value in given.items():
        if value:
            raise UsageError(f"{option} is not for --to {to}")
