"""Lists runs from their files alone."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path

from labctl.errors import NoRunError, RecordingError
from labctl.recording.reader import RunSummary, read_summary


def list_runs(folder: Path) -> list[RunSummary]:
    """The runs in `folder`, oldest first; other HDF5 files, and files that are no whole run, are passed over.

    Raises NoRunError where there is no such folder.
    """
    if not folder.exists():
        raise NoRunError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise NoRunError(f"{folder} is a file, not a folder of runs")
    runs = []
    for path in folder.glob("*.h5"):
        with contextlib.suppress(RecordingError):
            runs.append(read_summary(path))
    return sorted(runs, key=lambda run: (_wall_clock(run), run.path.name))


def _wall_clock(run: RunSummary) -> float:
    """When the run started by the clock on the wall: `started` is by the board's, which may be virtual."""
    for said in (run.attributes.get("wall_time_start"), run.started):
        with contextlib.suppress(ValueError):
            return dt.datetime.fromisoformat(str(said)).timestamp()
    return 0.0
