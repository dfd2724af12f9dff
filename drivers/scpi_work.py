"""How the drivers of boards that number their work speak SCPI: a message of several pieces of work, and its answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labctl.bench.settings import VisaSettings
from labctl.drivers.exactly_once import Done, ExactlyOnce, LastWork, Work
from labctl.drivers.power_watch import PowerWatch
from labctl.errors import InstrumentError, LinkError
from labctl.links.resources import ResourceManagers
from labctl.links.visa import VisaLink

MessageParts = list[str | bytes | NDArray[Any]]


class ScpiWork(ExactlyOnce):
    """A subclass says what the board is and which command each piece of work is."""

    link: VisaLink
    setting_headers: ClassVar[tuple[str, ...]] = ()
    """Of what a snapshot holds."""
    last_work_query: ClassVar[str] = ":FETCh:WORK?"
    """What `_last_work` is the answer to."""

    def __init__(self, settings: VisaSettings, managers: ResourceManagers | None = None) -> None:
        super().__init__(settings)
        self.link = VisaLink(
            settings.resource_name,
            visa_library=settings.visa_library,
            timeout_s=settings.timeout,
            managers=managers,
            after_fault=lambda within_s: self._power.check(self.link, within_s),
        )
        self._power = PowerWatch("the board")

    # -- what a subclass says to the board ------------------------------------------------------------------------

    @abstractmethod
    def _reset(self) -> None:
        """`*CLS;*RST` and every setting of the bench file. Doing it twice is doing it once."""

    @abstractmethod
    def _learn(self) -> None:
        """Ask what the board is, `_learned` included. Asking changes nothing."""

    # -- life -----------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        self._power.begin()
        self._asked(self._reset)
        self._power.set_up()
        self._asked(self._learn)

    def _settings_now(self) -> Mapping[str, Any]:
        headers = self.setting_headers
        answers = self.link.exchange(";".join(f"{header}?" for header in headers))
        if len(answers) != len(headers):
            raise InstrumentError(
                f"{self.settings.resource_name}: {len(answers)} answers where the values of {len(headers)} settings "
                "were asked for"
            )
        return {header.lstrip(":"): answer for header, answer in zip(headers, answers, strict=True)}

    def _make_safe(self, timeout_s: float) -> None:
        self.link.write(":OUTPut:SAFE", timeout_s=timeout_s)

    # -- work -----------------------------------------------------------------------------------------------------

    def _work_done(self, parts: MessageParts, works: Sequence[Work]) -> list[Done]:
        """Send `parts`, in which the board is to do `works`; then they are all done."""
        duration = sum(work.duration for work in works)
        answer = self.link.exchange(*parts, ":FETCh:WORK?", timeout_s=self.link.timeout_s + 2.0 * duration)
        return self._read_answer(answer, works)

    def _read_answer(self, answer: list[Any], works: Sequence[Work]) -> list[Done]:
        """What `works` answered. Raises LinkError where it is the answer to another message."""
        *blocks, last = answer or [""]
        try:
            number, *ended = numbers(last)
            if len(ended) != len(works):
                raise ValueError(f"the ends of {len(ended)} pieces of work")
            found = self._blocks(blocks, works)
        except (ValueError, AttributeError) as problem:
            sizes = [work.size for work in works if work.is_answered]
            raise InstrumentError(
                f"{self.settings.resource_name}: the board answered {problem} where blocks of {sizes} bytes and "
                f"the number and {len(works)} times of its last work were expected"
            ) from None
        if number != self._work + len(works):
            self.link.resynchronise()
            raise LinkError(
                f"{self.settings.resource_name}: the answer is to work {number:g} where {self._work + len(works)} was "
                "asked for: a message or an answer has come twice, or someone else uses the board"
            )
        return [Done(*each) for each in zip(found, ended, strict=True)]

    def _blocks(self, blocks: Sequence[Any], works: Sequence[Work]) -> list[NDArray[Any]]:
        """The answers of `works`. Raises ValueError, AttributeError where `blocks` are others."""
        found = [block.nbytes for block in blocks]
        if found != [work.size for work in works if work.is_answered]:
            raise ValueError(f"blocks of {found} bytes")
        arrived = iter(blocks)
        return [next(arrived).view(work.dtype) if work.is_answered else np.empty(0, work.dtype) for work in works]

    def _last_work(self, answer: Sequence[Any]) -> LastWork:
        """Raises ValueError, AttributeError, TypeError where `answer` is to something else."""
        (work,) = answer
        number, *ended = work.split(",")
        return LastWork(int(number), 0, tuple(map(float, ended)))

    def _ask_last(self) -> LastWork:
        answer = self.link.exchange(self.last_work_query)
        try:
            return self._last_work(answer)
        except (ValueError, AttributeError, TypeError):
            raise InstrumentError(
                f"{self.settings.resource_name}: the board answered {str(answer)[:60]} where the numbers of its last "
                "batch and work were expected"
            ) from None

    def _fetch(self, first: int, works: Sequence[Work]) -> list[NDArray[Any]]:
        asked = [number for number, work in enumerate(works, first) if work.is_answered]
        blocks = self.link.exchange(";".join(f":FETCh? {number}" for number in asked)) if asked else []
        try:
            return self._blocks(blocks, works)
        except (ValueError, AttributeError) as problem:
            raise InstrumentError(f"{self.settings.resource_name}: the board kept {problem}: not ours") from None


def exact(value: float) -> str:
    """Text that reads back as the very same float."""
    return repr(float(value))


def numbers(answer: str) -> tuple[float, ...]:
    """Raises ValueError, AttributeError where `answer` is none with commas between."""
    return tuple(float(word) for word in answer.split(","))
