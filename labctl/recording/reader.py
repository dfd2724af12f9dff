"""Reads run files: finished, live and killed alike, cut to what was committed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import msgspec
import numpy as np

from labctl.errors import RecordingError
from labctl.recording import layout, names
from labctl.recording.layout import Counter, Outcome

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a list of runs shows.

    started, ended: UTC, ISO 8601; `ended` is empty where nobody closed the file. attributes: the flat
    provenance (`chip_serial`, `operator`, ...). summary: what the protocol returned. unsettled: operations
    with an intent and no outcome, so in a killed run pulses of unknown dose.
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
    unsettled: int
    attributes: Mapping[str, Any]
    summary: Mapping[str, Any]


def open_run(path: str | Path) -> xarray.DataTree:
    """The run at `path` as a lazy `xarray.DataTree`; close it, or use it in `with`.

    Groups `events` (V, S; with the derived `time`, `operation` and `status`), `operations`, `steps`, `maps`
    and `provenance`. The tree's attribute `outcome` is finished, interrupted, failed, live or killed;
    `unsettled` counts operations with an intent but no outcome, which stand last: in flight in a live run, of
    unknown dose in a killed one. Raises RecordingError for what is not a run file.
    """
    from labctl.recording.tree import open_tree

    path = Path(path)
    with opened(path) as (file, outcome):
        return open_tree(path, outcome, counters(file))


def read_summary(path: str | Path) -> RunSummary:
    """The run at `path` in a few lines. Raises RecordingError for what is not a run file."""
    path = Path(path)
    with opened(path) as (file, outcome):
        count = counters(file)
        attributes = {name: text(content) for name, content in file.attrs.items()}
        texts = dict.fromkeys(layout.TEXTS, "")
        if attributes["outcome"] != Outcome.RUNNING:
            texts = {name: file["provenance"][name][:].tobytes().decode() for name in layout.TEXTS}
    return RunSummary(
        path=path,
        protocol=attributes["protocol"],
        title=attributes["title"],
        outcome=outcome,
        message=texts["message"],
        started=attributes["started"],
        ended=attributes["ended"],
        rows=int(attributes["rows"]),
        cols=int(attributes["cols"]),
        steps=count[Counter.STEPS],
        operations=count[Counter.OPERATIONS],
        events=count[Counter.EVENTS],
        pulses=count[Counter.PULSES],
        unsettled=count[Counter.OPERATIONS_INTENDED] - count[Counter.OPERATIONS],
        attributes={name: item for name, item in attributes.items() if name not in layout.OWN_ATTRIBUTES},
        summary=msgspec.json.decode(texts["summary"] or "{}"),
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[h5py.File, Outcome]]:
    """The run file at `path`, as up to date as its counters, and how the run stands.

    Whether somebody writes it is asked before its outcome is read: the other way round, a run that ends in
    between would look killed.
    """
    live = names.is_live(path)
    try:
        file = h5py.File(path, "r", swmr=True)
    except FileNotFoundError:
        raise RecordingError(f"there is no file {path}") from None
    except OSError as error:
        raise RecordingError(f"{path} is not a run file: {error}") from error
    with file:
        if file.attrs.get("format") != layout.FORMAT:
            raise RecordingError(f"{path} is not a run file of labctl")
        if file.attrs["format_version"] > layout.FORMAT_VERSION:
            raise RecordingError(f"{path} was written by a newer labctl; update this one")
        outcome = Outcome(text(file.attrs["outcome"]))
        if outcome is Outcome.RUNNING:
            outcome = Outcome.LIVE if live else Outcome.KILLED
        yield file, outcome


def counters(file: h5py.File) -> list[int]:
    """What is complete in `file`, by `Counter`."""
    counts: np.ndarray = file["commits/counters"][:]
    return [int(count) for count in counts]


def text(content: Any) -> Any:
    """Attributes of fixed length, which are bytes to h5py, as text."""
    return content.decode() if isinstance(content, bytes) else content
