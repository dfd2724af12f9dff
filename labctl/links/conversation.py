"""A wire log as a conversation: which connection each line is of, and where there was trouble."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labctl.links.board_frames import Status
from labctl.links.dialects import Scpi, Tsp
from labctl.links.frames import START, Frame, FrameDecoder
from labctl.links.wire_log import Line

_DIALECTS = (Scpi(), Tsp())
_LIMIT = 1 << 32
_TAIL = 2000  # characters: an error is no longer, and the block before it may be


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the log in its place. connection: its number, from 1. since: s since that connection began.

    trouble: what was wrong with it, in a few words; empty where nothing was.
    """

    line: Line
    connection: int
    since: float
    trouble: str


def conversation(lines: Iterable[Line]) -> Iterator[Said]:
    """The lines in order. A message that nothing answered is in trouble, and an answer that says so."""
    connection, began, waiting = 0, 0.0, None
    for line in lines:
        opened = line.is_opening
        if waiting is not None:
            unanswered = line.direction == ">" or opened
            yield Said(waiting, connection, waiting.seconds - began, "no answer" if unanswered else "")
            waiting = None
        if not connection or (opened and not line.facts.get("again")):
            connection, began = connection + 1, line.seconds
        if line.direction == ">":
            waiting = line
        else:
            yield Said(line, connection, line.seconds - began, trouble_in(line))
    if waiting is not None:
        yield Said(waiting, connection, waiting.seconds - began, "no answer")


def troubled(said: Iterable[Said]) -> Iterator[tuple[Said, ...]]:
    """Those in trouble, each after the message it came of; opening a connection comes of none."""
    asked: Said | None = None
    for each in said:
        if asked is not None and asked.connection != each.connection:
            asked = None
        if each.trouble:
            yield (each,) if asked is None or each.line.is_opening else (asked, each)
            asked = None
        elif each.line.direction == ">":
            asked = each


def trouble_in(line: Line) -> str:
    """What a line says went wrong: a failure of the wire, a refusal, an error in the queue. Empty: nothing."""
    if line.direction == "?":
        return "cannot be read"
    if line.direction == "!":
        return f"{line.facts.get('error', 'failed')} while {line.facts.get('doing', 'at work')}"
    if line.direction != "<":
        return ""
    return _frame_trouble(line.data) if line.data.startswith(START) else _text_trouble(line.data)


def _frame_trouble(data: bytes) -> str:
    decoder = FrameDecoder(_LIMIT)
    decoder.feed(data)
    decoder.flush()
    for found in decoder.frames():
        if not isinstance(found, Frame):
            return found.problem
        if found.status:
            return Status(found.status).name if found.status in list(Status) else f"status {found.status}"
    return ""


def _text_trouble(data: bytes) -> str:
    """The error at the end of an answer; no error is number 0."""
    if not data.endswith(b"\n"):
        return "the answer breaks off"
    last = data.rstrip(b"\r\n").rpartition(b"\n")[2].decode("latin-1")
    for dialect in _DIALECTS:
        found = dialect.error(dialect.units(last[-_TAIL:])[-1])
        if found is not None:
            return "" if found[0] == 0 else f"{found[0]}, {found[1]}"
    return ""
