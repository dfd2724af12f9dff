"""What drivers of boards that number their work share, whatever the wire and the board: all is done exactly once.

The board counts all its work and keeps the last answers. When the wire fails between work and its answer, the board is
asked what it did last: what it has done is fetched, not done again, and what it has not is sent again. So a run with
faults on its wire is the run without, to the last bit.
"""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from labctl.drivers.wired import WiredDriver, WireKeys
from labctl.errors import InstrumentError, LinkError

_TRIES = 3

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work and what it answers: `values` of `dtype`, after `duration` s."""

    dtype: ClassVar[str] = "<u2"

    values: int
    duration: float

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return self.values * np.dtype(self.dtype).itemsize

    @property
    def is_batch(self) -> bool:
        """Whether it is a batch of pulses, which the board numbers besides."""
        return False

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer, though it may be of no values."""
        return True


class Done(NamedTuple):
    """Work that is done: its answer, (values,), and when it ended, s on the board's clock."""

    answer: NDArray[Any]
    ended: float


@dataclass(frozen=True, slots=True)
class LastWork:
    """What a board did last: the number of that work, and of the last pulse batch.

    ended: s on the board's clock, of the work of that message, oldest first.
    """

    number: int
    sequence: int
    ended: tuple[float, ...]


class ExactlyOnce(WiredDriver):
    """The driver of such a board; a subclass speaks to it."""

    def __init__(self, settings: WireKeys) -> None:
        super().__init__(settings)
        self._work = 0
        self._sequence = 0
        self._is_settled = True  # nothing is under way or of unknown fate
        self._armed = False  # outputs are on

    # -- what a subclass says to the board ------------------------------------------------------------------------

    @abstractmethod
    def _set_up(self) -> None:
        """Put the board in a known state with outputs off, and learn what it is, `_learned` included."""

    @abstractmethod
    def _perform(self, works: Sequence[Work]) -> Iterator[Done]:
        """Have the board do `works`, outputs on where it takes that; each as soon as it is known to be done.

        The first batch of pulses carries the number after `_sequence`. Raises LinkError, InstrumentError.
        """

    @abstractmethod
    def _ask_last(self) -> LastWork:
        """What the board did last. Asking changes nothing."""

    @abstractmethod
    def _fetch(self, first: int, works: Sequence[Work]) -> list[NDArray[Any]]:
        """The answers once more of work `first` and on. Asking changes nothing."""

    @abstractmethod
    def _settings_now(self) -> Mapping[str, Any]:
        """Every setting as the board has it. Asking changes nothing."""

    @abstractmethod
    def _make_safe(self, timeout_s: float) -> None:
        """Outputs off, within `timeout_s`. Doing it twice is doing it once."""

    # -- life -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._armed = False
        self._set_up()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Where the wire fails, once more in what is left of `timeout_s`."""
        self._armed = False
        self._is_settled = False  # the board counts this as work
        deadline = time.monotonic() + timeout_s
        left = timeout_s / 2  # of which the first try leaves the others some
        for tries in range(_TRIES, 0, -1):
            try:
                return self._make_safe(left)
            except LinkError:
                left = deadline - time.monotonic()
                if tries == 1 or left <= 0:
                    raise
        return None

    # -- exactly once -----------------------------------------------------------------------------------------------

    def _do(self, works: Sequence[Work]) -> list[Done]:
        """Have each of `works` done once, in their order, whatever becomes of the wire meanwhile."""
        if works:
            self._settle()
        done: list[Done] = []
        tries = _TRIES
        while len(done) < len(works):
            left = works[len(done) :]
            before = len(done)
            self._is_settled = False
            try:
                for each in self._perform(left):
                    self._count(works[len(done)])
                    done.append(each)
            except LinkError as problem:
                tries -= 1
                if not tries:
                    raise
                done += self._find_out(left[len(done) - before :], problem)
            except InstrumentError:
                with contextlib.suppress(LinkError, InstrumentError):  # asked again before the next work
                    self._learned(self._ask_last())
                raise
            self._is_settled = True
        return done

    def _find_out(self, works: Sequence[Work], problem: LinkError) -> list[Done]:
        """The wire failed with `works` under way: those that are done. Raises LinkError where that cannot be known."""
        try:
            last = self._asked(self._ask_last)
        except (LinkError, InstrumentError) as silence:
            pulsed = any(work.is_batch for work in works)
            fate = "whether the pulses were given is not known" if pulsed else "what the board did cannot be asked"
            raise type(problem)(f"{problem}; {fate}: {silence}") from None
        done = works[: self._done_of(works, last, problem)]
        try:
            answers = self._asked(lambda: self._fetch(last.number - len(done) + 1, done)) if done else []
        except (LinkError, InstrumentError) as silence:
            raise type(problem)(f"{problem}; it was done, and its answer is lost: {silence}") from None
        self._learned(last)
        return [Done(*each) for each in zip(answers, last.ended[len(last.ended) - len(done) :], strict=True)]

    def _done_of(self, works: Sequence[Work], last: LastWork, problem: LinkError) -> int:
        """How many of `works`, the first of them, the board has done. Raises LinkError where it did others."""
        count = last.number - self._work
        batches = sum(work.is_batch for work in works)
        applied = last.sequence - self._sequence
        if not 0 <= applied <= batches:
            ours = f"batch is now {last.sequence}, not one of ours ({self._sequence} to {self._sequence + batches})"
        elif not (0 <= count <= len(works) and count <= len(last.ended)) or applied != sum(
            work.is_batch for work in works[:count]
        ):
            ours = f"work is now {last.number}, not one of ours ({self._work} to {self._work + len(works)})"
        else:
            return count
        raise LinkError(f"{problem}; and the board's last {ours}: it has been restarted or used by someone else")

    def _settle(self) -> None:
        """Know what the board did last, by asking it where a fault has left that open."""
        if not self._is_settled:
            self._learned(self._asked(self._ask_last))

    def _learned(self, last: LastWork) -> None:
        self._work, self._sequence, self._is_settled = last.number, last.sequence, True

    def _count(self, work: Work) -> None:
        self._work += 1
        self._sequence += work.is_batch

    def _asked(self, ask: Callable[[], Found]) -> Found:
        """What `ask` gives, which changes nothing on the board and so may be asked again."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(LinkError):
                return ask()
        return ask()


def joined(answers: Sequence[NDArray[Any]], dtype: str) -> NDArray[Any]:
    """One after another, (n,); a single one as it is."""
    if len(answers) == 1:
        return answers[0]
    return np.concatenate(answers) if answers else np.empty(0, dtype)
