"""Columns of a live file: HDF5 datasets that grow together and are written in place.

Through HDF5's low-level calls with prepared spaces and types, as a step of a few cells would otherwise spend
its time in Python; and with no chunk cache, so that a write puts exactly its bytes into the file at once,
whatever the chunk. Only the first write to a chunk fills the rest of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike


class _Dataset:
    """One dataset opened without a chunk cache."""

    def __init__(self, group: h5py.Group, name: str) -> None:
        access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        access.set_chunk_cache(1, 0, 1.0)
        self.id = h5py.h5d.open(group.id, name.encode(), access)
        self.dtype: np.dtype[Any] = self.id.dtype
        self._memory_type = h5py.h5t.py_create(self.dtype)

    def write(self, memory: h5py.h5s.SpaceID, place: h5py.h5s.SpaceID, values: ArrayLike) -> None:
        self.id.write(memory, place, np.ascontiguousarray(values, self.dtype), self._memory_type)


class Block:
    """A dataset that keeps its shape and is overwritten whole: a map, or the commit counters."""

    def __init__(self, group: h5py.Group, name: str) -> None:
        self._dataset = _Dataset(group, name)
        self._space = self._dataset.id.get_space()
        self.shape: tuple[int, ...] = self._dataset.id.shape

    def write(self, values: ArrayLike) -> None:
        """All of `values`, of this block's shape."""
        self._dataset.write(self._space, self._space, values)


class Table:
    """Columns of one unlimited dimension, whose scale (`dimension`) grows with them; `rows` of them stand already."""

    def __init__(self, group: h5py.Group, dimension: str, rows: int = 0) -> None:
        self._scale = _Dataset(group, dimension)
        self._columns = {name: _Dataset(group, name) for name in group if name != dimension}
        self._chunk: int = self._scale.id.get_create_plist().get_chunk()[0]
        self._resize(rows)

    def write(self, first: int, columns: Mapping[str, ArrayLike]) -> None:
        """Equally long values of some columns, from row `first` on; the rest keep their fill."""
        rows = len(np.asarray(next(iter(columns.values()))))
        if not rows:
            return
        if first + rows > self._capacity:
            self._resize(-(-(first + rows) // self._chunk) * self._chunk)
        self._place.select_hyperslab((first,), (rows,))
        memory = h5py.h5s.create_simple((rows,))
        for name, values in columns.items():
            self._columns[name].write(memory, self._place, values)

    def trim(self, rows: int) -> None:
        """Cut every column to `rows`."""
        self._resize(rows)

    def _resize(self, rows: int) -> None:
        for dataset in (self._scale, *self._columns.values()):
            dataset.id.set_extent((rows,))
        self._capacity = rows
        self._place = h5py.h5s.create_simple((rows,))
