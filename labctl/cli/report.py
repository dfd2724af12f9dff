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
    runs = read_bench().runs_folder if folder is None else folder
    chip = None if Path(subject).exists() else _chip(subject, runs)
    from labctl.analysis.report import check_output, chip_page, run_page, save_report

    if chip is not None:
        target = output or runs / f"chip-{safe_serial(subject)}.html"
    else:
        run = resolve_run(subject, runs)
        target = output or run.with_suffix(".html")
    check_output(target, overwrite=force)  # before the work
    page = run_page(run) if chip is None else chip_page(chip)
    click.echo(save_report(page, target, overwrite=force))


def _chip(serial: str, folder: Path) -> ChipRecord | None:
    """The record of the chip; None where no run in `folder` is of it."""
    from labctl.chips import chip_record

    try:
        return chip_record(serial, folder)
    except NoRunError:
        return None
