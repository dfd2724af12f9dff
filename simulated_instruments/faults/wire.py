"""A wire between a server and a simulated instrument on which a plan of faults is carried out."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from labctl.links.blocks import Buffer

from ..scpi.formatting import Segment
from ..scpi.output_queue import OutputQueue
from ..wire import Conversation, HungUp, Interruptible, WrappedConversation
from . import board
from .kinds import (
    Close,
    Corrupt,
    Drop,
    Duplicate,
    Fault,
    Hang,
    Latency,
    Passing,
    Reboot,
    Trickle,
    Truncate,
    WireFault,
)
from .messages import Cutter
from .plan import FaultPlan, PlanError
from .record import Injected, Record
from .schedule import Schedule, Strike

_LOOK = 0.05  # s between looks at whether a wait is over for another reason than time


class FaultyWire:
    """A `Wire` to what is behind the wire of `simulated`, with the faults of `plan` on it.

    Faults count all messages to the instrument, whichever connection they come through. Waiting is on the wall clock.
    """

    def __init__(self, simulated: board.Simulated, plan: FaultPlan, name: str, record: Record | None = None) -> None:
        """`name`: the instrument's, as plans and records write it. Raises PlanError where it cannot have a fault."""
        for index, fault in enumerate(plan.faults):
            if not fault.instruments or name in fault.instruments:
                try:
                    board.check(fault, simulated)
                except ValueError as problem:
                    raise PlanError(f"{plan.source}: $.faults[{index}], at {name!r}: {problem}") from None
        self.name = name
        self.simulated = simulated
        self.record = Record(plan.log) if record is None else record
        self.schedule = Schedule(plan, name, self._now, self._pulses)
        self.powered = 0
        """How often it was switched off and on."""
        self.silent_until = -math.inf
        self.closed = threading.Event()
        self._passing: list[tuple[int, Fault]] = []
        self._lock = threading.Lock()

    def connect(self, stream: bool = False) -> Conversation:
        return FaultyConversation(self, stream)

    def close(self) -> None:
        """Nobody waits any longer."""
        self.closed.set()

    def note(self, number: int, fault: Fault, where: str) -> None:
        settled = fault.at_message(number, self.name)
        self.record.add(Injected(time.time(), self.name, number, where, settled))

    def before(self, number: int, strikes: list[Strike]) -> None:
        """Message `number` is about to be carried out: chips fall ill, and get well."""
        with self._lock:
            for until, fault in [each for each in self._passing if each[0] <= number]:
                board.end(fault, self.simulated)
                self._passing.remove((until, fault))
            for strike in strikes:
                fault = strike.fault
                if isinstance(fault, WireFault):
                    continue
                board.begin(fault, self.simulated)
                self.note(number, fault, "before it was carried out")
                if isinstance(fault, Passing) and fault.exchanges is not None:
                    self._passing.append((number + fault.exchanges, fault))

    def stop(self, seconds: float | None) -> None:
        """Nobody is answered for a while; None: ever."""
        self.silent_until = max(self.silent_until, math.inf if seconds is None else time.monotonic() + seconds)

    def power_cycle(self, seconds: float) -> None:
        assert isinstance(self.simulated, board.PowerCycled)  # `check` has seen to that
        with self._lock:
            self.simulated.power_cycle()
            self.powered += 1
            self.silent_until = time.monotonic() + seconds

    def _now(self) -> float:
        return self.simulated.clock.now() if isinstance(self.simulated, board.HasChip) else time.monotonic()

    def _pulses(self) -> int:
        return int(self.simulated.chip.pulse_counts.sum()) if isinstance(self.simulated, board.HasChip) else 0


@dataclass(slots=True)
class _Incoming:
    """A message that is on its way to the instrument.

    pieces: with whether END comes with them. strikes: on the board or the chip. answers: what will befall its answer.
    """

    number: int
    pieces: list[tuple[bytes, bool]]
    due: float
    strikes: list[Strike] = field(default_factory=list)
    answers: list[Strike] = field(default_factory=list)
    hangs_up: bool = False
    reboots: float | None = None


@dataclass(slots=True)
class _Outgoing:
    """A piece of an answer on its way from the instrument. hangs_up: the connection ends instead."""

    due: float
    segments: list[Segment] = field(default_factory=list)
    end: bool = False
    hangs_up: bool = False


