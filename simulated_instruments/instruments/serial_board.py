"""The memory-array test board on a serial port (`docs/board-frames.md`): what it does is in `board`.

Bytes that are no frame are answered with DAMAGED, so that whoever sent them sends again. What is sent again under the
number of the last request is answered as it was, and not carried out again.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
import numpy as np

from labctl.links.blocks import Buffer
from labctl.links.board_frames import (
    VERSION,
    Advance,
    Configure,
    Configured,
    Counter,
    Counts,
    CountsRequest,
    Empty,
    Fetch,
    Hello,
    HelloRequest,
    Kind,
    Last,
    Multiply,
    Output,
    Pulse,
    Read,
    Refusal,
    State,
    Status,
    Time,
    Timed,
    Where,
)
from labctl.links.frames import ANSWER, Damaged, Frame, FrameDecoder, encode

from ..scpi import ScpiError
from ..scpi.formatting import Segment
from ..scpi.output_queue import OutputQueue
from ..wire import FRAME_SILENCE, Site
from .board import FIRMWARE, MAX_GATE, MAX_VOLTS, PULSE_TIME, READ_TIME, WIDTHS, MemoryBoard, SimulatedBoard
from .chip_socket import ChipOptions
from .numbered_work import Work

_SENT_AHEAD = 64 * 1024  # bytes of answers that may wait before the next request does
_PAYLOADS = (256, 1 << 28)
_TIMED_HEAD = 8  # bytes of an answer that ends a piece of work, before its values
_Answer = tuple[Buffer, ...]


class SerialFace:
    """The board in frames. There is one port: the session is the board's, whichever connection brings the bytes."""

    def __init__(self, board: MemoryBoard, max_payload: int) -> None:
        """Raises ValueError where the chip's serial number cannot stand in an identity."""
        self.lock = threading.RLock()
        self.max_payload = max_payload
        self._board = board
        self._boot = secrets.randbits(64)
        self._session: int | None = None
        self._last_number = 0
        self._last_answer: list[Buffer] = []
        self._handlers: dict[int, Callable[[memoryview], _Answer]] = {
            Kind.HELLO: self._hello,
            Kind.CONFIGURE: self._configure,
            Kind.OUTPUT: self._output,
            Kind.STATE: self._state,
            Kind.LAST: self._last,
            Kind.FETCH: self._fetch,
            Kind.PULSE: self._pulse,
            Kind.READ: self._read,
            Kind.MULTIPLY: self._multiply,
            Kind.COUNTS: self._counts,
            Kind.TIME: self._time,
            Kind.ADVANCE: self._advance,
        }
        if set(board.chip.serial) & set(",;\n"):
            raise ValueError(f"an identity is four fields without commas or semicolons, not {board.chip.serial!r}")
        self._introduction()

    def connect(self, stream: bool = False) -> FrameConversation:  # noqa: ARG002 -- frames mark their own ends
        return FrameConversation(self)

    def answer(self, found: Frame | Damaged) -> list[Buffer]:
        """The frame to send back, in pieces; none to what is itself an answer."""
        if isinstance(found, Damaged):
            return encode(Kind.NONE, 0, Status.DAMAGED)
        if found.kind & ANSWER:
            return []
        is_new = found.kind == Kind.HELLO and self._session_of(found) not in (None, self._session)
        if is_new:
            self._session, self._last_answer = self._session_of(found), []
            self._board.reset()
        elif self._session is None:
            return encode(found.kind | ANSWER, found.number, Status.NO_SESSION)
        elif found.number == self._last_number:
            return self._last_answer
        elif found.number != (self._last_number + 1) & 0xFFFF:
            return encode(found.kind | ANSWER, found.number, Status.OUT_OF_ORDER)
        self._last_number, self._last_answer = found.number, self._carried_out(found)
        return self._last_answer

    def _carried_out(self, frame: Frame) -> list[Buffer]:
        self._board.begin_message()
        try:
            handler = self._handlers.get(frame.kind)
            if handler is None:
                raise ScpiError(-113, f"there is no request {frame.kind:#04x}")
            return encode(frame.kind | ANSWER, frame.number, Status.OK, *handler(frame.payload))
        except ScpiError as problem:
            return _refusal(frame, problem)
        except ValueError as problem:  # of a payload that is none
            return _refusal(frame, ScpiError(-161, str(problem)))

    @staticmethod
    def _session_of(frame: Frame) -> int | None:
        """None where the payload is no HELLO's."""
        try:
            return HelloRequest.unpack(frame.payload).session
        except ValueError:
            return None

    # -- what it is, and its settings -----------------------------------------------------------------------------

    def _hello(self, payload: memoryview) -> _Answer:
        HelloRequest.unpack(payload)
        return self._introduction()

    def _introduction(self) -> _Answer:
        board, chip = self._board, self._board.chip
        return Hello(
            version=VERSION,
            max_payload=self.max_payload,
            boot=self._boot,
            sequence=board.sequence,
            rows=chip.rows,
            cols=chip.cols,
            dac_step=chip.dac.step,
            dac_offset=chip.dac.offset,
            dac_bits=chip.dac.bits,
            min_read_voltage=chip.read_voltages[0],
            max_read_voltage=chip.read_voltages[1],
            max_current_range=chip.ranges[-1],
            pulse_time=PULSE_TIME,
            read_time=READ_TIME,
            max_form=MAX_VOLTS["FORM"],
            max_set=MAX_VOLTS["SET"],
            max_reset=MAX_VOLTS["RES"],
            max_gate=MAX_GATE,
            min_width=WIDTHS[0],
            max_width=WIDTHS[1],
            is_clock_virtual=board.clock.virtual,
            identity=f"labctl,SB-512,{chip.serial},{FIRMWARE}",
            chip_serial=chip.serial,
            cell_kind=chip.cell_kind,
        ).pack()

    def _configure(self, payload: memoryview) -> _Answer:
        wanted, board = Configure.unpack(payload), self._board
        before = board.read_voltage, board.current_range
        try:
            if not math.isnan(wanted.read_voltage):
                board.read_voltage = wanted.read_voltage
            if not math.isnan(wanted.current_range):
                board.current_range = wanted.current_range
            if not math.isnan(wanted.temperature):
                board.chuck = wanted.temperature
        except ScpiError:
            board.read_voltage, board.current_range = before
            raise
        return Configured(*board.reading_scale, board.read_voltage, board.current_range, board.chuck).pack()

    def _output(self, payload: memoryview) -> _Answer:
        self._board.output = Output.unpack(payload).on
        return ()

    def _state(self, payload: memoryview) -> _Answer:
        Empty.unpack(payload)
        board = self._board
        settings = board.read_voltage, board.current_range, board.chuck
        return State(board.sequence, board.output, board.clock.now(), *settings).pack()

    # -- work -----------------------------------------------------------------------------------------------------

    def _pulse(self, payload: memoryview) -> _Answer:
        given, board = Pulse.unpack(payload), self._board
        cells = given.cells
        if cells is not None:
            cells = board.masked(cells) if given.where is Where.MASKED else board.listed(cells)
        self._check_room(2 * len(given.codes) * given.verify)
        board.pulse(given.sequence, given.operation, given.width, given.gate, cells, given.codes, given.verify)
        return self._done()

    def _read(self, payload: memoryview) -> _Answer:
        given, board = Read.unpack(payload), self._board
        cells = None if given.cells is None else board.listed(given.cells)
        count = board.chip.rows * board.chip.cols if cells is None else len(cells)
        self._check_room(2 * count * given.repeats)
        board.read(cells, given.repeats, None if math.isnan(given.voltage) else given.voltage)
        return self._done()

    def _multiply(self, payload: memoryview) -> _Answer:
        chip = self._board.chip
        given = Multiply.unpack(payload, chip.rows, chip.cols)
        self._check_room(4 * len(given.inputs) * (chip.rows if given.transpose else chip.cols))
        self._board.multiply(given.inputs.ravel(), given.transpose)
        return self._done()

    def _counts(self, payload: memoryview) -> _Answer:
        what, chip = CountsRequest.unpack(payload).what, self._board.chip
        if what not in tuple(Counter):
            raise ScpiError(-224, f"there is no counter {what}")
        self._check_room(4 * chip.rows * chip.cols - _TIMED_HEAD)
        return Counts((chip.pulse_counts if what == Counter.PULSES else chip.read_counts).copy()).pack()

    def _last(self, payload: memoryview) -> _Answer:
        Empty.unpack(payload)
        board = self._board
        ended = board.kept[-1].ended if board.kept else math.nan
        return Last(board.work, board.sequence, ended).pack()

    def _fetch(self, payload: memoryview) -> _Answer:
        return _timed(self._board.recall(Fetch.unpack(payload).number))

    def _done(self) -> _Answer:
        """What the board did last, as the answer to what asked for it."""
        return _timed(self._board.kept[-1])

    def _check_room(self, size: int) -> None:
        """Raises ScpiError -223 where values of `size` bytes go into no answer."""
        if size + _TIMED_HEAD > self.max_payload:
            raise ScpiError(-223, f"an answer of {size + _TIMED_HEAD} bytes where {self.max_payload} go")

    # -- time -----------------------------------------------------------------------------------------------------

    def _time(self, payload: memoryview) -> _Answer:
        Empty.unpack(payload)
        return Time(self._board.clock.now()).pack()

    def _advance(self, payload: memoryview) -> _Answer:
        self._board.advance(Advance.unpack(payload).seconds)
        return Time(self._board.clock.now()).pack()


