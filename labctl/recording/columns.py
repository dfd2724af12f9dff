"""Columns of a live file: HDF5 datasets that grow together and are written in place.

HDF5 finds room for a chunk and writes the first rows in it; further rows go straight to where the chunk lies in the
file, as a step of a few cells would otherwise spend its time on the way through HDF5. There is no chunk cache, so that
a write puts exactly its bytes into the file at once, whatever the chunk. Only the first write to a chunk fills the
rest of it.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

_IN_PLACE = hasattr(os, "pwrite")  # not on Windows, where every write goes through HDF5


class Flushing:
    """Whether HDF5 was given something to write since the last flush: the file may not know all of it yet."""

    def __init__(self) -> None:
        self.is_due = False


class _Dataset:
    """One dataset opened without a chunk cache, and where the chunk lies in the file that was begun last."""

    def __init__(self, group: h5py.Group, name: str, flushing: Flushing) -> None:
        access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        access.set_chunk_cache(1, 0, 1.0)
        self.id = h5py.h5d.open(group.id, name.encode(), access)
        self.dtype: np.dtype[Any] = self.id.dtype
        self._flushing = flushing
        self._rows: int = self.id.get_create_plist().get_chunk()[0]
        self._row_size = math.prod(self.id.shape[1:]) * self.dtype.itemsize
        self._memory_type = h5py.h5t.py_create(self.dtype)
        self._descriptor: int = group.file.id.get_vfd_handle()
        self._offset = self._first_row = self._end_row = 0

    def write(self, place: h5py.h5s.SpaceID, first: int, values: ArrayLike) -> None:
        """Whole rows of `values` from row `first` on. `place`: the dataset's, in which those are then selected."""
        content: NDArray[Any] = np.ascontiguousarray(values, self.dtype)
        if self._first_row <= first and first + len(content) <= self._end_row:
            _write_at(self._descriptor, content, self._offset + (first - self._first_row) * self._row_size)
            return
        place.select_hyperslab((first, *(0 for _ in content.shape[1:])), content.shape)
        self.id.write(h5py.h5s.create_simple(content.shape), place, content, self._memory_type)
        self._flushing.is_due = True
        if _IN_PLACE:
            self._first_row = (first + len(content) - 1) // self._rows * self._rows
            self._end_row = self._first_row + self._rows
            corner = (self._first_row, *(0 for _ in content.shape[1:]))
            self._offset = self.id.get_chunk_info_by_coord(corner).byte_offset

    def forget_chunk(self) -> None:
        """The next write goes through HDF5, which may have moved or dropped what it knew."""
        self._first_row = self._end_row = 0  # no row is in it


def _write_at(descriptor: int, content: NDArray[Any], offset: int) -> None:
    """Raises OSError where the system does not take all of it, as on a full disk."""
    written = os.pwrite(descriptor, content.data, offset)
    while written < content.nbytes:
        further = os.pwrite(descriptor, content.reshape(-1).view(np.uint8).data[written:], offset + written)
        if not further:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += further


class Block:
    """A dataset that keeps its shape and is overwritten whole: a map, or the commit counters. It has one chunk."""

    def __init__(self, group: h5py.Group, name: str, flushing: Flushing) -> None:
        self._dataset = _Dataset(group, name, flushing)
        self._space = self._dataset.id.get_space()
        self.shape: tuple[int, ...] = self._dataset.id.shape

    def write(self, values: ArrayLike) -> None:
        """All of `values`, of this block's shape."""
        self._dataset.write(self._space, 0, values)


class Bytes:
    """A dataset of bytes that is overwritten whole and grows as needed; `dimension` is the scale that grows with it."""

    def __init__(self, group: h5py.Group, name: str, dimension: str, flushing: Flushing) -> None:
        self._flushing = flushing
        self._dataset = _Dataset(group, name, flushing)
        self._scale = _Dataset(group, dimension, flushing)
        self._chunk: int = self._dataset.id.get_create_plist().get_chunk()[0]
        self._capacity: int = self._dataset.id.shape[0]
        self._place = self._dataset.id.get_space()

    def write(self, content: NDArray[np.uint8]) -> None:
        """All of `content`, from the first byte on; what stood behind it stays."""
        if len(content) > self._capacity:
            self.trim(-(-len(content) // self._chunk) * self._chunk)
        self._dataset.write(self._place, 0, content)

    def trim(self, size: int) -> None:
        """Make it of so many bytes."""
        for dataset in (self._scale, self._dataset):
            dataset.id.set_extent((size,))
            dataset.forget_chunk()
        self._flushing.is_due = True
        self._capacity = size
        self._place = self._dataset.id.get_space()


class Table:
    """Columns of one unlimited dimension, whose scale (`dimension`) grows with them; `rows` of them stand already."""

    def __init__(self, group: h5py.Group, dimension: str, flushing: Flushing, rows: int = 0) -> None:
        self._flushing = flushing
        self._scale = _Dataset(group, dimension, flushing)
        self._columns = {name: _Dataset(group, name, flushing) for name in group if name != dimension}
        self._chunk: int = self._scale.id.get_create_plist().get_chunk()[0]
        self._resize(rows)

    def write(self, first: int, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        """Equally long values of some columns, from row `first` on; the rest keep their fill."""
        rows = len(next(iter(columns.values())))
        if not rows:
            return
        if first + rows > self._capacity:
            self._resize(-(-(first + rows) // self._chunk) * self._chunk)
        for name, values in columns.items():
            self._columns[name].write(self._place, first, values)

    def trim(self, rows: int) -> None:
        """Cut every column to `rows`."""
        self._resize(rows)

    def _resize(self, rows: int) -> None:
        for dataset in (self._scale, *self._columns.values()):
            dataset.id.set_extent((rows,))
            dataset.forget_chunk()
        self._flushing.is_due = True
        self._capacity = rows
        self._place = h5py.h5s.create_simple((rows,))
