"""A VISA session that says who waited for what, keeps the error queue empty and recovers its place after a fault.

    with VisaLink("TCPIP0::127.0.0.1::5025::SOCKET", visa_library="@py", timeout_s=5) as link:
        link.query("*IDN?")
        codes, status = link.exchange(":READ:INDexed? 1,", cells)   # an array goes out and comes back as a block

Building a link touches no hardware; `connect` does.
"""

from __future__ import annotations

import contextlib
import enum
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from labctl.errors import InstrumentError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.links.blocks import encode_header
from labctl.links.dialects import Dialect, Scpi
from labctl.links.resources import ResourceManagers
from labctl.links.session import Session
from labctl.links.transports import Transport, open_transport

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyvisa.resources import MessageBasedResource

    from labctl.links.wire_log import WireLog

_MAX_DRAINED = 32
_SHOWN = 60
_GRACE_S = 0.5  # after a time-out, to ask whether the instrument had refused the message
_BLOCK = re.compile(r"#\d")
_HASH, _ZERO, _SEMICOLON = b"#0;"


class _Place(enum.Enum):
    """Where a link stands in the dialogue."""

    KNOWN = enum.auto()
    BEHIND = enum.auto()  # the message is out, its answer outstanding
    LOST = enum.auto()  # a message is half sent, or finding the place has failed