class FaultyConversation(WrappedConversation):
    """One connection: every message is cut out, meets its faults, and is carried out when it is due.

    Calls that give out bytes wait for those that are late: `patience` s at most where it is set (`wire.Patient`).
    On a transport that marks ends an answer without faults stays where it is until it is asked for, so that what the
    instrument says of unread answers and of its status stays true.
    """

    def __init__(self, wire: FaultyWire, stream: bool) -> None:
        inner = wire.simulated.wire
        assert inner is not None  # a server connects only to what has a wire
        super().__init__(inner.connect(stream))
        self.patience: float | None = None
        self._wire = wire
        self._stream = stream
        self._powered = wire.powered
        self._cutter = Cutter(stream)
        self._coming: deque[_Incoming] = deque()
        self._going: deque[_Outgoing] = deque()
        self._ready = OutputQueue()
        self._ready_ends = False
        self._dumb = False  # the answer was lost: there is nothing to read until the next message
        self._hung_up = False

    # -- bytes in -----------------------------------------------------------------------------------------------

    def write(self, data: Buffer, end: bool = False) -> None:
        self._check()
        self._cutter.append(data)
        self._arrived(end)

    def writable(self) -> memoryview:
        self._check()
        return self._cutter.writable()

    def received(self, count: int, end: bool = False) -> None:
        self._check()
        self._cutter.received(count)
        self._arrived(end)

    def _arrived(self, end: bool) -> None:
        for message, ended in self._cutter.messages(end):
            self._meet(message, ended)
        self._advance()

    def _meet(self, message: bytes, end: bool) -> None:
        """What befalls a message on its way to the instrument."""
        number, strikes = self._wire.schedule.next_message()
        coming = _Incoming(number, [(message, end)], time.monotonic())
        for strike in strikes:
            fault = strike.fault
            if not isinstance(fault, WireFault):
                coming.strikes.append(strike)
            elif fault.direction == "from":
                coming.answers.append(strike)
            elif (settled := fault.settled(message, strike.chance)) is not None:
                self._befall(coming, settled)
                self._wire.note(number, settled, f"to it, {len(message)} bytes")
        self._coming.append(coming)

    def _befall(self, coming: _Incoming, fault: Fault) -> None:
        match fault:
            case Latency():
                coming.due += fault.seconds
            case Drop():
                coming.pieces = []
            case Duplicate():
                coming.pieces *= 2
            case Truncate():
                coming.pieces = [(piece[: fault.at], False) for piece, _ in coming.pieces]
            case Close():
                coming.pieces = [(piece[: fault.at], False) for piece, _ in coming.pieces]
                coming.hangs_up = True
            case Corrupt():
                coming.pieces = [(_corrupted(piece, fault), end) for piece, end in coming.pieces]
            case Trickle():
                coming.due += sum(len(piece) for piece, _ in coming.pieces) / fault.rate
            case Hang():
                self._wire.stop(fault.seconds)
            case Reboot():
                coming.pieces, coming.reboots = [], fault.seconds

    # -- carried out --------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Everything that is due by now. Raises HungUp where the connection ends with it."""
        while self._coming and self._due(self._coming[0].due) <= time.monotonic():
            self._carry_out(self._coming.popleft())
        while self._going and not self._held and self._due(self._going[0].due) <= time.monotonic():
            going = self._going.popleft()
            if going.hangs_up:
                self._hung_up = True
                break
            self._ready.put(going.segments)
            self._ready_ends = going.end

    @property
    def _held(self) -> bool:
        """An answer whose end is marked is read before the next one is there."""
        return not self._stream and self._ready_ends and self._ready.pending > 0

    def _due(self, moment: float) -> float:
        return max(moment, self._wire.silent_until)

    def _carry_out(self, coming: _Incoming) -> None:
        self._wire.before(coming.number, coming.strikes)
        if not self._stream and coming.pieces:
            self._forget_answer()
        for piece, end in coming.pieces:
            self._inner.write(piece, end)
        if coming.hangs_up:
            self._going.append(_Outgoing(0.0, hangs_up=True))
        elif coming.reboots is not None:
            self._reboot(coming.reboots)
        elif self._stream or coming.answers:
            self._answer(coming)

    def _answer(self, coming: _Incoming) -> None:
        """Take the answer over, for what befalls it on its way."""
        segments = self._all_of_the_answer()
        going = _Outgoing(time.monotonic(), segments, end=True)
        answer = b"".join(segments) if coming.answers else b""
        settled = [strike.fault.settled(answer, strike.chance) for strike in coming.answers if answer]
        for fault in settled:
            if fault is not None:
                self._wire.note(coming.number, fault, f"from it, {len(answer)} bytes")
                self._befall_answer(going, fault)
        if going.segments:
            self._going.append(going)
        elif answer and not self._stream:
            self._dumb = True

    def _all_of_the_answer(self) -> list[Segment]:
        segments: list[Segment] = []
        if self._stream:
            while pieces := self._inner.take():
                segments += pieces
        else:
            while self._inner.pending:
                segments.append(self._inner.read(self._inner.pending)[0])
        return segments

    def _befall_answer(self, going: _Outgoing, fault: Fault) -> None:
        """`going` is changed, and what follows or precedes it put on its way."""
        answer = b"".join(going.segments)
        match fault:
            case Latency():
                going.due += fault.seconds
            case Drop():
                going.segments = []
            case Duplicate():
                self._going.append(_Outgoing(going.due, [answer], going.end))
            case Truncate():
                going.segments, going.end = [answer[: fault.at]] if fault.at else [], False
            case Close():
                self._going.append(_Outgoing(going.due, [answer[: fault.at]]))
                self._going.append(_Outgoing(going.due, hangs_up=True))
                going.segments = []
            case Corrupt():
                going.segments = [_corrupted(answer, fault)]
            case Trickle():
                self._trickle(going, answer, fault)
            case Hang():
                self._wire.stop(fault.seconds)
            case Reboot():
                going.segments = []
                self._reboot(fault.seconds)

    def _trickle(self, going: _Outgoing, answer: bytes, fault: Trickle) -> None:
        for start in range(0, len(answer), fault.piece):
            piece = answer[start : start + fault.piece]
            going.due += len(piece) / fault.rate
            is_last = start + fault.piece >= len(answer)
            if not is_last:
                self._going.append(_Outgoing(going.due, [piece]))
            going.segments = [piece]

    def _reboot(self, seconds: float) -> None:
        self._wire.power_cycle(seconds)
        self._coming.clear()
        self._going.clear()

    # -- bytes out ----------------------------------------------------------------------------------------------

    def read(self, size: int, until: int | None = None) -> tuple[Segment, bool]:
        self._wait()
        if self._ready.pending:
            data = self._ready.take(size, until)
            return data, self._ready_ends and not self._ready.pending
        self._check()
        return (b"", False) if self._has_taken_over else self._inner.read(size, until)

    def take(self) -> list[Segment]:
        self._wait()
        self._check()
        if self._ready.pending or self._has_taken_over:
            return self._ready.take_all()
        return self._inner.take()

    @property
    def _has_taken_over(self) -> bool:
        """What is to be read, if anything is, does not wait behind us."""
        return self._stream or self._dumb or bool(self._coming or self._going)

    def _wait(self) -> None:
        """Until there is something to read, nothing is on its way, or patience is at its end. Raises HungUp."""
        deadline = math.inf if self.patience is None else time.monotonic() + self.patience
        while True:
            self._check()
            self._advance()
            moments = [coming.due for coming in self._coming] + [going.due for going in self._going]
            on_its_way = [self._due(moment) for moment in moments]
            is_lost = self._dumb and self.patience is not None  # who asks waits for it all the same
            if self._ready.pending or self._hung_up or not (on_its_way or is_lost):
                return
            due = min(on_its_way, default=math.inf)
            if due == math.inf and self.patience is None:
                return  # it will never come: the server had better listen
            left = min(due, deadline) - time.monotonic()
            if time.monotonic() >= deadline:
                return
            self._wire.closed.wait(min(max(left, 0.0), _LOOK))

    def clear(self) -> None:
        self._check()
        self._cutter.clear()
        self._coming.clear()
        self._forget_answer()
        self._inner.clear()

    def interrupt(self) -> None:
        self._forget_answer()
        if isinstance(self._inner, Interruptible):
            self._inner.interrupt()

    def _forget_answer(self) -> None:
        self._going.clear()
        self._ready.clear()
        self._ready_ends = self._dumb = False

    # -- what else can be asked ---------------------------------------------------------------------------------

    def status_byte(self) -> int:
        self._check()
        return super().status_byte() | (0x10 if self._ready.pending else 0)

    @property
    def pending(self) -> int:
        self._check()
        self._advance()
        late = 0 if self._stream else sum(len(piece) for going in self._going for piece in going.segments)
        return self._ready.pending + late + self._inner.pending

    @property
    def backlog(self) -> int:
        return sum(len(piece) for coming in self._coming for piece, _ in coming.pieces)

    def _check(self) -> None:
        """Raises HungUp where the connection has ended, or the instrument was switched off since."""
        is_over = self._hung_up and not self._ready.pending
        if is_over or self._powered != self._wire.powered or self._wire.closed.is_set():
            raise HungUp


def _corrupted(message: bytes, fault: Corrupt) -> bytes:
    damaged = bytearray(message)
    for place, flip in zip(fault.at, fault.flips, strict=True):
        if place < len(damaged):
            damaged[place] ^= flip
    return bytes(damaged)
