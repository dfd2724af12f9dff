"""The wire log: every message on a link as one line of text, with a running digest.

A line is `seconds direction literal`: seconds since 1970 (wall clock), `>` sent or `<` received, and the bytes as a
Python literal, so that the log can be read by a person and parsed back exactly. An answer that broke off, and what was
thrown away, are there too.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labctl.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]

_LINE = re.compile(r"""(\d+\.\d+) ([<>]) (b'(?:[^'\\\n]++|\\.)*+'|b"(?:[^"\\\n]++|\\.)*+")\n""")


class WireLog:
    """Appends to a file; `digest` is the SHA-256 of everything written through this object, the bytes of `span`."""

    def __init__(self, path: str | Path) -> None:
        """Raises LinkError where the file cannot be written."""
        self.path = Path(path)
        try:
            self._file = self.path.open("a+b")
            self._end_torn_line()
        except OSError as problem:
            raise LinkError(f"{path}: no wire log can be written there: {problem.strerror or problem}") from None
        self._start = self._stop = self._file.tell()
        self._hash = hashlib.sha256()

    def sent(self, parts: Sequence[Buffer]) -> None:
        self._line(">", b"".join(parts))

    def received(self, data: bytes) -> None:
        self._line("<", data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    @property
    def span(self) -> tuple[int, int]:
        """Where in the file the digested bytes begin and end: logs of earlier connections stand before them."""
        return self._start, self._stop

    def close(self) -> None:
        self._file.close()

    def _end_torn_line(self) -> None:
        """A process that was killed may have left half a line."""
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read() != b"\n":
                self._file.write(b"\n")

    def _line(self, direction: str, data: bytes) -> None:
        line = f"{time.time():.6f} {direction} {data!r}\n".encode("ascii")
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as problem:
            raise LinkError(f"{self.path}: the wire log cannot be written: {problem.strerror or problem}") from None
        self._hash.update(line)
        self._stop += len(line)


def read_wire_log(path: str | Path) -> Iterator[tuple[float, str, bytes]]:
    """(seconds, direction, bytes) of every line, those left out that a kill tore."""
    with Path(path).open(encoding="ascii") as lines:
        for line in lines:
            found = _LINE.fullmatch(line)
            if found:
                yield float(found[1]), found[2], ast.literal_eval(found[3])
