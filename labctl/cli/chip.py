"""`labctl chip list|show|map|exclude`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from labctl.bench.settings import read_bench
from labctl.chips.exclusions import Exclusion, clear, exclude, exclusions_path, read_exclusions
from labctl.chips.maps import MAPS
from labctl.chips.record import chip_record, is_associative_array, pulses_of
from labctl.cli.console import print_json, print_table
from labctl.errors import NoRunError, UsageError
from labctl.recording.catalogue import Catalogue

_FOLDER = click.option(
    "--folder", type=click.Path(path_type=Path), help="Where its runs are. Default: where the bench puts them."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group()
def chip() -> None:
    """Show what a chip's runs say of its cells, and exclude bad ones."""


@chip.command("list", short_help="The chips that a folder's runs are of.")
@_FOLDER
@_JSON
def list_(folder: Path | None, as_json: bool) -> None:
    """The chips that the runs in a folder are of, how many runs, and what these count as pulses; the latest last."""
    where = _where(folder)
    catalogue = Catalogue(where) if folder is not None or where.exists() else None
    found: dict[str, dict[str, Any]] = {}
    for each in catalogue.entries if catalogue else ():
        runs = found.pop(each.chip_serial, {"runs": 0})["runs"] + 1
        row = {"runs": runs, "cell": each.cell, "rows": each.rows, "cols": each.cols, "last": each.path.name}
        found[each.chip_serial] = row
    if catalogue:
        found = {serial: row | {"pulses": pulses_of(serial, catalogue)} for serial, row in found.items()}
    if as_json:
        print_json([{"serial": serial, **row} for serial, row in found.items()])
        return
    print_table(
        [
            (serial, f"{row['rows']} x {row['cols']} {row['cell']}", row["runs"], f"{row['pulses']:,}", row["last"])
            for serial, row in found.items()
        ],
        ("chip", "cells", "runs", "pulses", "last run"),
    )


@chip.command(short_help="What all runs of a chip say of its cells.")
@click.argument("serial")
@_FOLDER
@click.option("--bench", type=click.Path(path_type=Path), help="Bench file, for lifetimes. Default: $LABCTL_BENCH.")
@_JSON
def show(serial: str, folder: Path | None, bench: Path | None, as_json: bool) -> None:
    """What all runs of chip SERIAL say: yield, defects, pulses and dose, wear, last readings, runs, warnings."""
    from labctl.cli.chip_tables import as_values, print_record

    file = read_bench(bench)
    record = chip_record(serial, folder or file.runs_folder)
    lifetimes = {name: array.wear for name, array in file.settings.arrays.items()}
    if as_json:
        print_json(as_values(record, lifetimes))
        return
    print_record(record, lifetimes)


