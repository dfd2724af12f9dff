"""Reads run files: finished, live and killed alike, cut to what was committed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import msgspec

from labctl.errors import NoRunError, RecordingError
from labctl.recording import layout, names
from labctl.recording.layout import Commit, Outcome
from labctl.recording.superblock import (
    Superblock,
    plainly,
    read_superblock,
    refuse_damaged_metadata,
    refuse_missing_rows,
)
from labctl.recording.text import iso_time

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a list of runs shows.

    started, ended: UTC, ISO 8601; where nobody closed the file, the last step's. attributes: the flat
    provenance (`chip_serial`, `operator`, ...). summary: what the protocol returned. unsettled: operations
    with an intent and no outcome, so in a killed run pulses of unknown dose. unknown_dose: pulses of which nobody can
    say whether they were applied, those among them.
    """

    path: Path
    protocol: str
    title: str
    outcome: Outcome
    message: str
    started: str
    ended: str
    rows: int
    cols: int
    steps: int
    operations: int
    events: int
    pulses: int
    unknown_dose: int
    unsettled: int
    attributes: Mapping[str, Any]
    summary: Mapping[str, Any]


def open_run(path: str | Path) -> xarray.DataTree:
    """The run at `path` as a lazy `xarray.DataTree`; close it, or use it in `with`.

    Groups `events` (V, S; with the derived `time`, `operation` and `status`), `operations`, `steps`, `maps`,
    `provenance`, and `auxiliaries` where there were any. The tree's attribute `outcome` is finished, interrupted,
    failed, live or killed; `unsettled` counts operations with an intent but no outcome, which stand last: in flight in
    a live run, of unknown dose in a killed one. Raises RecordingError for what is not a run file.
    """
    from labctl.recording.tree import open_tree

    path = Path(path)
    with opened(path) as (file, commit), whole(path):
        return open_tree(path, commit, swmr=file.swmr_mode)


def read_summary(path: str | Path) -> RunSummary:
    """The run at `path` in a few lines. Raises RecordingError for what is not a run file."""
    path = Path(path)
    with opened(path) as (file, commit), whole(path):
        return summarise(path, file, commit)


def summarise(path: Path, file: h5py.File, commit: Commit) -> RunSummary:
    """The run of an open `file` in a few lines, as of `commit`. Raises what h5py raises where it lacks a part."""
    attributes = {name: text(file.attrs[name]) for name in file.attrs}
    message = summary = ""
    if commit.outcome not in (Outcome.LIVE, Outcome.KILLED):
        message, summary = read_text(file, "message"), read_text(file, "summary")
    return RunSummary(
        path=path,
        protocol=attributes["protocol"],
        title=attributes["title"],
        outcome=commit.outcome,
        message=message,
        started=attributes["started"],
        ended=iso_time(commit.ended),
        rows=int(attributes["rows"]),
        cols=int(attributes["cols"]),
        steps=commit.steps,
        operations=commit.operations,
        events=commit.events,
        pulses=commit.pulses,
        unknown_dose=0 if layout.is_associative(attributes) else _unknown_dose(file["operations"], commit),
        unsettled=commit.unsettled,
        attributes={name: item for name, item in attributes.items() if name not in layout.OWN_ATTRIBUTES},
        summary=msgspec.json.decode(summary or "{}", type=dict[str, Any]),
    )


def read_text(file: h5py.File, name: str) -> str:
    """One of the texts in `provenance` that are written at the end."""
    content: str = file["provenance"][name][:].tobytes().decode()
    return content


