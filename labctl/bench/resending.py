"""A recorded conversation said again to an instrument, answer by answer: new firmware, or a simulated board.

The messages go out as they were recorded, byte for byte; nothing checks them against the bench's limits.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from labctl.bench.leases import Lease
from labctl.bench.settings import SerialSettings, VisaSettings, WiredSettings
from labctl.errors import LinkError, LinkTimeoutError, UsageError
from labctl.links.conversation import Said
from labctl.links.frames import START
from labctl.links.messages import pieces_of, shown
from labctl.links.resources import ResourceManagers
from labctl.links.serial_ports import close_port, open_port
from labctl.links.transports import SerialTransport, Transport, open_transport
from labctl.links.wire_log import Line

_SENTENCE = 60  # characters of a message in an error's sentence


@dataclass(frozen=True, slots=True)
class Compared:
    """One message, its recorded answer and the present one; `answer` is as far as it came."""

    sent: Line
    recorded: bytes
    answer: bytes

    @property
    def is_same(self) -> bool:
        return self.answer == self.recorded


def resend(said: Iterable[Said], settings: WiredSettings, bench: str) -> Iterator[Compared]:
    """Say what was sent to the instrument of `settings`, one message after another, and hear the answers.

    What nothing had answered is sent too, and what comes of it thrown away. bench: who leases it. Raises LinkError.
    """
    with ExitStack() as closing:
        lease = Lease(settings.lease, bench=bench, is_private=settings.is_in_process)
        lease.acquire()
        closing.callback(lease.release)
        channel = _opened(settings, closing)
        for sent, recorded in _exchanges(said):
            # A board at work takes as long as it took then.
            deadline = time.monotonic() + settings.timeout + 2.0 * recorded.took
            try:
                channel.send([sent.data], deadline)
                answer = _answer(channel, recorded.data, deadline) if recorded.data else b""
                if not answer or not _is_whole(answer, recorded.data):
                    channel.discard(time.monotonic() + settings.timeout)  # what comes late is not the next one's
            except LinkError as problem:
                told = f"{problem}, after line {sent.number} was sent: {shown(sent.data, _SENTENCE)}"
                raise type(problem)(f"{settings.address}: {told}") from None
            if recorded.data:
                yield Compared(sent, recorded.data, answer)


def check_sendable(said: Iterable[Said], settings: WiredSettings, log: Path, name: str) -> None:
    """Whether all that was sent can be said again to instrument `name`. Raises UsageError; reads `said` to its end."""
    present = "serial" if isinstance(settings, SerialSettings) else "VISA"
    spoken = ""
    for each in said:
        line = each.line
        if line.direction == "?":
            raise UsageError(f"{log}: line {line.number} cannot be read, and so not be sent again: nothing was sent")
        spoken = str(line.facts.get("spoken") or spoken or _spoken(line))
        if spoken not in ("", present):
            raise UsageError(f"{log}: recorded over {spoken}, the bench's {name} is {_way(present)}: nothing was sent")


def _spoken(line: Line) -> str:
    """By what a message went; empty where the line is none. Old logs do not say it otherwise."""
    return ("serial" if line.data.startswith(START) else "VISA") if line.direction == ">" else ""


def _way(spoken: str) -> str:
    return "serial" if spoken == "serial" else f"on {spoken}"


@dataclass(slots=True)
class _Recorded:
    data: bytes = b""
    took: float = 0.0


def _exchanges(said: Iterable[Said]) -> Iterator[tuple[Line, _Recorded]]:
    sent, recorded = None, _Recorded()
    for each in said:
        line = each.line
        if line.direction == ">":
            if sent is not None:
                yield sent, recorded
            sent, recorded = line, _Recorded()
        elif line.direction == "<" and sent is not None:
            recorded.data += line.data
            recorded.took = line.seconds - sent.seconds
    if sent is not None:
        yield sent, recorded


def _opened(settings: WiredSettings, closing: ExitStack) -> Transport:
    if isinstance(settings, VisaSettings):
        managers = ResourceManagers()
        resource = managers.open(settings.visa_library, settings.resource_name, settings.timeout)
        closing.callback(managers.release, resource)
        closing.callback(resource.close)
        return open_transport(resource)
    if isinstance(settings, SerialSettings):
        port = open_port(settings.resource_name, settings.serial_library, settings.baud_rate, settings.timeout)
        closing.callback(close_port, port)
        return SerialTransport(port)
    raise UsageError(f"{settings.address}: is neither on VISA nor on a serial port: nothing can be sent to it again")


def _answer(channel: Transport, recorded: bytes, deadline: float) -> bytes:
    """What comes, until it is whole; as far as it came where no more does in time."""
    heard = bytearray()
    with contextlib.suppress(LinkTimeoutError):
        while not _is_whole(bytes(heard), recorded):
            heard += channel.read_some(deadline)
    return bytes(heard)


def _is_whole(heard: bytes, recorded: bytes) -> bool:
    """Whether `heard` ends as an answer like `recorded` does: with as many lines, or as many frames."""
    if heard == recorded:
        return True
    if len(heard) < len(recorded) and recorded.startswith(heard):
        return False
    found, wanted = pieces_of(heard), pieces_of(recorded)
    if recorded.startswith(START):
        return len(found) >= len(wanted) and len(found) % 2 == 0  # a frame is two pieces, an unfinished one is one
    if found and found[-1].is_cut:
        return False
    lines = sum(piece.data.endswith(b"\n") and not piece.sha256 for piece in wanted)
    return sum(piece.data.endswith(b"\n") and not piece.sha256 for piece in found) >= max(lines, 1)
