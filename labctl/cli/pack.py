"""`labctl runs pack`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from labctl.cli.console import print_json
from labctl.errors import UsageError
from labctl.recording.catalogue import resolve_run
from labctl.recording.pack import Packed
from labctl.recording.pack import pack as pack_run


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="The packed copy, of one run. Default: in place.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def pack(runs: tuple[Path, ...], to: Path | None, force: bool, as_json: bool) -> None:
    """Compress runs that have ended, for the archive.

    The layout stays: what read the file before reads it afterwards. Every value is compared before a file is replaced.
    """
    if to is not None and len(runs) > 1:
        raise UsageError(f"--to names one file, and there are {len(runs)} runs: leave it out to pack them in place")
    done = []
    for run in runs:
        path = resolve_run(run, _usual_folder)
        done.append(pack_run(path, to, overwrite=force))
        if not as_json:
            click.echo(_said(done[-1]), err=True)
            click.echo(done[-1].path)
    if as_json:
        print_json([{**asdict(each), "ratio": each.ratio} for each in done])


def _usual_folder() -> Path:
    from labctl.bench.settings import read_bench  # all that a bench file can hold takes a while to import

    return read_bench().runs_folder


def _said(done: Packed) -> str:
    if not done.replaced:
        return f"{done.path.name}: left as it is, packing makes it no smaller"
    before, after = (f"{size / 1e6:,.1f} MB" for size in (done.bytes_before, done.bytes_after))
    return f"{done.path.name}: {before} to {after}, {done.ratio:.0%}"
