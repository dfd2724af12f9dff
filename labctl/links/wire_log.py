"""The wire log: every message on a link as one line of text, with a running digest.

A line is `seconds direction what`, the seconds since 1970 by the wall clock:

    1763737200.012345 = {"wire_log": 1, "resource_name": ..., "spoken": "VISA", ...}    a connection was opened
    1763737200.013456 > b'*IDN?\\n'                                                      sent
    1763737200.014567 < b'labctl,...\\n'                                                 received
    1763737205.014789 ! {"error": "LinkTimeoutError", "text": ..., "doing": "reading"}  the wire failed

The bytes are a Python literal, so that the log can be read by a person and parsed back exactly. An answer that broke
off, and what was thrown away, are there too. That is all a replay needs (`labctl.links.replay`). Logs from before there
were `=` and `!` lines are read as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from labctl.errors import LinkError, NoWireLogError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]

FORMAT = 1
"""Of the lines; a log of a higher one is not read."""

_START = re.compile(rb"(\d+\.\d+) ([<>=!]) ")
_TORN_START = re.compile(rb"\d+(\.\d*)?( [<>=!]?)?")
_PATIENCE = 100  # lines that are none before a file is called no wire log
_LONG = 1 << 20  # bytes of a line that are looked at to see whether it begins as one


class WireLog:
    """Appends to a file; `digest` is the SHA-256 of everything written through this object, the bytes of `span`."""

    def __init__(self, path: str | Path) -> None:
        """Raises LinkError where the file cannot be written, NoWireLogError where it is there and is something else."""
        self.path = Path(path)
        try:
            self._file = self.path.open("a+b")
            if not _may_go_on(self._file):
                self._file.close()
                raise NoWireLogError(f"{path}: is there and is no wire log, and is left as it is: name another file")
            self._end_torn_line()
        except OSError as problem:
            raise LinkError(f"{path}: no wire log can be written there: {problem.strerror or problem}") from None
        self._start = self._stop = self._file.tell()
        self._hash = hashlib.sha256()

    def opened(self, resource_name: str, spoken: str, through: str = "", again: bool = False) -> None:
        """A connection was opened, and what follows is said on it.

        spoken: what carries the bytes, `VISA` or `serial`. through: the library. again: the link that was connected
        found its place anew with this one.
        """
        facts = {"wire_log": FORMAT, "resource_name": resource_name, "spoken": spoken, "through": through}
        self._line("=", json.dumps({**facts, "again": again, "labctl": version("labctl"), "process": os.getpid()}))

    def sent(self, parts: Sequence[Buffer]) -> None:
        self._line(">", repr(b"".join(parts)))

    def received(self, data: bytes) -> None:
        self._line("<", repr(data))

    def failed(self, problem: LinkError, doing: str, again: bool = False) -> None:
        """The wire failed while `opening`, `sending` or `reading`; `again` as in `opened`."""
        facts = {"error": type(problem).__name__, "text": str(problem), "doing": doing}
        self._line("!", json.dumps({**facts, "again": again} if doing == "opening" else facts))

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

    def _line(self, direction: str, what: str) -> None:
        line = f"{time.time():.6f} {direction} {what}\n".encode("ascii")
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as problem:
            raise LinkError(f"{self.path}: the wire log cannot be written: {problem.strerror or problem}") from None
        self._hash.update(line)
        self._stop += len(line)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a wire log.

    number: in the file, from 1. seconds: since 1970. direction: `>` sent, `<` received, `=` opened, `!` failed, `?`
    cannot be read, with the seconds of the one before. data: the bytes of a message; empty else. facts: what an `=` or
    `!` says; empty else.
    """

    number: int
    seconds: float
    direction: str
    data: bytes = b""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_opening(self) -> bool:
        """Whether a connection is opened here, or was tried to."""
        return self.direction == "=" or self.facts.get("doing") == "opening"


def read_lines(path: str | Path) -> Iterator[Line]:
    """Every line of the log at `path`, the last of a connection left out where a kill tore it. Raises NoWireLogError.

    An empty file is the log of a connection on which nothing was said yet.
    """
    try:
        with Path(path).open("rb") as file:
            yield from _lines_of(path, file)
    except OSError as problem:
        raise NoWireLogError(f"{path}: cannot be read as a wire log: {problem.strerror or problem}") from None


def _lines_of(path: str | Path, file: BinaryIO) -> Iterator[Line]:
    before: Line | None = None
    says_openings = False  # logs from before do not: there whatever is sent may begin a connection
    unread: list[int] = []
    for number, raw in enumerate(file, 1):
        line = _parsed(number, raw)
        if line is None:
            unread += [number] if raw.strip() else []
            if before is None and number >= _PATIENCE:
                break
            continue
        _check_format(path, line)
        says_openings = line.is_opening if before is None else says_openings
        if unread:
            begins = line.is_opening or (line.direction == ">" and not says_openings)
            yield from _unreadable(unread[:-1] if begins else unread, before or line)
            unread = []
        before = line
        yield line
    if before is not None:
        yield from _unreadable(unread[:-1], before)
    elif unread:
        raise NoWireLogError(f"{path}: holds no line of a wire log")


def _unreadable(numbers: Sequence[int], near: Line) -> Iterator[Line]:
    for number in numbers:
        yield Line(number, near.seconds, "?")


def _may_go_on(file: BinaryIO) -> bool:
    """Whether `file` is empty or a wire log so far, of which a kill may have left no more than a torn line."""
    file.seek(0)
    first = file.readline(_LONG)
    if not first or (_TORN_START.fullmatch(first.rstrip(b"\n")) and not file.read(1)):
        return True
    others = (file.readline(_LONG) for _ in range(_PATIENCE - 1))
    return any(_START.match(raw) for raw in chain([first], others))


def read_wire_log(path: str | Path) -> Iterator[tuple[float, str, bytes]]:
    """(seconds, `>` or `<`, bytes) of every message. Raises NoWireLogError."""
    for line in read_lines(path):
        if line.direction in "<>":
            yield line.seconds, line.direction, line.data


def _parsed(number: int, raw: bytes) -> Line | None:
    """None where `raw` is not a whole line."""
    start = _START.match(raw)
    if start is None or not raw.endswith(b"\n"):
        return None
    seconds, direction = float(start[1]), start[2].decode()
    what = raw[start.end() :].rstrip(b"\r\n")  # a log that came by way of Windows
    try:
        if direction in "<>":
            return Line(number, seconds, direction, _bytes_of(what))
        facts = json.loads(what)
        return Line(number, seconds, direction, facts=facts) if isinstance(facts, dict) else None
    except ValueError:
        return None


def _bytes_of(literal: bytes) -> bytes:
    """The bytes of `b'...'`; ValueError where it is cut short. Seven times faster than the compiler's own parser."""
    quote, inside = literal[1:2], literal[2:-1]
    broken = len(inside) - len(inside.rstrip(b"\\"))  # a closing quote behind an odd number of these closes nothing
    if literal[:1] != b"b" or quote not in (b"'", b'"') or len(literal) < 3 or literal[-1:] != quote or broken % 2:
        raise ValueError("no literal of bytes")
    return inside.decode("unicode_escape").encode("latin-1")


def _check_format(path: str | Path, line: Line) -> None:
    written = line.facts.get("wire_log", FORMAT)
    if not isinstance(written, int) or written > FORMAT:
        by = f", written by labctl {line.facts['labctl']}" if line.facts.get("labctl") else ""
        raise NoWireLogError(
            f"{path}: line {line.number} is of wire log format {written}{by}; this one reads up to {FORMAT}"
        )
