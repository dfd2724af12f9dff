"""A recorded wire log in place of the instrument: the same messages get the same answers, others are an error.

`wire.log@replay` as `visa_library` or `serial_library` opens one. The replay stands where the bytes move, below the
link, so that links, drivers and everything above them do what they do with an instrument. Each connection that is
opened through the same `Recording` goes on to the next one in the log. What had failed on the wire fails again, at the
same byte and with the same words; time is not waited for unless asked.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labctl.errors import LinkClosedError, LinkError, LinkTimeoutError, NoWireLogError, ReplayError
from labctl.links.messages import first_difference, shorten, shown, side_by_side
from labctl.links.transports import Buffered
from labctl.links.wire_log import Line, read_lines

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]

    from labctl.links.replay_port import ReplayPort

LIBRARY = "@replay"
_SPEC = re.compile(r"(?P<log>.+?)(?P<options>(?:,pace|,connection=[1-9]\d*)*)" + LIBRARY)
_CONTEXT = 6  # lines of the conversation shown before what parts
_SENTENCE = 60  # characters of a message in an error's sentence
_FAULTS: dict[str, type[LinkError]] = {each.__name__: each for each in (LinkError, LinkTimeoutError, LinkClosedError)}
_TITLES = ("recorded", "sent now")


@dataclass(frozen=True, slots=True)
class ReplaySpec:
    """`LOG[,connection=N][,pace]@replay`: from which connection of the log on, and whether to take the time it took."""

    log: Path
    connection: int = 1
    pace: bool = False

    @classmethod
    def parse(cls, library: str) -> ReplaySpec:
        """Raises ValueError with one sentence."""
        found = _SPEC.fullmatch(library)
        if found is None:
            raise ValueError(f"{library!r} names no recording: write LOG@replay, as in 'wire.log@replay'")
        options = dict(each.partition("=")[::2] for each in found["options"].split(",") if each)
        return cls(Path(found["log"]), int(options.get("connection", 1)), "pace" in options)

    def __str__(self) -> str:
        chosen = f",connection={self.connection}" if self.connection != 1 else ""
        return f"{self.log}{chosen}{',pace' if self.pace else ''}{LIBRARY}"


_watched: ContextVar[list[Recording] | None] = ContextVar("_watched", default=None)


@contextlib.contextmanager
def watched() -> Iterator[list[Recording]]:
    """Every recording that is opened inside, for who wants to know afterwards how far each was played."""
    opened: list[Recording] = []
    token = _watched.set(opened)
    try:
        yield opened
    finally:
        _watched.reset(token)


class Recording:
    """One log that answers. The file is read as it is played, one message in memory at a time.

    time: s since 1970 when what was played last had happened. parted: the error that ended the replay.
    connections: the number in the log of the one that was opened last.
    """

    def __init__(self, spec: ReplaySpec) -> None:
        """Raises NoWireLogError, also where nothing was recorded."""
        self.spec = spec
        self.time = 0.0
        self.parted: ReplayError | None = None
        self.connections = 0
        self._lines = read_lines(spec.log)
        self._ahead: Line | None = next(self._lines, None)
        if self._ahead is None:
            raise NoWireLogError(f"{spec.log}: is empty: it has 0 lines in 0 connections")
        self._is_marked = _begins(self._ahead)  # old logs do not say where one was opened
        self._recent: deque[Line] = deque(maxlen=_CONTEXT)
        self._late = b""  # answers that nobody has read yet when the next message goes out
        self._passed = 0  # connections before the one asked for
        self._unsent = 0
        self._first_unsent: Line | None = None
        self._paced_from: tuple[float, float] | None = None
        found = _watched.get()
        if found is not None:
            found.append(self)

    # -- what a link does ------------------------------------------------------------------------------------------

    def open(self, spoken: str, again: bool = False) -> None:
        """The next connection. again: the same link finds its place anew.

        Raises ReplayError, or what was recorded, or NoWireLogError where the log has not as many as asked for.
        """
        self._check_going_on()
        if again:
            self._pass_answers()
        else:
            self._go_to_connection()
        self._late = b""
        self._check_readable()
        line = self._ahead
        if line is None:
            raise self._part("the recording ends where a connection is opened")
        if line.direction == "!" and line.facts.get("doing") == "opening":
            raise self._recorded_fault()
        if line.direction == "=":
            if line.facts.get("spoken", spoken) != spoken:
                raise self._part(f"was recorded by way of {line.facts['spoken']} and is opened by way of {spoken}")
            if bool(line.facts.get("again")) != again:
                raise self._part("the link is opened by somebody else, where the recording opens it anew")
            self._take()
        elif again and self._is_marked:
            raise self._part(f"the link is opened anew, where the recording goes on with {_told(line)}")

    def session(self, resource_name: str, again: bool = False) -> ReplayTransport:
        """The next connection, opened for a VISA link. Raises as `open` does."""
        self.open("VISA", again)
        return ReplayTransport(self, reopening_clears=resource_name.upper().endswith("::SOCKET"))

    def port(self, again: bool = False) -> ReplayPort:
        """The next connection, opened for a serial link. Raises as `open` does."""
        from labctl.links.replay_port import ReplayPort

        self.open("serial", again)
        return ReplayPort(self)

    def expected(self) -> bytes:
        """What was sent next; empty where nothing was before something else happened."""
        self._pass_answers()
        return self._ahead.data if self._ahead is not None else b""

    def send(self, message: bytes) -> None:
        """`message` goes out. Raises ReplayError, or what was recorded."""
        self._check_going_on()
        self._pass_answers()
        self._check_readable()
        line = self._ahead
        if line is None or line.direction != ">":
            raise self._part(f"{_told(line)} where {_quoted(message)} is sent", line)
        at = first_difference(line.data, message)
        if at is not None:
            raise self._part(f"{_quoted(message)} parts from what was sent then at byte {at:,}", line, message)
        self._take()
        if self._ahead is not None and self._ahead.facts.get("doing") == "sending":
            raise self._recorded_fault()

    def answer(self) -> bytes:
        """The next bytes that were received, empty where none are left before what was done next.

        Raises what was recorded, or ReplayError.
        """
        self._check_going_on()
        late, self._late = self._late, b""
        if late or self._ahead is None:
            return late
        self._check_readable()
        if self._ahead.direction == "!":
            raise self._recorded_fault()
        return self._take().data if self._ahead.direction == "<" else b""

    def discard(self) -> bytes:
        """What was received before the next message, and thrown away. Raises what was recorded of that."""
        self._check_going_on()
        self._pass_answers()
        late, self._late = self._late, b""
        return late

    def leave(self) -> None:
        """The connection is over, and nobody will open it anew.

        Raises ReplayError where the recording goes on in it, and what has parted from it before once more: what comes
        of making an instrument safe is raised by nobody else.
        """
        if self.parted is not None:
            raise self.parted
        if not self.connections:
            return
        self._skip_to_beginning()
        first = self._first_unsent
        if first is not None:
            count = f"{self._unsent} message{'s' if self._unsent > 1 else ''}"
            self.parted = ReplayError(
                f"{self.spec.log}: line {first.number}: the recording goes on with {_quoted(first.data)}, and {count} "
                "in all that were not sent"
            )
            raise self.parted

    # -- what a person asks ----------------------------------------------------------------------------------------

    def further(self) -> int:
        """How many connections follow that nobody opened. Reads the log to its end."""
        if self.connections:
            self._skip_to_beginning()
        further = 0
        while self._ahead is not None:
            further += _begins(self._ahead)
            self._ahead = next(self._lines, None)
        return further

    # -- inside ------------------------------------------------------------------------------------------------------

    def _take(self) -> Line:
        line, self._ahead = self._ahead, None
        assert line is not None
        self._ahead = next(self._lines, None)
        self._recent.append(line)
        self.time = line.seconds
        if self.spec.pace:
            self._keep_pace(line)
        return line

    def _keep_pace(self, line: Line) -> None:
        began, recorded = self._paced_from or (time.monotonic(), line.seconds)
        self._paced_from = (began, recorded)
        time.sleep(max(line.seconds - recorded - (time.monotonic() - began), 0.0))

    def _go_to_connection(self) -> None:
        """To the beginning of the next connection, at first to the one asked for; a log without `=` lines is one."""
        wanted = self.connections + 1 if self.connections else self.spec.connection
        if self.connections:
            self._skip_to_beginning()
        for _ in range(wanted - 1 if not self.connections else 0):
            if self._ahead is None:
                break
            self._passed += 1
            self._pass_over()
            self._skip_to_beginning()
        if self._ahead is None and self.connections:
            raise self._part(f"the log has no connection number {wanted}")
        if self._ahead is None:
            raise NoWireLogError(f"{self.spec.log}: has no connection {wanted}: there are {self._passed}")
        self.connections = wanted

    def _skip_to_beginning(self) -> None:
        while self._ahead is not None and not _begins(self._ahead):
            self._pass_over()

    def _pass_over(self) -> None:
        """One line that is not played; of a connection that was begun, its messages are counted."""
        line, self._ahead = self._ahead, next(self._lines, None)
        if line is not None and line.direction == ">" and self.connections:
            self._unsent, self._first_unsent = self._unsent + 1, self._first_unsent or line

    def _pass_answers(self) -> None:
        """What was received and not read stays on the wire; a fault that was not met is over."""
        while self._ahead is not None and self._ahead.direction in "<!":
            if self._ahead.facts.get("doing") == "opening":
                return
            if self._ahead.facts.get("doing") == "discarding":
                raise self._recorded_fault()
            self._late += self._take().data

    def _recorded_fault(self) -> LinkError:
        facts = self._take().facts
        return _FAULTS.get(str(facts.get("error")), LinkError)(str(facts.get("text", "the wire failed")))

    def _check_going_on(self) -> None:
        if self.parted is not None:
            raise ReplayError("this is a replay, and it is over")

    def _check_readable(self) -> None:
        if self._ahead is not None and self._ahead.direction == "?":
            raise self._part("cannot be read, and so not be replayed")

    def _part(self, sentence: str, line: Line | None = None, actual: bytes = b"") -> ReplayError:
        """The end of the replay: the error with what was said before, and both messages."""
        at = f"line {self._ahead.number}" if self._ahead is not None else "at its end"
        self.parted = ReplayError(f"{self.spec.log}: {at}: {sentence}")
        width = shutil.get_terminal_size((100, 24)).columns
        told = [f"  {each.number:>6} {each.direction} {_content(each, width - 12)}" for each in self._recent]
        if actual and line is not None:
            told += ["", *side_by_side(line.data, actual, _TITLES, width)]
        elif line is not None:
            told.append(f"  {line.number:>6} {line.direction} {_content(line, width - 12)}")
        self.parted.add_note("\n".join(["the conversation before that:", *told] if self._recent else told))
        return self.parted


class ReplayTransport(Buffered):
    """The recording where a VISA link has an open session. What arrives comes at once."""

    def __init__(self, recording: Recording, reopening_clears: bool) -> None:
        super().__init__()
        self._recording = recording
        self._piece = memoryview(b"")
        self.reopening_clears = reopening_clears

    def close(self) -> None:
        """A session that is over; the recording stays where it is."""

    def send(self, parts: Sequence[Buffer], deadline: float) -> None:  # noqa: ARG002
        self._begin()
        self._recording.send(b"".join(parts))

    def discard(self, deadline: float) -> bytes:  # noqa: ARG002
        thrown = self._forget() + bytes(self._piece)
        self._piece = memoryview(b"")
        self._begin()
        return thrown + self._recording.discard()

    def _receive(self, view: memoryview, deadline: float) -> int:  # noqa: ARG002
        if not self._piece:
            self._piece = memoryview(self._recording.answer())
        if not self._piece:
            raise self._late()
        count = min(len(view), len(self._piece))
        view[:count], self._piece = self._piece[:count], self._piece[count:]
        self._arrived += count
        return count


def _begins(line: Line) -> bool:
    """Whether a connection of its own begins here, or was tried."""
    return line.is_opening and not line.facts.get("again")


def _content(line: Line, width: int) -> str:
    if line.direction in "<>":
        return shown(line.data, width)
    if line.direction == "=":
        return shorten(f"opened {line.facts.get('resource_name', '')}", width)
    return shorten(f"{line.facts.get('error', '')}: {line.facts.get('text', '')}", width)


def _told(line: Line | None) -> str:
    if line is None:
        return "the recording ends"
    return {">": f"the recording sends {_quoted(line.data)}", "=": "the recording opens a connection"}.get(
        line.direction, "the recording has an answer"
    )


def _quoted(data: bytes) -> str:
    return shown(data, _SENTENCE)