class VisaLink(Session):
    """One instrument on VISA, spoken to in IEEE 488.2 program messages.

    resource_name: canonical or not. visa_library: PyVISA's specification (`@py`, `bench.toml@labctl`, empty for what
    is installed). timeout_s: how long one exchange may take. dialect: how errors are asked for and answers put
    together. after_fault: called with the seconds there are, each time the link has found its place again; where it
    raises LinkError, the link stays unusable. An instrument that was switched off meanwhile has lost its settings.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        visa_library: str = "",
        timeout_s: float = 5.0,
        dialect: Dialect | None = None,
        wire_log: WireLog | None = None,
        managers: ResourceManagers | None = None,
        after_fault: Callable[[float], None] | None = None,
    ) -> None:
        self.resource_name = resource_name
        self.visa_library = self._library = visa_library
        self.timeout_s = timeout_s
        self.dialect = dialect or Scpi()
        self._ending = self.dialect.ending
        self.wire_log = wire_log
        self.idn = ""
        self._managers = managers or ResourceManagers()
        self._resource: MessageBasedResource | None = None
        self._transport: Transport | None = None
        self._place = _Place.KNOWN
        self._last_sent = ""
        self._after_fault = after_fault

    # -- life -------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the session and read `*IDN?`. Raises LinkError."""
        if self._transport is not None:
            return
        try:
            self._open(self.timeout_s)
            self.idn = self._ask_identity(time.monotonic() + self.timeout_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the session back. May be called twice."""
        self._place = _Place.KNOWN  # only `connect` opens it again
        resource = self._close_session()
        if resource is not None:
            self._managers.release(resource)

    # -- traffic ----------------------------------------------------------------------------------------------

    def query(self, message: str, *, timeout_s: float | None = None) -> str:
        """One text answer to `message`, errors checked."""
        answer = self.exchange(message, timeout_s=timeout_s)
        if len(answer) != 1 or not isinstance(answer[0], str):
            raise InstrumentError(f"{self.resource_name}: {message} was not answered in one word", command=message)
        return answer[0]

    def write(self, message: str, *, timeout_s: float | None = None) -> None:
        """`message`, which asks nothing, errors checked."""
        self.exchange(message, timeout_s=timeout_s)

    def exchange(self, *parts: str | bytes | np.ndarray, timeout_s: float | None = None) -> list[Any]:
        """Send `parts` as one program message, arrays and bytes as definite-length blocks; return the answer's units.

        The error query rides on the same message, so that a refusal is known in the same crossing of the wire.
        A unit is text, or (n,) u8 for a block; blocks come first. Raises InstrumentError with the drained queue,
        LinkTimeoutError, LinkClosedError.
        """
        allowed = self.timeout_s if timeout_s is None else timeout_s
        message = [*self._pieces(parts), self._ending]
        deadline = time.monotonic() + allowed
        if self._place is _Place.KNOWN and self._transport is not None and self._transport.has_unasked():
            self._place = _Place.LOST  # an answer that came twice would be taken for the next one
        if self._place is not _Place.KNOWN:
            self._find_place(min(self.timeout_s, allowed) / 2)
        try:
            units = self._converse(message, allowed, deadline)
        except LinkTimeoutError:
            self._raise_queued_error()
            raise
        error = self._error_of(units)
        if error[0] != 0:
            self._refused(error, deadline)
        return units

    def resynchronise(self) -> list[tuple[int, str]]:
        """Find the place again after a fault: late answers are thrown away, never taken for the next one.

        A raw socket is opened anew, because nothing late can come through a new connection. On other interfaces the
        device is cleared and asked for its identity until that comes; where it does not, they too are opened anew.
        Returns what stood in the error queue, which is then empty. An exchange does all this by itself where it has to.
        """
        return self._find_place(self.timeout_s)

    # -- inside: one exchange -----------------------------------------------------------------------------------

    def _pieces(self, parts: tuple[str | bytes | np.ndarray, ...]) -> list[Any]:
        pieces: list[Any] = []
        for part in parts:
            if isinstance(part, str):
                if "\n" in part:
                    raise ValueError(f"{part!r} would be two messages: send one at a time")
                pieces.append(part.encode("ascii"))
            elif isinstance(part, bytes):
                pieces += [encode_header(len(part)), part]
            else:
                block = np.ascontiguousarray(part)
                pieces += [encode_header(block.nbytes), block.data.cast("B") if block.size else b""]
        return pieces

    def _converse(self, message: list[Any], allowed: float, deadline: float, *, one_line: bool = False) -> list[Any]:
        """Send and read the whole answer; the place is known afterwards only if both were complete.

        one_line: the answer is that in any dialect, and has no error behind it.
        """
        transport = self._transport
        if transport is None:
            raise LinkClosedError(f"{self.resource_name}: not connected")
        started = time.monotonic()
        self._last_sent = _shorten(message)
        self._place = _Place.LOST
        self._log_sent(message)
        heard: list[Any] = []
        failure: LinkError | None = None
        try:
            transport.send(message, deadline)
            self._place = _Place.BEHIND
            units = self._read_at_once(transport, deadline, heard)
            if units is None:
                units = self._read_units(transport, deadline, heard, one_line)
        except LinkError as problem:
            waited, failure = time.monotonic() - started, problem
            raise type(problem)(
                f"{self.resource_name}: {problem} after {waited:.3g} s of {allowed:.3g} s, "
                f"waiting for the answer to {self._last_sent}"
            ) from None
        finally:
            whole = self._place is _Place.KNOWN
            self._log_received([*heard, b"" if whole else transport.unfinished])
            if failure is not None:
                self._log_failure(failure, "sending" if self._place is _Place.LOST else "reading")
        return units

    def _read_at_once(self, transport: Transport, deadline: float, heard: list[Any]) -> list[Any] | None:
        """The units of a response that has arrived as a whole, blocks and a line; None, and nothing is read, where it
        has not, or is another.
        """
        data = transport.arrived(deadline)
        if not (data.startswith(b"#") and data.endswith(b"\n")):
            return None
        units: list[Any] = []
        at, last = 0, len(data) - 1
        while data[at] == _HASH:
            digits = data[at + 1] - _ZERO
            start = at + 2 + digits
            size = data[at + 2 : start]
            if not (1 <= digits <= 9 and size.isdigit()):
                return None
            at = start + int(size)
            if at >= last or data[at] != _SEMICOLON:
                return None
            units.append(np.frombuffer(data, np.uint8, at - start, start).copy())
            at += 1
        line = data[at:last].decode("latin-1")
        text = self.dialect.units(line)
        if "\n" in line or not self.dialect.is_last(line) or any(unit.startswith("#") for unit in text):
            return None
        transport.skip(len(data))
        heard.append(data)
        self._place = _Place.KNOWN
        return units + text

    def _read_units(self, transport: Transport, deadline: float, heard: list[Any], one_line: bool) -> list[Any]:
        """The units of one response: any blocks first, then text up to the newline that ends it.

        `heard` is given every piece as it was on the wire.
        """
        units: list[Any] = []
        while (first := self._read_byte(transport, deadline, heard)) == b"#":
            units.append(self._read_block(transport, deadline, heard))
            separator = self._read_byte(transport, deadline, heard)
            if separator == b"\r":
                separator = self._read_byte(transport, deadline, heard)
            if separator == b"\n":
                self._place = _Place.KNOWN
                return units
            if separator != b";":
                raise LinkError(f"a block is followed by {separator!r} instead of a semicolon or a newline")
        text: list[str] = []
        while True:
            line = first
            if first != b"\n":
                rest = transport.read_line(deadline)
                heard.append(rest + b"\n")
                line += rest
            text += self.dialect.units(line.decode("latin-1"))
            if one_line or self.dialect.is_last(line.decode("latin-1")):
                break
            first = self._read_byte(transport, deadline, heard)
        if any(_BLOCK.match(unit) for unit in text):
            raise LinkError("a block after text cannot be told from text: ask for blocks first")
        self._place = _Place.KNOWN
        return units + text

    @staticmethod
    def _read_byte(transport: Transport, deadline: float, heard: list[Any]) -> bytes:
        byte = transport.read_exactly(1, deadline)
        heard.append(byte)
        return byte

    def _read_block(self, transport: Transport, deadline: float, heard: list[Any]) -> NDArray[np.uint8]:
        """What follows a block's `#`."""
        digit = self._read_byte(transport, deadline, heard)
        if digit not in b"123456789":
            raise LinkError(f"a block with header {b'#' + digit!r} has no definite length")
        size = transport.read_exactly(int(digit), deadline)
        heard.append(size)
        if not size.isdigit():
            raise LinkError(f"a block with header {b'#' + digit + size!r} has no definite length")
        block = np.empty(int(size), np.uint8)
        transport.read_into(block.data, deadline)
        heard.append(block)
        return block

    def _log_sent(self, message: list[Any]) -> None:
        if self.wire_log is not None:
            self.wire_log.sent(message)

    def _log_received(self, pieces: list[Any]) -> None:
        if self.wire_log is not None and any(len(piece) for piece in pieces):
            self.wire_log.received(b"".join(pieces))

    def _log_failure(self, problem: LinkError, doing: str, again: bool = False) -> None:
        if self.wire_log is not None:
            self.wire_log.failed(problem, doing, again)

    # -- inside: errors the instrument has queued ---------------------------------------------------------------

    def _error_of(self, units: list[Any]) -> tuple[int, str]:
        """The answer to the error query, taken off the end of `units`."""
        answer = units.pop() if units else ""
        error = self.dialect.error(answer) if isinstance(answer, str) else None
        if error is None:
            self._place = _Place.BEHIND
            shown = f"{len(answer)} bytes" if not isinstance(answer, str) else repr(answer[:_SHOWN])
            raise InstrumentError(
                f"{self.resource_name}: {self._last_sent} was answered with {shown} last, where "
                f"{self.dialect.error_query} asks for an error's number and text",
                command=self._last_sent,
            )
        return error

    def _drain(self, deadline: float) -> list[tuple[int, str]]:
        """The error queue, oldest first, at most `_MAX_DRAINED` deep."""
        errors: list[tuple[int, str]] = []
        query = f"{self.dialect.error_query}\n".encode("ascii")
        while len(errors) < _MAX_DRAINED:
            error = self._error_of(self._converse([query], deadline - time.monotonic(), deadline))
            if error[0] == 0:
                break
            errors.append(error)
        return errors

    def _refused(self, first: tuple[int, str], deadline: float) -> None:
        command, errors = self._last_sent, [first]
        with contextlib.suppress(LinkError, InstrumentError):  # the refusal is the better story
            errors += self._drain(deadline)
        raise self._refusal(command, errors)

    def _refusal(self, command: str, errors: list[tuple[int, str]]) -> InstrumentError:
        listed = "; ".join(
            f'{number},"{text}"' + (f" ({count} times)" if count > 1 else "")
            for (number, text), count in Counter(errors).items()
        )
        return InstrumentError(
            f"{self.resource_name}: the instrument refused {command}: {listed}", command=command, errors=errors
        )

    def _raise_queued_error(self) -> None:
        """After a time-out: if the instrument had refused the message, that is the better story."""
        command, errors = self._last_sent, []
        deadline = time.monotonic() + min(_GRACE_S, self.timeout_s)
        with contextlib.suppress(LinkError, InstrumentError):
            if self._place is _Place.BEHIND and self._try_in_place(deadline):
                errors = [error for error in self._drain(deadline) if error[0] not in (-410, -420)]
        self._last_sent = command
        if not errors:
            self._place = _Place.LOST  # the answer may yet come
        else:
            raise self._refusal(command, errors) from None

    # -- inside: the session, and the place in the dialogue -------------------------------------------------------

    def _open(self, timeout_s: float, again: bool = False) -> None:
        try:
            self._open_session(timeout_s, again)
        except LinkError as problem:
            self._log_failure(problem, "opening", again)
            raise
        if self.wire_log is not None:
            self.wire_log.opened(self.resource_name, "VISA", self.visa_library, again)

    def _open_session(self, timeout_s: float, again: bool) -> None:
        resource = self._managers.open(self.visa_library, self.resource_name, timeout_s, again)
        self._resource = resource
        try:
            self._transport = open_transport(resource)
        except LinkError as problem:
            self.close()
            raise type(problem)(f"{self.resource_name}: {problem}") from None

    def _close_session(self) -> MessageBasedResource | None:
        """The session that is now closed; its manager is still needed until it is released."""
        resource, self._resource, self._transport = self._resource, None, None
        if resource is not None:
            with contextlib.suppress(Exception):  # a session that is already dead is closed enough
                resource.close()
        return resource

    def _ask_identity(self, deadline: float) -> str:
        units = self._converse([b"*IDN?\n"], deadline - time.monotonic(), deadline, one_line=True)
        return ";".join(unit if isinstance(unit, str) else "a block" for unit in units)

    def _find_place(self, within_s: float) -> list[tuple[int, str]]:
        """What `resynchronise` says, half of the time for doing it in place. Returns the drained error queue."""
        before = self._last_sent
        started = time.monotonic()
        deadline = started + within_s
        try:
            transport = self._transport
            is_device = transport is not None and not transport.reopening_clears
            if not (is_device and self._try_in_place(started + within_s / 2)):
                self._reopen(deadline)
            errors = self._drain(deadline)
            if self._after_fault is not None:
                self._after_fault(max(deadline - time.monotonic(), 0.1 * within_s))
        except BaseException as problem:
            self._place = _Place.LOST
            if isinstance(problem, LinkError):
                raise type(problem)(f"{problem}; its place was lost at {before}") from None
            raise
        return errors

    def _try_in_place(self, deadline: float) -> bool:
        """Whether the identity was asked for and came, after whatever else was under way."""
        transport, place, self._place = self._transport, self._place, _Place.LOST
        if transport is None:
            return False
        doing = "discarding"
        try:
            self._log_received([transport.discard(deadline)])
            # What may be half sent ends at the first newline; an empty message means nothing.
            question = [b"\n*IDN?\n" if place is _Place.LOST else b"*IDN?\n"]
            self._log_sent(question)
            doing = "sending"
            transport.send(question, deadline)
            doing = "reading"
            while True:
                line = transport.read_line(deadline)
                self._log_received([line + b"\n"])
                if ";".join(self.dialect.units(line.decode("latin-1"))) == self.idn:
                    self._place = _Place.KNOWN
                    return True
        except LinkError as problem:
            self._log_received([transport.unfinished])
            self._log_failure(problem, doing)
            return False

    def _reopen(self, deadline: float) -> None:
        """A new session under the same manager: letting go of that would switch an in-process instrument off."""
        before = self._close_session()
        try:
            self._open(max(deadline - time.monotonic(), 1e-3), again=True)
        finally:
            if before is not None:
                self._managers.release(before)
        found = self._ask_identity(deadline)
        if found != self.idn:
            self.close()
            raise LinkError(f"{self.resource_name}: {found!r} answers where {self.idn!r} was")


def _shorten(message: list[Any]) -> str:
    """How a message begins, as far as it is text."""
    begins = [piece for piece in message[:2] if type(piece) is bytes and not piece.startswith((b"#", b";", b"\n"))]
    text = b"".join(begins).decode("ascii", "replace").strip()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
