"""Columns of a run file as they lie in it: searched at the speed of the disk's cache, whatever the file's size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

_BLOCK = 262144
"""Rows read at a time where HDF5 has to do it."""

_SPARSE = 512
"""Rows apart, from which on it is quicker to fetch them one by one than all that lies between."""


class RawFile:
    """The bytes of the open `file` at `path`, for reading past HDF5; memory for one chunk, no more."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._file = file
        self._bytes = path.open("rb", buffering=0)

    def column(self, name: str, rows: int) -> RawColumn:
        """The first `rows` rows of the dataset `name`."""
        return RawColumn(self, self._file[name], rows)

    def read(self, offset: int, into: NDArray[Any]) -> None:
        """Fill `into` from the byte at `offset` on. Raises EOFError where the file ends before."""
        self._bytes.seek(offset)
        if self._bytes.readinto(into.view(np.uint8).data) != into.nbytes:
            raise EOFError(f"it ends within the {into.nbytes} bytes from {offset} on")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bytes.close()


class RawColumn:
    """One column, undecoded. Chunks without filters are read from where they lie, others by HDF5."""

    def __init__(self, file: RawFile, dataset: h5py.Dataset, rows: int) -> None:
        self.dtype: np.dtype[Any] = dataset.dtype
        self.attrs = dict(dataset.attrs)
        self.rows = rows
        self._file = file
        self._dataset = dataset
        self._places = _places(dataset)
        block = dataset.chunks[0] if dataset.chunks else max(rows, 1)
        self._block = block if self._places else -(-_BLOCK // block) * block
        self._buffer = np.empty(min(self._block, rows), self.dtype)

    def whole(self) -> NDArray[Any]:
        """(rows,) all of it."""
        values = np.empty(self.rows, self.dtype)
        for first, block in self._blocks():
            values[first : first + len(block)] = block
        return values

    def find(self, value: int) -> NDArray[np.int64]:
        """Rows that hold `value`, increasing."""
        found = [first + np.flatnonzero(block == value) for first, block in self._blocks()]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The values at `rows`, which do not decrease."""
        values = np.empty(len(rows), self.dtype)
        block = rows // self._block
        edges = np.append(np.flatnonzero(np.diff(block, prepend=-1)), len(rows))
        for start, end in pairwise(edges):
            low, high = int(rows[start]), int(rows[end - 1]) + 1
            if high - low > _SPARSE * (end - start):
                values[start:end] = [self._read(int(row), int(row) + 1)[0] for row in rows[start:end]]
            else:
                values[start:end] = self._read(low, high)[rows[start:end] - low]
        return values

    def _blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """First row and rows of each block, in order; good until the next is asked for."""
        for first in range(0, self.rows, self._block):
            yield first, self._read(first, min(first + self._block, self.rows))

    def _read(self, low: int, high: int) -> NDArray[Any]:
        """The rows from `low` to before `high`, of one block; good until the next read."""
        first = low - low % self._block
        place = self._places.get(first)
        if place is None:
            read: NDArray[Any] = self._dataset[low:high]
            return read
        buffer = self._buffer[: high - low]
        self._file.read(place + (low - first) * self.dtype.itemsize, buffer)
        return buffer


def _places(dataset: h5py.Dataset) -> dict[int, int]:
    """First row to byte in the file of every chunk; empty where the bytes there are not the rows themselves."""
    if dataset.id.get_create_plist().get_nfilters():
        return {}
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        return {} if offset is None else {0: offset}
    if not hasattr(dataset.id, "chunk_iter"):  # of an h5py built with HDF5 1.10
        return {}
    found: dict[int, int] = {}

    def note(chunk: Any) -> None:
        found[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    return found
