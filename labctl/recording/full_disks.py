"""A file for HDF5 to write to that a full disk does not bring down.

HDF5 copes badly with a write that fails: what it could not write it tries again whenever something is closed, and in
the end it crashes the process. So it is not told. From the first failure on what it writes is dropped, as the file is
of no use any more; who writes with it asks now and then (`check`), and is told at the end.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def file_for_hdf5(path: Path) -> Iterator[DiskFile]:
    """A new file at `path`, which h5py and h5netcdf take in place of its name; close theirs within.

    Raises OSError where the system refused to write, whatever HDF5 made of it.
    """
    file = DiskFile(path)
    try:
        yield file
        file.sync()
    except Exception:
        file.check()
        raise
    finally:
        file.close()
    file.check()


class DiskFile(io.RawIOBase):
    """What h5py asks of a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._problem: OSError | None = None

    def check(self) -> None:
        """Raise the first OSError of writing, where there was one."""
        if self._problem is not None:
            raise self._problem

    def sync(self) -> None:
        """All of it to the disk itself: what it is to replace must not be gone before it is there."""
        if self._problem is None:
            os.fsync(self._file.fileno())

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        """What was dropped reads as zeros."""
        count = self._file.readinto(buffer) or 0
        if self._problem is not None:
            view = memoryview(buffer).cast("B")
            view[count:] = bytes(len(view) - count)
            return len(view)
        return count

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while self._problem is None and len(left):
                left = left[self._file.write(left) :]
        except OSError as problem:
            self._problem = problem
        return size

    def truncate(self, size: int | None = None, /) -> int:
        if self._problem is not None:
            return size or 0
        return self._file.truncate(size)

    def close(self) -> None:
        self._file.close()
        super().close()
