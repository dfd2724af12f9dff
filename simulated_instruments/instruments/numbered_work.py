"""What boards that number their work share: what was done last is known, and its answers are kept.

A board counts all its work, and keeps the answers of the last message in which it did any. A controller that lost an
answer asks what was done last and has the answer again; a message that says which number its work is and comes twice,
or late, is refused. So nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from ..scpi import Command, Numeric, ScpiError
from ..wire import Wire
from .bench_clock import MAX_ADVANCE, advance
from .chip_socket import ChipT, Socket
from .clocks import BoardClock

OUT_OF_SEQUENCE = 101

NUMBER = Numeric(integer=True, minimum=0, maximum=2**62)
"""Of a piece of work or a batch."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something done: its number since power-on, the board's time when it ended, and what it answered."""

    number: int
    ended: float
    answer: NDArray[Any] | None


class NumberedWork:
    """The half of a firmware that is the same for every such board; whoever calls holds the lock of its language.

    Attributes:
        work: number of the last work done, 0 after power-on.
        kept: the work of the last message that did any, oldest first.

    Every call raises ScpiError, whose number and text are the same in every language, with nothing done.
    """

    def __init__(self, clock: BoardClock) -> None:
        self.clock = clock
        self.work = 0
        self.kept: list[Work] = []
        self._output = False
        self._is_new_message = True
        self._is_void = False  # no work is done in this message any more

    @property
    def output(self) -> bool:
        """Whether lines are driven."""
        return self._output

    @output.setter
    def output(self, on: bool) -> None:
        if on:
            self._check_valid()
        self._output = on

    def safe(self) -> None:
        """Outputs off, every line grounded.

        It counts as work, so that a message that was under way before and comes late, to switch outputs on and change
        cells, is out of order.
        """
        self._output = False
        self._worked(0.0, None)

    def begin_message(self) -> None:
        """A message begins; the first work in it takes the place of what is kept."""
        self._is_new_message, self._is_void = True, False

    def void_message(self) -> None:
        """No more work is done in this message."""
        self._is_void = True

    def expect(self, number: int) -> None:
        """The next work is `number`; where it is not, no work of this message is done, as of one that comes twice."""
        if number != self.work + 1:
            self.void_message()
            raise ScpiError(OUT_OF_SEQUENCE, f"Work number out of order;{number} where {self.work + 1} is next")

    def recall(self, number: int) -> Work:
        """Work `number` with its answer. Raises ScpiError -230 where that is not kept."""
        for work in self.kept:
            if work.number == number:
                return work
        raise ScpiError(-230, f"no answer of work {number} is kept")

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        advance(self.clock, within(seconds, 0.0, MAX_ADVANCE, "s"))

    def _check_valid(self) -> None:
        if self._is_void:
            raise ScpiError(OUT_OF_SEQUENCE, "Work number out of order;nothing more is done in this message")

    def _worked(self, seconds: float, answer: NDArray[Any] | None) -> None:
        """Something that took `seconds` is done. `answer` is kept as it is, so nobody writes to it again."""
        self.clock.spend(seconds)
        if self._is_new_message:
            self.kept, self._is_new_message = [], False
        self.work += 1
        self.kept.append(Work(self.work, self.clock.now(), answer))


def work_commands(board: NumberedWork) -> list[Command]:
    """FETCh, of every board that numbers its work and speaks SCPI."""

    def fetch(number: int) -> NDArray[Any]:
        answer = board.recall(number).answer
        if answer is None:
            raise ScpiError(-230, f"work {number} had no answer")
        return answer

    return [
        Command("FETCh:NEXT", set=board.expect, parameters=(NUMBER,)),
        Command("FETCh:WORK", query=lambda: (board.work, *(each.ended for each in board.kept))),
        Command("FETCh[:ANSWer]", query=fetch, query_parameters=(NUMBER,)),
    ]


class Face(Wire, Protocol):
    """A language that a board is spoken to in. `lock` is held while it works."""

    @property
    def lock(self) -> AbstractContextManager[Any]: ...


FaceT = TypeVar("FaceT", bound=Face)
FirmwareT = TypeVar("FirmwareT")


class PoweredBoard(Generic[ChipT, FirmwareT, FaceT]):
    """A powered-on board: its `firmware`, and the `wire` to talk to it; `close` saves what its chip remembers."""

    def __init__(
        self,
        socket: Socket[ChipT],
        firmware: Callable[[ChipT, BoardClock], FirmwareT],
        face: Callable[[FirmwareT], FaceT],
    ) -> None:
        """Raises ValueError with one sentence, the socket let go of."""
        self._socket = socket
        self._make_firmware = firmware
        self._face = face
        try:
            self._switch_on()
        except BaseException:
            self._socket.release()
            raise

    @property
    def chip(self) -> ChipT:
        return self._socket.chip

    @property
    def clock(self) -> BoardClock:
        return self._socket.clock

    def power_cycle(self) -> None:
        """Off and on: settings, numbers and what was kept are lost, the chip's cells are not. The `wire` is another."""
        with self.wire.lock:
            self._switch_on()

    def _switch_on(self) -> None:
        self.firmware = self._make_firmware(self.chip, self.clock)
        self.wire = self._face(self.firmware)

    def close(self) -> None:
        """May be called twice: the chip is saved once, as long as it is ours."""
        with self.wire.lock:
            self._socket.close()


def within(value: float, low: float, high: float, unit: str = "") -> float:
    """`value`. Raises ScpiError -222, for NaN too."""
    unit = f" {unit}" if unit else ""
    if not value >= low:
        raise ScpiError(-222, f"{value:.9g} is below {low:.9g}{unit}")
    if not value <= high:
        raise ScpiError(-222, f"{value:.9g} is above {high:.9g}{unit}")
    return value
