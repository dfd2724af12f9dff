"""What the first bytes of an HDF5 file say, read without HDF5, which may retry for ever on a file cut short.

In SWMR mode HDF5 takes metadata that is not there, or is damaged, for metadata being written, and bytes that are not
there for zeros. So the size is looked at before a file is opened in that mode, and, where nobody writes it any more,
all of its metadata.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from labctl.errors import RecordingError
from labctl.recording.lookup3 import lookup3

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FIELDS = struct.Struct("<8s4B4QI")  # signature; version, two sizes, flags; base, extension, end, root; checksum
_SUM_BYTES = 4
_EIGHT_BYTES = 8  # the size of addresses and lengths in every run file


@dataclass(frozen=True, slots=True)
class Superblock:
    """marked_open: by a writer, who lives, or was killed. missing: bytes the file should have and has not."""

    marked_open: bool
    missing: int


def read_superblock(path: Path) -> Superblock | None:
    """The superblock of the file at `path`; None for one no run has, which HDF5 may judge.

    Raises OSError where there is no file to read, RecordingError where it ends within the superblock.
    """
    with path.open("rb") as file:
        head = file.read(_FIELDS.size)
        size = os.fstat(file.fileno()).st_size  # after the superblock: a live file only grows
    if not head.startswith(_SIGNATURE[: len(head)]) or not head:
        return None
    if len(head) < _FIELDS.size:
        raise RecordingError(f"{path} is not a whole run file: it is cut short after {size} bytes")
    _, version, address_bytes, _, flags, base, _, end, _, _ = _FIELDS.unpack(head)
    if version not in (2, 3) or address_bytes != _EIGHT_BYTES:
        return None
    return Superblock(flags != 0, max(0, base + end - size))


@contextlib.contextmanager
def plainly(path: Path) -> Iterator[h5py.File]:
    """The file at `path` that nobody writes, as if it had been closed: what is missing or damaged is an error at once.

    Raises RecordingError where the superblock itself is damaged.
    """
    with _ClosedFile(path) as content, h5py.File(content, "r") as file:
        yield file


def refuse_missing_rows(file: h5py.File, path: Path, rows: Mapping[str, int]) -> None:
    """RecordingError where rows that count, by group or by dataset, lie in the missing part of `path`, or metadata does
    (OSError)."""
    size = path.stat().st_size
    for group in file.values():
        dict(group.attrs)
        for dataset in group.values():
            dict(dataset.attrs)
            counted = rows.get(dataset.name[1:], rows.get(group.name[1:], 0))
            if dataset.chunks and any(first < counted and end > size for first, end in _chunks(dataset)):
                raise RecordingError(f"{path} is not a whole run file: rows of {dataset.name} are cut off")


def refuse_damaged_metadata(file: h5py.File) -> None:
    """OSError or KeyError where any metadata of `file` is damaged: attributes, columns, where their chunks lie."""
    list(file.attrs)
    for group in file.values():
        list(group.attrs)
        for dataset in group.values():
            list(dataset.attrs)
            if dataset.chunks:
                _chunks(dataset)


def _chunks(dataset: h5py.Dataset) -> list[tuple[int, int]]:
    """First row of each chunk, and where in the file the chunk ends."""
    found: list[tuple[int, int]] = []

    def note(chunk: Any) -> None:
        found.append((chunk.chunk_offset[0], chunk.byte_offset + chunk.size))

    dataset.id.chunk_iter(note)
    return found


class _ClosedFile(io.FileIO):
    """Says it is as long as its superblock has it, and fails where it is not; says it is closed, whatever that says."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        block = read_superblock(path)
        self._length = os.fstat(self.fileno()).st_size + (block.missing if block else 0)
        self._head = _closed(super().read(_FIELDS.size), self._length, path) if block and block.marked_open else b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return super().seek(self._length + offset) if whence == os.SEEK_END else super().seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        wanted, first = memoryview(buffer).nbytes, self.tell()
        got = super().readinto(buffer) or 0
        if got < wanted:
            raise OSError(f"{wanted - got} bytes are missing")
        if first < len(self._head):
            head = self._head[first : first + got]
            memoryview(buffer).cast("B")[: len(head)] = head
        return got


def _closed(head: bytes, length: int, path: Path) -> bytes:
    """The superblock `head` as closing would have left it: of a killed file it ends before what was last added."""
    signature, version, *sizes, _, base, extension, _, root, checksum = _FIELDS.unpack(head)
    if lookup3(head[:-_SUM_BYTES]) != checksum:
        raise RecordingError(f"{path} is not a whole run file: its first bytes are damaged")
    closed = _FIELDS.pack(signature, version, *sizes, 0, base, extension, length - base, root, 0)[:-_SUM_BYTES]
    return closed + lookup3(closed).to_bytes(_SUM_BYTES, "little")