class FrameConversation:
    """One connection: bytes in, frames carried out, answers out. A serial port has no status byte and no ends."""

    requests_service = False
    service_requests = 0

    def __init__(self, face: SerialFace) -> None:
        self._face = face
        self._decoder = FrameDecoder(face.max_payload)
        self._output = OutputQueue()
        self._waiting = 0  # bytes that came since all that was complete was carried out
        self._listening_since = time.monotonic()

    def write(self, data: Buffer, end: bool = False) -> None:  # noqa: ARG002
        was_silent = self._was_silent
        with self._face.lock:
            if was_silent:
                self._end_silence()
            self._decoder.feed(data)
            self._arrived(memoryview(data).nbytes)

    def writable(self) -> memoryview:
        return self._decoder.room()

    def received(self, count: int, end: bool = False) -> None:
        if self._was_silent:
            self.write(bytes(self._decoder.room()[:count]), end)  # what ends before these gives up its memory
            return
        with self._face.lock:
            self._decoder.received(count)
            self._arrived(count)

    def read(self, size: int, until: int | None = None) -> tuple[Segment, bool]:
        with self._face.lock:
            data = self._output.take(size, until)
            self._run()
            return data, bool(data) and not self._output.pending

    def take(self) -> list[Segment]:
        with self._face.lock:
            segments = self._output.take_all()
            self._run()
            self._listening_since = time.monotonic()
            return segments

    def clear(self) -> None:
        """What was sent and not carried out, and what was answered and not read, is dropped."""
        with self._face.lock:
            self._decoder = FrameDecoder(self._face.max_payload)
            self._output.clear()
            self._waiting = 0

    def status_byte(self) -> int:
        return 0

    @property
    def pending(self) -> int:
        return self._output.pending

    @property
    def backlog(self) -> int:
        """Bytes of requests that wait for the answers before them to leave."""
        return self._waiting if self._output.pending >= _SENT_AHEAD else 0

    def _arrived(self, count: int) -> None:
        self._waiting += count
        self._run()
        self._listening_since = time.monotonic()

    @property
    def _was_silent(self) -> bool:
        """Whether no byte came for long while part of a frame was there: not while we were at work or sent answers."""
        is_half = self._decoder.is_midway and not self.backlog
        return is_half and time.monotonic() - self._listening_since > FRAME_SILENCE

    def _end_silence(self) -> None:
        """What is half there will not be completed."""
        self._decoder.flush()
        self._run()

    def _run(self) -> None:
        """Carry out what is complete, while whoever asks also listens."""
        if self._output.pending >= _SENT_AHEAD:
            return
        for found in self._decoder.frames():
            self._output.put(cast("list[Segment]", self._face.answer(found)))
            if self._output.pending >= _SENT_AHEAD:
                return
        self._waiting = 0


class SerialBoardOptions(ChipOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """max_payload: bytes of a frame's payload that the board takes, and sends, at most; the rest is the chip's."""

    max_payload: int = 1 << 20


def _timed(work: Work) -> _Answer:
    """What a piece of work answers."""
    return Timed(work.ended, np.empty(0, np.uint16) if work.answer is None else work.answer).pack()


def _refusal(frame: Frame, problem: ScpiError) -> list[Buffer]:
    return encode(frame.kind | ANSWER, frame.number, Status.REFUSED, *Refusal(problem.number, problem.text).pack())


def build(options: dict[str, Any], site: Site) -> SimulatedBoard[SerialFace]:
    """Entry point `labctl.simulators`: the board of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    chosen = msgspec.convert(options, SerialBoardOptions)
    low, high = _PAYLOADS
    if not low <= chosen.max_payload <= high:
        raise ValueError(f"max_payload must be between {low} and {high} bytes, not {chosen.max_payload}")
    return SimulatedBoard(chosen, site.folder, lambda board: SerialFace(board, chosen.max_payload))
