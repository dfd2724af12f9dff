"""The file of a run going on: tables that grow, maps that are overwritten, the commit that makes them count.

In SWMR mode from its first row to its last, so that others read it and a kill at any write leaves it
readable. Finishing, too, happens in SWMR mode; closing only tells HDF5 that nobody writes any more.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

import h5py

from labctl.recording.checksums import checksums
from labctl.recording.columns import Block, Bytes, Flushing, Table
from labctl.recording.ended import write_ended
from labctl.recording.layout import SLOTS, Commit
from labctl.recording.skeleton import set_text_attribute, write_text
from labctl.recording.text import iso_time, json_text
from labctl.steps import Result

_PATIENCE_S = 1.0


class LiveFile:
    """A run file built by `skeleton`, open for rows. Everything here raises what HDF5 raises."""

    def __init__(self, path: Path, commit: Commit, *, fsync: bool) -> None:
        """commit: how far the file at `path` is already."""
        self._fsync = fsync
        self._file = _open_for_rows(path)
        self._flushing = due = Flushing()
        self.events = Table(self._file["events"], "event", due, commit.events)
        self.operations = Table(self._file["operations"], "operation", due, commit.operations)
        self.steps = Table(self._file["steps"], "step", due, commit.steps)
        around = self._file.get("auxiliaries")
        self.auxiliaries = None if around is None else Table(around, "sample", due, commit.samples)
        maps = self._file["maps"]
        self.maps = {name: Block(maps, name, due) for name in maps if name not in ("row", "col")}
        slots = self._file.get("checkpoint")
        self.slots = [] if slots is None else [Bytes(slots, name, f"{name}_bytes", due) for name in SLOTS]
        self._record = Block(self._file["commit"], "record", due)

    def commit(self, commit: Commit) -> None:
        """Everything written so far first, then the one small row that makes it count.

        What was written in place is in the file already; only where HDF5 had something to write it has to be flushed.
        """
        if self._flushing.is_due:
            self._flushing.is_due = False
            h5py.h5f.flush(self._file.id)
        self._sync()
        self._record.write(commit.row()[: self._record.shape[0]])  # a file of an older labctl has room for fewer
        self._sync()

    def copy_ended(self, part: Path, texts: Mapping[str, str], commit: Commit, results: Mapping[str, Result]) -> None:
        """What `finish` would make of the file as the new file `part`, with `results`, to which this one cannot add."""
        h5py.h5f.flush(self._file.id)
        write_ended(self._file, part, texts, commit, results)

    def finish(self, texts: Mapping[str, str], commit: Commit) -> None:
        """Texts, columns cut to what counts, what their checksums are, and the outcome last."""
        for name, content in texts.items():
            write_text(self._file["provenance"], name, content)
        self.events.trim(commit.events)
        self.operations.trim(commit.operations)
        self.steps.trim(commit.steps)
        if self.auxiliaries is not None:
            self.auxiliaries.trim(commit.samples)
        for slot, size in zip(self.slots, commit.slot_bytes.values(), strict=False):
            slot.trim(size)
        write_text(self._file["provenance"], "checksums", json_text(checksums(self._file)))
        self.commit(commit)
        set_text_attribute(self._file, "ended", iso_time(commit.ended))
        set_text_attribute(self._file, "outcome", commit.outcome.value)
        h5py.h5f.flush(self._file.id)
        self._sync()

    def close(self) -> None:
        """Let go of the file. After a write error HDF5 may have more to write and fail again: no news."""
        with contextlib.suppress(OSError, RuntimeError):
            self._file.close()

    def _sync(self) -> None:
        if self._fsync:
            os.fsync(self._file.id.get_vfd_handle())


def _open_for_rows(path: Path) -> h5py.File:
    """Open for SWMR writing in one go: at no moment would a kill leave it marked as open for plain writing,
    and so for nobody to open again.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return h5py.File(h5py.h5f.open(os.fsencode(path), flags, access))
        except BlockingIOError:  # somebody is just opening it to read: HDF5 locks it for that moment
            if time.monotonic() > deadline:
                raise
            time.sleep(_PATIENCE_S / 1000)
