"""Checksums of what a run file holds, by which one that rotted or was edited is told from one that was not."""

from __future__ import annotations

import hashlib
import math

import h5py
import numpy as np

from labctl.recording.skeleton import is_dimension_only

UNCHECKED = frozenset(("commit/record", "provenance/checksums"))
"""What is written after the checksums are known."""

_BLOCK_BYTES = 1 << 22


def checksums(file: h5py.File) -> dict[str, str]:
    """SHA-256 (hex) of the stored values of every dataset of `file`, by its path without the leading slash.

    Datasets that are nothing but the length of a dimension have no values, and are left out with `UNCHECKED`. The
    bytes are those of the values in the file's own byte order, row after row, whatever the chunks; they are read in
    small blocks. Raises what HDF5 raises where they cannot be read.
    """
    found: dict[str, str] = {}

    def note(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and name not in UNCHECKED and not is_dimension_only(item):
            found[name] = checksum(item)

    file.visititems(note)
    return found


def checksum(dataset: h5py.Dataset) -> str:
    """SHA-256 (hex) of the values of `dataset`, as `checksums` has it."""
    digest = hashlib.sha256()
    if not dataset.shape:
        digest.update(np.asarray(dataset[()]).tobytes())
        return digest.hexdigest()
    rows, *rest = dataset.shape
    height = _rows_per_block(dataset)
    buffer = np.empty((min(rows, height), *rest), dataset.dtype)
    for first in range(0, rows if buffer.size else 0, height):
        block = buffer[: min(height, rows - first)]
        dataset.read_direct(block, np.s_[first : first + len(block)])
        digest.update(block.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _rows_per_block(dataset: h5py.Dataset) -> int:
    """About a block's worth, of whole chunks, so that none is read twice."""
    row_bytes: int = max(1, dataset.dtype.itemsize * math.prod(dataset.shape[1:]))
    chunk: int = dataset.chunks[0] if dataset.chunks else 1
    return max(1, _BLOCK_BYTES // row_bytes // chunk) * chunk
