"""The events of a run that need not fit in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labctl.errors import UsageError
from labctl.recording.reader import open_run

if TYPE_CHECKING:
    import xarray as xr

_CHUNK = 1 << 20


def open_events(path: str | Path, chunks: int = _CHUNK) -> xr.Dataset:
    """The group `events` of the run at `path`, as `labctl.open_run` has it, in dask arrays of `chunks` rows each.

    What is computed of it takes memory for some chunks at a time, whatever the run's size: give a cluster's workers the
    path, and let each open it. Close it, or use it in `with`. Raises UsageError without the extra `dask`,
    RecordingError for what is not a run file.
    """
    if chunks < 1:
        raise UsageError(f"chunks have a row at least, not {chunks}")
    try:
        import dask.array  # noqa: F401 - xarray would say at length that it is missing
    except ImportError:
        raise UsageError("events in chunks need the extra `dask`: pip install 'labctl[dask]'") from None
    tree = open_run(path)
    events = tree["events"].to_dataset().chunk(event=chunks)
    events.set_close(tree.close)
    return events.assign_attrs(tree.attrs)
