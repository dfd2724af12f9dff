"""Requests and answers in frames on a serial port, each carried out once whatever the cable does to it.

    with SerialLink("ASRL/dev/ttyUSB0::INSTR", baud_rate=921_600, timeout_s=5) as link:
        state = State.unpack(link.request(Kind.STATE))

The protocol is `docs/board-frames.md`. Building a link touches no hardware; `connect` does.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from labctl.errors import InstrumentError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.links.blocks import Buffer
from labctl.links.board_frames import VERSION, Hello, HelloRequest, Kind, Refusal, Status
from labctl.links.frames import ANSWER, OVERHEAD, Damaged, Frame, FrameDecoder, encode
from labctl.links.resources import ResourceManagers
from labctl.links.serial_ports import LOST, SLICE_S, close_port, open_port, receive
from labctl.links.session import Session

if TYPE_CHECKING:
    from labctl.links.wire_log import WireLog

_HELLO_LIMIT = 4096  # bytes of an answer before the board has said what it sends at most
_LARGEST = 1 << 26  # bytes of an answer that are waited for, whatever the board says
_BITS = 10.0  # on the wire for each byte: start, eight, stop
_SLACK = 1.25  # of the time that bytes should take, for what adapters add
_LONGEST_SILENCE = 1.0  # s before a request is sent again
_EXTENSIONS = 3  # how often the time for sending, and that for receiving, is granted again to a request
_INSTANT_TRIES = 4  # on a port where nothing comes by waiting
_PAUSE_S = 0.25e-3
_CHUNK = 1 << 16  # of one write: pyserial copies all that is left each time the port takes some
_SETTINGS_LOST = "the board has been restarted, its settings are lost: connect anew"


class SerialLink(Session):
    """One board on a serial port.

    resource_name: `ASRL/dev/ttyUSB0::INSTR`, `ASRL3::INSTR`, `ASRLsocket://127.0.0.1:5000::INSTR`. serial_library:
    empty for pyserial's ports, `bench.toml@labctl` for a simulated board in this process, `LOG@replay` for a recorded
    one. timeout_s: how long a
    request may take besides the time its bytes take on the wire at `baud_rate`. after_fault: called with the seconds
    there are, each time a new session has been begun after a fault, in which the board has its first settings and its
    outputs off; where it raises LinkError, the link stays unusable.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        serial_library: str = "",
        baud_rate: int = 115_200,
        timeout_s: float = 5.0,
        wire_log: WireLog | None = None,
        managers: ResourceManagers | None = None,
        after_fault: Callable[[float], None] | None = None,
    ) -> None:
        self.resource_name = resource_name
        self.serial_library = self._library = serial_library
        self.baud_rate = baud_rate
        self.timeout_s = timeout_s
        self.wire_log = wire_log
        self.sessions = 0
        """How many have been begun since the link was built."""
        self.hello: Hello
        """What the board said last of itself."""
        self._managers = managers or ResourceManagers()
        self._after_fault = after_fault
        self._port: Any = None
        self._is_broken = False  # the port has been lost
        self._connected = False
        self._decoder = FrameDecoder(_HELLO_LIMIT)
        self._number = secrets.randbelow(1 << 16)
        self._lost = False  # what became of the last request is not known
        self._restarted = False
        self._last_sent = ""

    # -- life -----------------------------------------------------------------------------------------------------

    @property
    def idn(self) -> str:
        """Manufacturer, model, serial and firmware, once it is connected."""
        return self.hello.identity

    def connect(self) -> None:
        """Open the port and begin a session. Raises LinkError, InstrumentError."""
        if self._connected:
            return
        try:
            self._open()
            self.hello = self._greet(self.timeout_s)
            self._connected = True
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the port back. May be called twice."""
        self._connected = self._lost = self._restarted = False
        self._close_port()

    # -- traffic --------------------------------------------------------------------------------------------------

    def request(self, kind: int, *pieces: Buffer, timeout_s: float | None = None, work_s: float = 0.0) -> memoryview:
        """Send `pieces` as the payload of one request; the payload of its answer.

        work_s: how long the board is at work before it can answer; a request is not sent again meanwhile. After a
        fault a new session is begun first. Raises InstrumentError where the board refuses, and then has done nothing;
        LinkTimeoutError, LinkClosedError, LinkError where it is not known whether the board has done it; ValueError
        where the payload is longer than the board takes.
        """
        if not self._connected:
            raise LinkClosedError(f"{self.resource_name}: not connected")
        size, most = sum(memoryview(piece).nbytes for piece in pieces), self.hello.max_payload
        if size > most:
            raise ValueError(f"a {_name(kind)} of {size} bytes is longer than the {most} that this board takes")
        allowed = self.timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + allowed
        if self._lost:
            self._find_place(min(self.timeout_s, allowed) / 2)
            if time.monotonic() >= deadline:
                raise LinkTimeoutError(
                    f"{self.resource_name}: {_name(kind)} was not sent: finding the place again took all of the "
                    f"{allowed:.3g} s"
                )
        return self._converse(kind, pieces, deadline - time.monotonic(), work_s).payload

    def resynchronise(self) -> None:
        """Begin a new session, as a request does by itself after a fault: late answers are thrown away."""
        if not self._connected:
            raise LinkClosedError(f"{self.resource_name}: not connected")
        self._find_place(self.timeout_s)

    # -- inside: one request --------------------------------------------------------------------------------------

    def _converse(self, kind: int, pieces: tuple[Buffer, ...], allowed: float, work_s: float = 0.0) -> Frame:
        """Send until it is answered; the place is known afterwards only if it was."""
        self._number = (self._number + 1) & 0xFFFF
        message = b"".join(encode(kind, self._number, 0, *pieces))
        self._last_sent = f"{_name(kind)} (frame {self._number}, {len(message)} bytes)"
        self._lost = True
        patience = _Patience(allowed, work_s, self.baud_rate)
        try:
            answer = self._ask(message, kind, patience)
        except LinkError as problem:
            again = "" if patience.tries < 2 else f", sent {patience.tries} times"
            raise type(problem)(
                f"{self.resource_name}: {problem} after {patience.waited:.3g} s of {patience.allowed:.3g} s, "
                f"waiting for the answer to {self._last_sent}{again}"
            ) from None
        return self._checked(answer)

    def _ask(self, message: bytes, kind: int, patience: _Patience) -> Frame:
        """Raises LinkTimeoutError, LinkClosedError."""
        while True:
            patience.begin_try(len(message))
            heard: list[bytes] = []
            doing = "sending"
            try:
                self._send(message, patience)
                doing = "reading"
                answer = self._await(kind, patience, heard)
            except LinkError as problem:
                self._log(heard, problem, doing)
                raise
            self._log(heard)
            if isinstance(answer, Frame):
                return answer
            if patience.is_over:
                seen = "did not answer" if answer is None else f"and this program heard only damage ({answer.problem})"
                raise LinkTimeoutError(f"the board {seen}")
            patience.pause()

    def _log(self, heard: list[bytes], problem: LinkError | None = None, doing: str = "") -> None:
        if self.wire_log is not None and heard:
            self.wire_log.received(b"".join(heard))
        if self.wire_log is not None and problem is not None:
            self.wire_log.failed(problem, doing, again=self._connected)

    def _send(self, message: bytes, patience: _Patience) -> None:
        """Raises LinkTimeoutError, LinkClosedError."""
        import serial

        if self.wire_log is not None:
            self.wire_log.sent([message])
        view = memoryview(message)
        try:
            within = max(patience.left, SLICE_S)
            if not 0.8 * within < self._port.write_timeout < 1.25 * within:  # setting it takes many system calls
                self._port.write_timeout = within
            for start in range(0, len(view), _CHUNK):
                if start and patience.is_over:
                    raise serial.SerialTimeoutException
                self._port.write(view[start : start + _CHUNK] if len(view) > _CHUNK else message)
        except serial.SerialTimeoutException:
            raise LinkTimeoutError("the board did not take the message") from None
        except OSError as problem:
            self._is_broken = True
            raise LinkClosedError(f"{LOST}{problem}") from None

    def _await(self, kind: int, patience: _Patience, heard: list[bytes]) -> Frame | Damaged | None:
        """The answer to the present request; Damaged or None where it has to be sent again."""
        decoder = self._decoder
        while True:
            for found in decoder.frames():
                if isinstance(found, Damaged):
                    return found
                if found.kind == kind | ANSWER and found.number == self._number:
                    return found
                if found.kind == Kind.NONE and found.status == Status.DAMAGED:
                    return Damaged("the board says that a request arrived damaged")
            if patience.is_try_over:
                if not decoder.is_midway:
                    return None
                decoder.flush()
                continue
            wanted = decoder.missing
            if wanted > OVERHEAD:
                patience.announced(wanted)
            self._receive(wanted, patience, heard)

    def _receive(self, wanted: int, patience: _Patience, heard: list[bytes]) -> None:
        """Give the decoder what comes within a slice of time. Raises LinkClosedError."""
        before = time.monotonic()
        view = self._decoder.room(wanted)[:wanted]
        try:
            count = receive(self._port, view)
        except OSError as problem:
            self._is_broken = True
            raise LinkClosedError(f"{LOST}{problem}") from None
        self._decoder.received(count)
        if self.wire_log is not None and count:
            heard.append(bytes(view[:count]))
        if not count and time.monotonic() - before < SLICE_S / 2:
            patience.nothing_will_come()

    def _checked(self, answer: Frame) -> Frame:
        """The answer where the board did what it was asked; the place is known. Raises InstrumentError, LinkError."""
        if answer.status == Status.NO_SESSION:
            self._restarted = True
            raise LinkError(f"{self.resource_name}: {_SETTINGS_LOST}; it does not know of {self._last_sent}")
        if answer.status == Status.OUT_OF_ORDER:
            raise LinkError(
                f"{self.resource_name}: {self._last_sent} was out of order for the board: is another program using it?"
            )
        self._lost = False
        if answer.status == Status.OK:
            return answer
        try:
            refusal = Refusal.unpack(answer.payload)
        except ValueError as problem:
            raise LinkError(
                f"{self.resource_name}: {self._last_sent} was answered with status {answer.status}: {problem}"
            ) from None
        raise InstrumentError(
            f'{self.resource_name}: the instrument refused {self._last_sent}: {refusal.number},"{refusal.text}"',
            command=self._last_sent,
            errors=[(refusal.number, refusal.text)],
        )

    # -- inside: the port and the session -------------------------------------------------------------------------

    def _open(self) -> None:
        """In this process the new port is opened before the old one goes, which would switch the board off."""
        before = self._port
        if before is not None and not self.serial_library:
            self._close_port()
        try:
            self._port = self._new_port()
        except LinkError as problem:
            self._log([], problem, "opening")
            raise
        finally:
            if before is not None and self.serial_library:
                close_port(before)
        if self.wire_log is not None:
            self.wire_log.opened(self.resource_name, "serial", self.serial_library, again=self._connected)
        self._is_broken = False
        self._decoder = FrameDecoder(_HELLO_LIMIT)

    def _new_port(self) -> Any:
        recording = self._managers.recording(self.serial_library)
        if recording is not None:
            return recording.port(again=self._connected)
        return open_port(self.resource_name, self.serial_library, self.baud_rate, self.timeout_s)

    def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            close_port(port)

    def _greet(self, within_s: float) -> Hello:
        """Begin a session. Raises LinkError, InstrumentError."""
        request = HelloRequest(VERSION, self._drawn_session())
        try:
            hello = Hello.unpack(self._converse(Kind.HELLO, request.pack(), within_s).payload)
        except ValueError as problem:
            raise LinkError(f"{self.resource_name}: does not greet as a test board does: {problem}") from None
        if hello.version != VERSION:
            raise LinkError(
                f"{self.resource_name}: the board speaks version {hello.version} of the protocol, not {VERSION}"
            )
        self.sessions += 1
        self._decoder.limit = min(hello.max_payload, _LARGEST)
        return hello

    def _drawn_session(self) -> int:
        """By lot; in a replay the one that was drawn then, and with it the number of the frame that says so."""
        recording = self._managers.recording(self.serial_library)
        if recording is not None:
            from labctl.links.replay_port import recorded_lots

            drawn = recorded_lots(recording.expected())
            if drawn is not None:
                self._number = drawn[0] - 1
                return drawn[1]
        return secrets.randbits(64)

    def _find_place(self, within_s: float) -> None:
        """A new session: in place for half of the time, as opening a port resets some boards; then on a new port."""
        if self._restarted:
            raise LinkError(f"{self.resource_name}: {_SETTINGS_LOST}")
        before = self._last_sent
        deadline = time.monotonic() + within_s
        try:
            found = self._greet_anew(deadline, within_s)
            if found.boot != self.hello.boot:
                self._restarted = True
                raise LinkError(f"{self.resource_name}: {_SETTINGS_LOST}")
            self.hello = found
            if self._after_fault is not None:
                self._after_fault(max(deadline - time.monotonic(), 0.1 * within_s))
        except BaseException as problem:
            self._lost = True
            if isinstance(problem, LinkError):
                raise type(problem)(f"{problem}; its place was lost at {before}") from None
            raise

    def _greet_anew(self, deadline: float, within_s: float) -> Hello:
        if self._port is not None and not self._is_broken:
            self._decoder.flush()
            with contextlib.suppress(LinkError):
                return self._greet(within_s / 2)
        self._open()
        found = self._greet(max(deadline - time.monotonic(), 0.1 * within_s))
        if found.identity != self.hello.identity:
            self._is_broken = True
            raise LinkError(f"{self.resource_name}: {found.identity!r} answers where {self.hello.identity!r} was")
        return found


class _Patience:
    """How long a request, and one sending of it, is waited for; the time its bytes need on the wire comes on top.

    That time is granted a few times only, so that a line which never stops talking is not listened to for ever.
    """

    def __init__(self, allowed: float, work_s: float, baud_rate: int) -> None:
        self.tries = 0
        self._started = time.monotonic()
        self._deadline = self._started + allowed + work_s
        self._silence = min(allowed / 4, _LONGEST_SILENCE)
        self._work_s = work_s
        self._seconds_per_byte = _BITS / baud_rate * _SLACK
        self._try_until = self._deadline
        self._sendings = self._answers = _EXTENSIONS
        self._has_announced = False
        self._is_hopeless = False

    def begin_try(self, size: int) -> None:
        """`size` bytes are about to be sent."""
        self.tries += 1
        on_wire = size * self._seconds_per_byte
        if self._sendings:
            self._sendings -= 1
            self._deadline += on_wire
        self._try_until = time.monotonic() + on_wire + self._work_s + self._silence
        self._has_announced = False

    def announced(self, size: int) -> None:
        """The answer under way has `size` bytes to come."""
        if not self._has_announced and self._answers:
            self._has_announced = True
            self._answers -= 1
            on_wire = size * self._seconds_per_byte
            self._deadline += on_wire
            self._try_until = max(self._try_until, time.monotonic() + on_wire + self._silence)

    def nothing_will_come(self) -> None:
        """Waiting brings nothing: the port's other end answers at once or not at all."""
        self._try_until = 0.0
        self._is_hopeless = self.tries >= _INSTANT_TRIES

    def pause(self) -> None:
        """Before the same is sent again: nothing at first, longer each time on a line that damages everything."""
        seconds = _PAUSE_S * (2 ** min(self.tries, 20) - 2)
        time.sleep(max(min(seconds, self._silence / 2, self.left), 0.0))

    @property
    def left(self) -> float:
        return self._deadline - time.monotonic()

    @property
    def is_over(self) -> bool:
        return self._is_hopeless or self.left <= 0

    @property
    def is_try_over(self) -> bool:
        return time.monotonic() >= min(self._try_until, self._deadline)

    @property
    def waited(self) -> float:
        return time.monotonic() - self._started

    @property
    def allowed(self) -> float:
        """s, all told."""
        return self._deadline - self._started


def _name(kind: int) -> str:
    return Kind(kind).name if kind in tuple(Kind) else f"request {kind:#04x}"
