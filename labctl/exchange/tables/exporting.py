"""Writes runs as files of other programs.

export_tables([Path("run.h5")], "csv") -> Exported
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from labctl.errors import ExportError
from labctl.exchange.exported import Exported
from labctl.exchange.tables.columns import Table
from labctl.exchange.tables.csv_files import write_csv, write_package
from labctl.exchange.tables.matlab_files import write_matlab
from labctl.exchange.tables.netcdf_files import write_netcdf
from labctl.exchange.tables.origin import Origin, origin_of
from labctl.exchange.tables.outputs import make_folder, refuse_existing, writing
from labctl.exchange.tables.parquet_files import write_parquet
from labctl.exchange.tables.runs import TABLES, OpenRun, open_to_export, run_tables
from labctl.exchange.tables.zarr_stores import write_zarr
from labctl.recording.layout import Outcome

Format = Literal["csv", "parquet", "netcdf", "zarr", "matlab"]
FORMATS: tuple[Format, ...] = get_args(Format)

_WHOLE: dict[str, Callable[[Sequence[Table], Origin, Path], None]] = {
    "netcdf": write_netcdf,
    "zarr": write_zarr,
    "matlab": write_matlab,
}
"""Formats that hold all tables of a run in one file or store."""
_ENDINGS = {"csv": ".csv", "parquet": ".parquet", "netcdf": ".nc", "zarr": ".zarr", "matlab": ".mat"}
_CODES = ("netcdf", "zarr")
"""Formats whose readers decode codes themselves."""
_PACKAGE = "datapackage.json"


def export_tables(
    runs: Sequence[Path],
    to: Format,
    output: Path | None = None,
    *,
    what: Collection[str] = TABLES,
    joined: bool = False,
    raw: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write each of `runs` in the format `to`.

    output: of one run, the file or the Zarr store, or a folder that it comes into (one that is there, or any other name
    without an ending, which is made), or of CSV and Parquet with several tables their folder; of several runs the
    folder that takes them all. Named after the run and beside it where None. what: which tables. joined: events carry
    what they share with their operation, their phase, and row and column. raw: codes of the converters with their scale
    (netcdf and zarr). overwrite: what exists already. Nothing is written unless each of `runs` can be opened and has
    such tables. Raises ExportError, and RecordingError for what is no run.
    """
    if raw and to not in _CODES:
        raise ExportError(f"{to} has no scale for codes: --raw is for {' and '.join(_CODES)}")
    place = output if len(runs) == 1 else None
    folders = [path.parent if output is None else output for path in runs]
    if to in _WHOLE and not overwrite:  # before xarray is imported
        refuse_existing([_whole_path(path, to, place, folder) for path, folder in zip(runs, folders, strict=True)])
    if len(runs) > 1:
        _check_all(runs, what)
        if output is not None:
            make_folder(output)
    paths: list[Path] = []
    notes: list[str] = []
    for path, folder in zip(runs, folders, strict=True):
        with open_to_export(path) as run:
            tables = run_tables(run, what, joined=joined, raw=raw)
            write = _write_whole if to in _WHOLE else _write_files
            paths += write(tables, to, run, place, folder, overwrite)
            notes += _notes(run, set(what) - {table.name for table in tables} if what != TABLES else ())
    return Exported(tuple(paths), tuple(notes))


def _check_all(runs: Sequence[Path], what: Collection[str]) -> None:
    """Raises what exporting them would, so that the last of many does not stop it halfway."""
    for path in runs:
        with open_to_export(path) as run:
            run_tables(run, what)


def _notes(run: OpenRun, missing: Collection[str]) -> list[str]:
    """What the reader of the files should know. missing: tables that were named, and are not in the run."""
    return [*_outcome(run), *(f"{run.path.name} has no {name}" for name in sorted(missing))]


def _outcome(run: OpenRun) -> list[str]:
    if run.commit.outcome is Outcome.LIVE:
        return [f"{run.path.name} is being written: exported as of now"]
    if run.commit.outcome is Outcome.KILLED:
        return [f"{run.path.name} was killed: its last {run.commit.unsettled} operations are of unknown dose"]
    return []


def _write_whole(
    tables: Sequence[Table], to: str, run: OpenRun, place: Path | None, folder: Path, overwrite: bool
) -> list[Path]:
    path = _whole_path(run.path, to, place, folder)
    with _folder(path.parent, make=path.parent == place), writing([path], overwrite=overwrite) as parts:
        _WHOLE[to](tables, origin_of(run), parts[0])
    return [path]


def _whole_path(run: Path, to: str, place: Path | None, folder: Path) -> Path:
    name = f"{run.stem}{_ENDINGS[to]}"
    return folder / name if place is None else _within(place, name, to)


def _write_files(
    tables: Sequence[Table], to: str, run: OpenRun, place: Path | None, folder: Path, overwrite: bool
) -> list[Path]:
    """A file a table; of one table that file, of more a folder of them. Beside CSV what its columns mean."""
    apart = [each for table in tables for each in (table.by_dimensions() if table.name == "results" else [table])]
    flat = [table.flat() for table in apart if table.name != "settings"]
    if not flat:
        raise ExportError(f"settings of any shape are no table: {to} cannot hold them; netcdf, zarr and matlab do")
    if len(flat) == 1:
        name = f"{run.path.stem}_{flat[0].name}{_ENDINGS[to]}"
        single = folder / name if place is None else _within(place, name, to)
        files, package = {single: flat[0]}, single.with_suffix(".json")
    else:
        inside = place or folder / f"{run.path.stem}_{to}"
        if inside.is_file():
            raise ExportError(f"{inside} is a file: several tables are written into a folder")
        files, package = {inside / f"{table.name}{_ENDINGS[to]}": table for table in flat}, inside / _PACKAGE
    origin = origin_of(run)
    paths = [*files, package] if to == "csv" else list(files)
    parent = paths[0].parent
    with _folder(parent, make=len(flat) > 1 or parent == place), writing(paths, overwrite=overwrite) as parts:
        for table, part in zip(files.values(), parts, strict=False):
            if to == "csv":
                write_csv(table, part)
            else:
                write_parquet(table, origin, part)
        if to == "csv":
            write_package({path.name: table for path, table in files.items()}, origin, parts[-1])
    return paths


def _within(place: Path, name: str, to: str) -> Path:
    """`place` itself, or `name` in it where it is a folder, or shall be one, as its name has no ending. A Zarr store is
    a folder itself."""
    if to == "zarr":
        is_folder = place.is_dir() and not (place / "zarr.json").is_file()
    else:
        is_folder = place.is_dir() or not (place.suffix or place.exists())
    return place / name if is_folder else place


@contextlib.contextmanager
def _folder(path: Path, *, make: bool) -> Iterator[None]:
    """Made for as long as something comes into it."""
    is_new = make and not path.exists()
    if is_new:
        make_folder(path)
    try:
        yield
    except BaseException:
        if is_new:
            path.rmdir()
        raise
