"""What was read of the files of a folder, kept in a SQLite file beside them.

Never the only copy, so nothing here fails: what cannot be read back is not there, what cannot be written is not
kept, and a cache that is damaged, or of another labctl, is made anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

NAME = ".labctl-catalogue.sqlite"

_PATIENCE_S = 3.0
_NOT_ITS_FAULT = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_FULL),
)
"""Errors of a cache that another process uses, or that lies where nobody may write."""

_TABLE = """
CREATE TABLE IF NOT EXISTS files (
    name BLOB PRIMARY KEY, modified INTEGER, changed INTEGER, size INTEGER, content BLOB, problem TEXT, sum INTEGER
)
"""

_SELECT = "SELECT name, modified, changed, size, content, problem, sum FROM files"

_FAILURES = (sqlite3.Error, ValueError)
"""What sqlite3 raises for a file that is none of its own: its sentences quote bytes that need not be text."""

Stamp = tuple[int, int, int]
"""When a file was modified and changed (ns), and its bytes: another stamp, another content."""

UNSETTLED: Stamp = (0, 0, 0)
"""The stamp of what is to be read again: it may have changed and kept its own."""


class Known(NamedTuple):
    """What was read of a file when it had this stamp: its content, or what is wrong with it, or neither (no run's)."""

    stamp: Stamp
    content: bytes = b""
    problem: str = ""


class Cache:
    """The cache file at `path`. Keys are the bytes of file names, relative to the folder.

    schema: what `content` is made of; a cache of another one is not read, and written anew.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._version = zlib.crc32(f"{_TABLE}{schema}".encode()) & 0x7FFFFFFF

    def load(self) -> dict[bytes, Known]:
        """Everything kept that is as it was written."""
        if not self._path.exists():
            return {}
        try:
            with self._opened() as database:
                rows = database.execute(_SELECT).fetchall() if self._is_ours(database) else []
        except _FAILURES as error:
            self._discard_unless_elsewhere(error)
            return {}
        found: dict[bytes, Known] = {}
        for name, modified, changed, size, content, problem, checksum in rows:
            with contextlib.suppress(TypeError, ValueError):
                known = Known((modified, changed, size), content, problem)
                if _sum(name, known) == checksum:
                    found[name] = known
        return found

    def save(self, read: Mapping[bytes, Known], gone: Iterable[bytes]) -> None:
        """Keep what was `read`, forget what is `gone`."""
        rows = [(name, *each.stamp, each.content, each.problem, _sum(name, each)) for name, each in read.items()]
        for _ in range(2):
            try:
                self._write(rows, gone)
            except _FAILURES as error:
                if not self._discard_unless_elsewhere(error):
                    return
            else:
                return

    def _write(self, rows: Iterable[tuple[object, ...]], gone: Iterable[bytes]) -> None:
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            if not self._is_ours(database):
                database.execute("DROP TABLE IF EXISTS files")
                database.execute(f"PRAGMA user_version = {self._version}")
            database.execute(_TABLE)
            database.executemany("DELETE FROM files WHERE name = ?", [(name,) for name in gone])
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            database.execute("COMMIT")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path, timeout=_PATIENCE_S, isolation_level=None)
        try:
            database.execute("PRAGMA cell_size_check = ON")
            yield database
        finally:
            database.close()

    def _discard_unless_elsewhere(self, error: Exception) -> bool:
        """Delete the cache, unless `error` is of what lies around it; whether it was deleted.

        Whoever has it open goes on with a file that has no name, and loses nothing but time.
        """
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_ITS_FAULT:
            return False
        for path in (self._path, self._path.with_name(self._path.name + "-journal")):
            with contextlib.suppress(OSError):
                path.unlink()
        return True

    def _is_ours(self, database: sqlite3.Connection) -> bool:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        return bool(version == self._version)


def _sum(name: bytes, known: Known) -> int:
    """Tells a row whose bytes rotted from one that holds."""
    return zlib.crc32(known.content, zlib.crc32(f"{name!r} {known.stamp} {known.problem}".encode()))