@chip.command("map", short_help="A map of a chip, in the terminal or a file.")
@click.argument("serial")
@click.option("--of", type=click.Choice(list(MAPS)), default="defects", show_default=True, help="What of each cell.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".png, .svg, .pdf, .csv or .npy.")
@_FOLDER
def map_(serial: str, of: Any, output: Path | None, folder: Path | None) -> None:
    """A map of chip SERIAL: in the terminal, or in a file, in SI units there."""
    from labctl.cli.chip_maps import print_map, save_map

    record = chip_record(serial, _where(folder))
    if output is None:
        print_map(record, of)
        return
    save_map(record, of, output)
    click.echo(output)


@chip.command("exclude", short_help="Have protocols leave cells alone, or not any more.")
@click.argument("serial")
@click.option("--cells", multiple=True, metavar="ROW,COL", help="A cell; may be given again.")
@click.option("--rows", multiple=True, metavar="ROW[:LAST]", help="Whole rows, as 17 or 3:5, which is 3, 4 and 5.")
@click.option("--cols", multiple=True, metavar="COL[:LAST]", help="Whole columns.")
@click.option("--because", metavar="TEXT", help="Why; needed to exclude.")
@click.option("--new", "is_new", is_flag=True, help="No run in the folder is of that chip yet.")
@click.option("--clear", "clears", is_flag=True, help="Take back: what is named, or all that people exclude.")
@click.option("--list", "lists", is_flag=True, help="Print what people exclude; change nothing.")
@_FOLDER
@_JSON
def exclude_(
    serial: str,
    cells: tuple[str, ...],
    rows: tuple[str, ...],
    cols: tuple[str, ...],
    because: str | None,
    is_new: bool,
    clears: bool,
    lists: bool,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Have every protocol leave cells of chip SERIAL alone, whatever its runs say of them.

    A run with --all-cells touches them all the same.
    """
    where = _where(folder)
    named = Exclusion(
        because=(because or "").strip(),
        cells=tuple(_cell(each) for each in cells),
        rows=tuple(number for each in rows for number in _numbers("--rows", each)),
        cols=tuple(number for each in cols for number in _numbers("--cols", each)),
    )
    names_any = bool(named.cells or named.rows or named.cols)
    if sum((lists, clears, because is not None)) != 1 or (lists and names_any):
        raise UsageError(
            "say what to do: cells with --because TEXT excludes them, --clear takes back, --list prints what there is"
        )
    if because is not None:
        _add(where, serial, named, is_new=is_new)
    elif clears and not clear(where, serial, named if names_any else None) and names_any:
        raise UsageError(f"nothing of that is excluded; see labctl chip exclude {serial} --list")
    _print_exclusions(where, serial, as_json)


def _add(folder: Path, serial: str, named: Exclusion, *, is_new: bool) -> None:
    """Refuse what is not on the chip, as the newest run says how large that is; a chip without a run has to be new."""
    if not (named.cells or named.rows or named.cols):
        raise UsageError("name what to exclude: --cells ROW,COL, --rows ROW or --cols COL")
    if not named.because:
        raise UsageError("--because: say why, for whoever wonders later")
    shapes = _shapes(folder)
    if serial in shapes and is_associative_array(serial, Catalogue(folder)):
        raise UsageError(f"chip {serial} is an associative array, whose protocols leave no cells out")
    if serial in shapes:
        named.mask(*shapes[serial])
    elif is_new:
        click.echo(
            f"labctl: no run of chip {serial} in {folder} yet: nobody can say whether it has these cells", err=True
        )
    else:
        there_are = f"; there are runs of {', '.join(sorted(shapes))}" if shapes else ""
        raise UsageError(f"there is no run of chip {serial} in {folder}{there_are}; say --new if it is a new chip")
    exclude(folder, serial, named)


def _shapes(folder: Path) -> dict[str, tuple[int, int]]:
    """Rows and columns of every chip that there are runs of, by its serial number."""
    entries = Catalogue(folder).entries if folder.is_dir() else []
    return {each.chip_serial: (each.rows, each.cols) for each in entries if each.chip_serial}


def _print_exclusions(folder: Path, serial: str, as_json: bool) -> None:
    found = read_exclusions(folder, serial)
    if as_json:
        print_json(
            {
                "serial": serial,
                "file": str(exclusions_path(folder, serial)),
                "exclusions": [{name: getattr(each, name) for name in each.__struct_fields__} for each in found],
            }
        )
        return
    if not found:
        click.echo(f"people exclude no cell of chip {serial}", err=True)
        return
    rows = [(_what(each), each.because, each.by, each.at) for each in found]
    print_table(rows, ("excluded", "because", "by", "at"))


def _what(exclusion: Exclusion) -> str:
    parts = [f"cell {row},{col}" for row, col in exclusion.cells]
    parts += [f"row {row}" for row in exclusion.rows] + [f"column {col}" for col in exclusion.cols]
    shown = parts[:_MOST_SHOWN]
    return ", ".join(shown) + (f" and {len(parts) - len(shown)} more" if len(parts) > len(shown) else "")


_MOST_SHOWN = 6
_MOST_LINES = 100_000


def _cell(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text, re.ASCII)
    if found is None:
        raise click.BadParameter(f"write ROW,COL, like 3,4, not {text!r}", param_hint="--cells")
    return int(found[1]), int(found[2])


def _numbers(option: str, text: str) -> range:
    found = re.fullmatch(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?", text, re.ASCII)
    if found is None:
        raise click.BadParameter(f"write 17, or 3:5 for 3 to 5, not {text!r}", param_hint=option)
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last < _MOST_LINES:
        raise click.BadParameter(f"{text} is no span of lines", param_hint=option)
    return range(first, last + 1)


def _where(folder: Path | None) -> Path:
    """Raises NoRunError where what is named is no folder."""
    if folder is not None and not folder.is_dir():
        raise NoRunError(f"there is no folder {folder}")
    return folder if folder is not None else read_bench().runs_folder
