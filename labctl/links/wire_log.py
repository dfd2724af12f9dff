"""The wire log: every message on a link as one line of text, with a running digest.

A line is `seconds direction literal`: seconds since 1970 (wall clock), `>` sent or `<` received, and the bytes as a
Python literal, so that the log can be read by a person and parsed back exactly.
"""

from __future__ import annotations

import ast
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]


class WireLog:
    """Appends to a file; `digest` is the SHA-256 of everything written through this object."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = self.path.open("ab")
        self._hash = hashlib.sha256()

    def sent(self, parts: Sequence[Buffer]) -> None:
        self._line(">", b"".join(parts))

    def received(self, data: bytes) -> None:
        self._line("<", data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()

    def _line(self, direction: str, data: bytes) -> None:
        line = f"{time.time():.6f} {direction} {data!r}\n".encode("ascii")
        self._hash.update(line)
        self._file.write(line)
        self._file.flush()


def read_wire_log(path: str | Path) -> Iterator[tuple[float, str, bytes]]:
    """(seconds, direction, bytes) of every line."""
    with Path(path).open(encoding="ascii") as lines:
        for line in lines:
            seconds, direction, literal = line.rstrip("\n").split(" ", 2)
            yield float(seconds), direction, ast.literal_eval(literal)