def _unknown_dose(operations: h5py.Group, commit: Commit) -> int:
    """Events of unknown dose; of what is in flight in a live run nothing is unknown yet."""
    settled, intended = commit.operations, commit.operations_intended
    events = operations["events"][:intended]
    unknown = int(events[:settled][operations["state"][:settled] == layout.State.UNKNOWN_DOSE].sum())
    return unknown + (int(events[settled:].sum()) if commit.outcome is Outcome.KILLED else 0)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[h5py.File, Commit]]:
    """The run file at `path` and its last commit, whose outcome is never RUNNING but LIVE or KILLED.

    Whether somebody writes it is asked before its outcome is read: the other way round, a run that ends in
    between would look killed.
    """
    live = names.is_live(path)
    try:
        file = _open(path, live=live)
    except FileNotFoundError:
        raise NoRunError(f"there is no file {path}") from None
    except OSError as error:
        reason = "no HDF5 file" if "signature" in str(error) else _first_line(error)
        raise NoRunError(f"{path} is not a run file: {reason}") from error
    with file:
        with whole(path):
            _check_kind(file, path)
            commit = _last_commit(file)
        if commit.outcome is Outcome.RUNNING:
            commit = commit._replace(outcome=Outcome.LIVE if live else Outcome.KILLED)
        yield file, commit


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Whatever a file that lacks a part of a run makes h5py, xarray and decoders say, in one sentence."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise RecordingError(f"{path} is not a whole run file: {_first_line(error)}") from error
    except (OSError, RuntimeError, msgspec.MsgspecError) as error:
        raise RecordingError(f"{path} is not a whole run file: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return str(said or (error.args[0] if error.args else error)).partition("\n")[0]


def _open(path: Path, *, live: bool) -> h5py.File:
    """In SWMR mode only where a writer has the file, or had when it was killed: HDF5 does not notice there that
    a file is cut short or damaged, and may never come back. A kill never leaves one shorter than its superblock says.
    """
    block = read_superblock(path)
    if live:
        return h5py.File(path, "r", swmr=True)
    if block and block.missing:
        _refuse_cut(path, block)
        return h5py.File(path, "r", swmr=True)
    if block and block.marked_open:
        with whole(path), plainly(path) as file:
            refuse_damaged_metadata(file)
    try:
        return h5py.File(path, "r", swmr=block is not None and block.marked_open)
    except OSError as error:
        if "SWMR" not in str(error):
            raise
        return h5py.File(path, "r", swmr=True)  # this process has it open from when it was live


def _refuse_cut(path: Path, block: Superblock) -> None:
    """A file may only be short where a full disk ended the run: closed, no outcome, and all that counts there."""
    cut = RecordingError(f"{path} is not a whole run file: its last {block.missing} bytes are missing")
    if block.marked_open:
        raise cut
    with whole(path), plainly(path) as file:
        _check_kind(file, path)
        commit = Commit.from_row(file["commit/record"][:])
        if commit.outcome is not Outcome.RUNNING:
            raise cut
        counted = {"events": commit.events, "operations": commit.operations, "steps": commit.steps}
        counted["auxiliaries"] = commit.samples
        counted |= {f"checkpoint/{slot}": size for slot, size in commit.slot_bytes.items()}
        refuse_missing_rows(file, path, counted)


def _check_kind(file: h5py.File, path: Path) -> None:
    """That it is a run of a labctl no newer than this, with every part readers count on."""
    if file.attrs.get("format") != layout.FORMAT:
        raise NoRunError(f"{path} is not a run file of labctl")
    if file.attrs["format_version"] > layout.FORMAT_VERSION:
        raise RecordingError(f"{path} was written by a newer labctl; update this one")
    for name in ("protocol", "title", "started", "rows", "cols"):
        if name not in file.attrs:
            raise RecordingError(f"{path} is not a whole run file: it lacks the attribute `{name}`")
    for name in ("events", "operations", "steps", "maps", "provenance", "commit/record"):
        if name not in file:
            raise RecordingError(f"{path} is not a whole run file: it lacks `{name}`")


def _last_commit(file: h5py.File) -> Commit:
    """Read first; then the rest is made as new, which may be newer. The other way round it might lack rows.

    Where this process has the file open already, HDF5 would show it as it was then.
    """
    record = file["commit/record"]
    record.refresh()
    commit = Commit.from_row(record[:])
    if h5py.h5f.get_obj_count(file.id, h5py.h5f.OBJ_FILE) > 1:
        for group in file.values():
            for dataset in group.values():
                dataset.refresh()
    return commit


def text(content: Any) -> Any:
    """Attributes of fixed length, which are bytes to h5py, as text."""
    return content.decode() if isinstance(content, bytes) else content
