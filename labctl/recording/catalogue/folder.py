"""The catalogue of a folder: looks at every file's stamp, reads what is new or has changed, and answers."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

from labctl.errors import NoRunError
from labctl.recording.catalogue.cache import NAME, UNSETTLED, Cache, Known, Stamp
from labctl.recording.catalogue.entries import SCHEMA, Entry, decode
from labctl.recording.catalogue.query import Query
from labctl.recording.catalogue.reading import read_files, read_tags_file
from labctl.recording.catalogue.resolving import LAST, resolve_name
from labctl.recording.catalogue.tags import SUFFIX, Tags, decode_tags

Progress = Callable[[int, int], None]
"""Told how many of how many new files are read."""

_RUN, _TAGS = b".h5", SUFFIX.encode()

_TOO_RECENT_NS = 2_000_000_000
"""A file that changed so shortly before it was read may change again and keep its stamp: some clocks are coarse."""


class Catalogue:
    """The runs in `folder` and the folders in it, as they are when it is opened or refreshed.

    Hidden folders and files are passed over, links to folders not followed. Raises NoRunError where there is no such
    folder.
    """

    def __init__(self, folder: str | Path, progress: Progress | None = None) -> None:
        self.folder = Path(folder)
        self._progress = progress
        _check_folder(self.folder)
        self._cache = Cache(self.folder / NAME, SCHEMA)
        self._known = self._cache.load()
        self.refresh()

    def refresh(self) -> None:
        """Look again."""
        _check_folder(self.folder)
        stamps = dict(_stamps(os.fsencode(self.folder)))
        new = [name for name, stamp in stamps.items() if name not in self._known or self._known[name].stamp != stamp]
        gone = [name for name in self._known if name not in stamps]
        read: dict[bytes, Known] = {}
        try:
            for name, known in self._read(new, stamps):
                read[name] = known
        finally:  # what was read before somebody lost patience need not be read again
            if read or gone:
                self._cache.save(read, gone)
        unreadable = [name for name in new if name not in read]
        self._known |= read
        for name in (*gone, *unreadable):
            self._known.pop(name, None)
        self.__dict__.pop("entries", None)

    @cached_property
    def entries(self) -> list[Entry]:
        """Every run, oldest first by the clock on the wall."""
        entries = [self._entry(name, known) for name, known in self._known.items() if known.content and _is_run(name)]
        return sorted(entries, key=lambda entry: (entry.started, entry.path))

    @property
    def damaged(self) -> dict[Path, str]:
        """Files that should be of runs and cannot be read: what is wrong with each. Other HDF5 files are no runs."""
        return {self._path(name): known.problem for name, known in sorted(self._known.items()) if known.problem}

    def find(self, query: Query | None = None) -> list[Entry]:
        """The runs that `query` asks for, oldest first. Raises UsageError where no run has what it names."""
        return self.entries if query is None else query.select(self.entries)

    def resolve(self, name: str) -> Path:
        """The run called `name`: a path, a file name with or without `.h5`, the beginning of only one, or `last`.

        Raises NoRunError where there is none, or more than one.
        """
        if name == LAST:
            if not self.entries:
                raise NoRunError(f"there is no run in {self.folder} yet")
            return self.entries[-1].path
        return resolve_name(name, [self._path(each) for each in self._known if _is_run(each)], self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        """Nothing is held open."""

    def _read(self, names: list[bytes], stamps: Mapping[bytes, Stamp]) -> Iterator[tuple[bytes, Known]]:
        """What the files say now. One that is being written, or may be, is to be read again next time."""
        latest = time.time_ns() - _TOO_RECENT_NS
        runs = {self._path(name): name for name in names if _is_run(name)}
        for done, (path, found) in enumerate(read_files(list(runs)), 1):
            if self._progress is not None:
                self._progress(done, len(runs))
            if found is not None:
                stamp = stamps[runs[path]]
                is_settled = found.is_settled and max(stamp[:2]) < latest
                yield runs[path], Known(stamp if is_settled else UNSETTLED, found.content, found.problem)
        for name in names:
            if not _is_run(name) and (found := read_tags_file(self._path(name))) is not None:
                is_settled = found.is_settled and max(stamps[name][:2]) < latest
                yield name, Known(stamps[name] if is_settled else UNSETTLED, found.content, found.problem)

    def _entry(self, name: bytes, known: Known) -> Entry:
        beside = self._known.get(name.removesuffix(_RUN) + _TAGS)
        tags = decode_tags(beside.content) if beside and beside.content else Tags()
        return decode(known.content, self._path(name), tags.tags, tags.note)

    def _path(self, name: bytes) -> Path:
        return self.folder / os.fsdecode(name)


def _is_run(name: bytes) -> bool:
    return name.endswith(_RUN)


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise NoRunError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise NoRunError(f"{folder} is a file, not a folder of runs")


def _stamps(folder: bytes, within: bytes = b"") -> Iterator[tuple[bytes, Stamp]]:
    """Every file of a run or of tags in `folder` and below, by its name relative to that; none that just vanishes."""
    try:
        entries = os.scandir(folder)
    except OSError:
        return
    with entries:
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            name = within + entry.name
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield from _stamps(entry.path, name + b"/")
                elif name.endswith((_RUN, _TAGS)):
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield name, (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
