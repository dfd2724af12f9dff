"""Reads many run files, in several processes where it pays, and tells what is no run from what is damaged."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from labctl.errors import NoRunError, RecordingError
from labctl.recording.catalogue.entries import encode, read_entry
from labctl.recording.catalogue.tags import decode_tags

_WORTH_A_PROCESS = 200  # files that take longer to read than a process takes to start
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Read:
    """What a file holds, or what is wrong with it; neither where it is somebody else's HDF5 file.

    is_settled: that it says the same until it changes.
    """

    content: bytes = b""
    problem: str = ""
    is_settled: bool = True


def read_files(paths: Sequence[Path]) -> Iterator[tuple[Path, Read | None]]:
    """The run files at `paths`, in their order; None for one that is gone.

    Many are read by several processes, since HDF5 does one thing at a time in each. Not by `multiprocessing`, which
    would run the caller's script once more.
    """
    processes = min(os.cpu_count() or 1, len(paths) // _WORTH_A_PROCESS)
    if processes < 2:
        for path in paths:
            yield path, read_file(path)
        return
    batches = [paths[first : first + _BATCH] for first in range(0, len(paths), _BATCH)]
    readers: queue.SimpleQueue[_Reader] = queue.SimpleQueue()
    for _ in range(processes):
        readers.put(_Reader())
    pool = ThreadPoolExecutor(processes)
    try:
        for batch, found in zip(batches, pool.map(lambda each: _asked(readers, each), batches), strict=True):
            yield from zip(batch, found, strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
        for _ in range(processes):
            readers.get().close()


def _asked(readers: queue.SimpleQueue[_Reader], paths: Sequence[Path]) -> list[Read | None]:
    """What a reader that is free has read; what this process has, where that one broke down."""
    reader = readers.get()
    try:
        return reader.read(paths)
    except (OSError, EOFError, pickle.UnpicklingError):
        return [read_file(path) for path in paths]
    finally:
        readers.put(reader)


class _Reader:
    """A process that reads run files, started when it is first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, paths: Sequence[Path]) -> list[Read | None]:
        """Raises OSError, EOFError or UnpicklingError where the process cannot be started, or broke down."""
        if self._process is None:
            command = [sys.executable, "-m", "labctl.recording.catalogue.reader_process"]
            pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(list(paths), self._process.stdin)
        self._process.stdin.flush()
        found: list[Read | None] = pickle.load(self._process.stdout)
        return found

    def close(self) -> None:
        if self._process is None:
            return
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        self._process.wait()


def read_file(path: Path) -> Read | None:
    """The run file at `path`; None where it is gone."""
    try:
        entry = read_entry(path)
        content = encode(entry)
    except RecordingError as error:
        if not path.exists():
            return None
        if isinstance(error, NoRunError) and _is_of_others(path):
            return Read()
        system_error = getattr(error.__cause__, "errno", None)
        return Read(problem=str(error), is_settled=system_error is None)
    except UnicodeEncodeError:
        return Read(problem=f"{path} is not a whole run file: not all of its text is UTF-8")
    return Read(content, is_settled=entry.is_over)


def read_tags_file(path: Path) -> Read | None:
    """The tags in the file at `path`; None where it is gone."""
    try:
        content = path.read_bytes()
        decode_tags(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Read(problem=f"{path} cannot be read: {error.strerror}", is_settled=False)
    except msgspec.MsgspecError as error:
        return Read(problem=f"{path} does not hold the tags of a run: {error}")
    return Read(content)


def _is_of_others(path: Path) -> bool:
    """Whether `path` is an HDF5 file that never was a run."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "format" not in file.attrs
    except (OSError, RuntimeError):
        return False
