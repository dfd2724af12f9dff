"""Lists runs from their files alone."""

from __future__ import annotations

import contextlib
from pathlib import Path

from labctl.errors import RecordingError
from labctl.recording.reader import RunSummary, read_summary


def list_runs(folder: Path) -> list[RunSummary]:
    """The runs in `folder`, oldest first; other HDF5 files are passed over."""
    runs = []
    for path in folder.glob("*.h5"):
        with contextlib.suppress(RecordingError):
            runs.append(read_summary(path))
    return sorted(runs, key=lambda run: (run.started, run.path.name))
