"""`labctl report`: a page about a run or a chip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from labctl.bench.settings import read_bench
from labctl.chips.names import safe_serial
from labctl.errors import NoRunError
from labctl.recording.catalogue import resolve_run

if TYPE_CHECKING:
    from labctl.chips import ChipRecord


@click.command()
@click.argument("subject", metavar="RUN|CHIP")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page. Default: beside the run, .html.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where runs are looked for. Default: where the bench puts them."
)
@click.option("--force", is_flag=True, help="Overwrite a file that is no report.")
def report(subject: str, output: Path | None, folder: Path | None, force: bool) -> None:
    """Write a page about a run or a chip, to open in a browser or print.

    RUN: a run file, its name, the beginning of it, or `last`. CHIP: a serial number. The page needs no network and no
    other file.
    """
    from labctl.analysis.report import check_output

    found, usual = _found(subject, folder)
    target = output or usual
    check_output(target, overwrite=force)  # before the work, and what it takes to import
    from labctl.analysis.report import chip_page, run_page, save_report

    page = run_page(found) if isinstance(found, Path) else chip_page(found)
    click.echo(save_report(page, target, overwrite=force))


def _found(subject: str, folder: Path | None) -> tuple[Path | ChipRecord, Path]:
    """The run or the chip that is meant, and where its page usually goes. A path that exists needs no bench."""
    run = Path(subject)
    if not run.exists():
        runs = read_bench().runs_folder if folder is None else folder
        if chip := _chip(subject, runs):
            return chip, runs / f"chip-{safe_serial(subject)}.html"
        run = resolve_run(subject, runs)
    return run, run.with_suffix(".html")


def _chip(serial: str, folder: Path) -> ChipRecord | None:
    """The record of the chip; None where no run in `folder` is of it."""
    from labctl.chips import chip_record

    try:
        return chip_record(serial, folder)
    except NoRunError:
        return None
