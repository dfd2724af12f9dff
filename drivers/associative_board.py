"""Driver of the associative-processor board (`docs/associative-board.md`): actions in as few messages as they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Clock, Geometry, Nominal, PulseLimits, Scale
from labctl.associative import (
    Action,
    AssociativeGeometry,
    Check,
    Columns,
    Configure,
    Counters,
    Execution,
    Load,
    Read,
    ReadTags,
    Realign,
    Run,
    Search,
    SetTags,
    Shift,
    Write,
)
from labctl.bench.clock import wall_clock
from labctl.bench.settings import VisaSettings
from labctl.drivers.associative_checks import Checks, checked_bits, checked_threshold, checked_verify_every
from labctl.drivers.associative_programs import HeldPrograms
from labctl.drivers.associative_works import (
    MESSAGE,
    CommandWork,
    OffsetsWork,
    WordsWork,
    counted,
    in_messages,
    plain,
    run_works,
    shifting,
)
from labctl.drivers.associative_works import WORDS as WORDS_OF_A_RUN
from labctl.drivers.bench_clock import scpi_clock
from labctl.drivers.exactly_once import Done, Work, joined
from labctl.drivers.scpi_work import MessageParts, ScpiWork, exact, numbers
from labctl.errors import BenchError, InstrumentError
from labctl.links.resources import ResourceManagers

_CELL = "racetrack"
_OUT_OF_SEQUENCE = 101  # that a message says what number its work is, and the board has done other work since
_BIT = Scale(1.0, 0.0, 1, "1")
_SHAPE = ("rows", "tracks", "domains", "ports")


class AssociativeBoardSettings(VisaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """rows, tracks, domains, ports: the array's shape, for planning without the board; checked against it on
    connecting. sense_threshold: of a match line, where 0 is the signal of a match and 1 that of one mismatch.
    verify_every: after so many shifts of a track the board checks and realigns its positions; 0: never.
    """

    rows: int = 65_536
    tracks: int = 128
    domains: int = 64
    ports: int = 2
    sense_threshold: float = 0.5
    verify_every: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _SHAPE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)}")
        if self.domains % self.ports:
            raise ValueError(f"domains must be a multiple of ports, not {self.domains} of {self.ports}")
        checked_threshold(self.sense_threshold)
        checked_verify_every(self.verify_every)


@dataclass(frozen=True, slots=True)
class _Asked:
    """An action as work, and what it gives once that is done."""

    works: Sequence[CommandWork]
    gives: Callable[[Sequence[NDArray[Any]]], Any] = lambda answers: None  # noqa: ARG005


class AssociativeBoard(ScpiWork):
    """The board as an AssociativeArray."""

    Settings = AssociativeBoardSettings
    capabilities = Capability.ASSOCIATE
    geometry: Geometry
    associative: AssociativeGeometry
    clock: Clock
    chip_serial: str
    dac = adc = _BIT
    limits = PulseLimits()

    settings: AssociativeBoardSettings
    setting_headers = (
        ":SENSe:THReshold",
        ":POSition:VERify",
        ":SENSe:TEMPerature",
        ":OUTPut:STATe",
        ":FORMat:DATA",
        ":FORMat:BORDer",
        ":SYSTem:TIME:VIRTual",
        ":PROGram:FREE",
    )

    def __init__(self, settings: AssociativeBoardSettings, managers: ResourceManagers | None = None) -> None:
        super().__init__(settings, managers)
        self._works_of: dict[type, Callable[[Any], _Asked]] = {
            Load: self._load,
            Read: self._read,
            Search: self._search,
            Write: self._write,
            ReadTags: self._read_tags,
            SetTags: self._set_tags,
            Shift: self._shift,
            Check: self._check,
            Realign: self._realign,
            Configure: self._configure,
            Run: self._run,
        }

    @classmethod
    def nominal(cls, settings: AssociativeBoardSettings) -> Nominal:
        geometry = Geometry(settings.rows, settings.tracks * settings.domains, _CELL)
        return Nominal(geometry, cls.capabilities, cls.dac, cls.adc, cls.limits)

    # -- life ---------------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """Its programs are gone too."""
        threshold, every = self.settings.sense_threshold, self.settings.verify_every
        self.link.exchange(
            "*CLS;*RST;:FORMat:BORDer SWAPped;:FORMat:DATA REAL,64"
            f";:SENSe:THReshold {exact(threshold)};:POSition:VERify {every}"
        )

    def _learn(self) -> None:
        answers = self.link.exchange(
            ":ARRay:GEOMetry?;CELL?;SERial?;TIMing?;:PROGram:LIMit?;:SYSTem:TIME:VIRTual?;:FETCh:WORK?"
        )
        try:
            shape, cell, serial, timing, limit, virtual, work = answers
            self.associative = AssociativeGeometry(*(int(word) for word in shape.split(",")))
            self.geometry = Geometry(self.associative.rows, self.associative.columns, cell.strip('"'))
            self.chip_serial = serial.strip('"')
            self._longest = max(numbers(timing))
            self._programs = HeldPrograms(self.associative, *(int(word) for word in limit.split(",")))
            self.clock = scpi_clock(self.link) if int(virtual) else wall_clock(self.link.recorded_time)
            self._learned(self._last_work([work]))
            self._checks = Checks(self.associative)
        except (ValueError, AttributeError, TypeError) as problem:
            raise InstrumentError(
                f"{self.settings.resource_name}: {self.link.idn} does not answer as an associative-processor board "
                f"does: {problem}"
            ) from None
        self._check_shape()

    def _check_shape(self) -> None:
        """Raises BenchError where the board's is not the bench file's."""
        for name in _SHAPE:
            found, expected = getattr(self.associative, name), getattr(self.settings, name)
            if found != expected:
                raise BenchError(
                    f"{self.settings.resource_name}: the board has {found} {name} where the bench file says "
                    f"{expected}: set rows, tracks, domains and ports of this instrument"
                )

    def snapshot(self) -> Mapping[str, Any]:
        found = self._asked(self._settings_now)
        return {"idn": self.link.idn, "chip_serial": self.chip_serial, **found, **self._logged()}

    # -- what it does -------------------------------------------------------------------------------------------

    @property
    def sequence(self) -> int:
        """The number of the next piece of work; the board is asked where a fault has left that open."""
        self._settle()
        return self._work + 1

    def counters(self) -> Counters:
        answer = self._asked(lambda: self.link.query(":ARRay:COUNt?"))
        try:
            return Counters(*(int(word) for word in answer.split(",")))
        except (ValueError, TypeError):
            raise InstrumentError(
                f"{self.settings.resource_name}: the board answered {answer[:60]} where its counters were expected"
            ) from None

    def perform(self, *actions: Action) -> tuple[Any, ...]:
        """An InstrumentError's `given` is how many of the actions were done, where that is known.

        Raises ValueError with nothing sent where one of them cannot be right.
        """
        try:
            asked = [self._works_of[type(action)](action) for action in actions]
            done = iter(self._sent(asked))
        except BaseException:
            self._programs.forget()  # what was to be done before may not have been
            raise
        return tuple(each.gives([next(done).answer for _ in each.works]) for each in asked)

    def _sent(self, asked: Sequence[_Asked]) -> list[Done]:
        self._settle()
        before = self._work
        try:
            return [
                each
                for works in in_messages([work for each in asked for work in each.works])
                for each in self._do(works)
            ]
        except InstrumentError as problem:
            ends = np.cumsum([0, *(len(each.works) for each in asked)])
            done = self._work - before
            is_somebody_elses = any(number == _OUT_OF_SEQUENCE for number, _ in problem.errors[:1])
            if not self._is_settled or is_somebody_elses or done not in ends:  # so that one may be half done
                raise
            given = int(np.searchsorted(ends[1:], done, "right"))
            raise InstrumentError(str(problem), command=problem.command, errors=problem.errors, given=given) from None

    def _perform(self, works: Sequence[Work]) -> Iterator[Done]:
        """All of it in one message, and then it is all done."""
        parts: MessageParts = [f":FETCh:NEXT {self._work + 1};" + ("" if self._armed else ":OUTPut:STATe ON;")]
        for work in works:
            assert isinstance(work, CommandWork)
            parts += [*work.parts, ";"]
        done = self._work_done(parts, works)
        self._armed = True
        return iter(done)

    # -- actions as work ----------------------------------------------------------------------------------------

    def _load(self, action: Load) -> _Asked:
        columns = self._checks.columns(action.columns)
        planes = self._checks.planes(action.planes, len(columns))
        works = []
        for part in self._column_parts(len(columns)):
            took = len(columns[part]) * self._longest
            works.append(plain(":COLumn:LOAD ", columns[part], ",", planes[part], duration=took))
        return _Asked(works)

    def _read(self, action: Read) -> _Asked:
        columns, width = self._checks.columns(action.columns), self.associative.row_bytes
        works = []
        for part in self._column_parts(len(columns)):
            count = len(columns[part])
            works.append(CommandWork(count * width, count * self._longest, (":COLumn:READ? ", columns[part])))
        return _Asked(works, lambda answers: joined(answers, CommandWork.dtype).reshape(-1, width))

    def _search(self, action: Search) -> _Asked:
        columns, key = self._named(action.columns, action.key)
        work = WordsWork(1, self._longest, (":SEARch? ", columns, ",", key))
        return _Asked([work], lambda answers: int(answers[0][0]))

    def _write(self, action: Write) -> _Asked:
        columns, bits = self._named(action.columns, action.bits)
        return _Asked([plain(":WRITe ", columns, ",", bits, duration=self._longest)])

    def _read_tags(self, action: ReadTags) -> _Asked:
        del action
        return _Asked([CommandWork(self.associative.row_bytes, 0.0, (":TAGS?",))], lambda answers: answers[0])

    def _set_tags(self, action: SetTags) -> _Asked:
        return _Asked([plain(":TAGS ", self._checks.planes(action.plane[np.newaxis], 1)[0])])

    def _shift(self, action: Shift) -> _Asked:
        track, steps = self._checks.track(action.track), self._checks.steps(action.steps)
        command = f":POSition:SHIFt {track},{steps}"
        return _Asked([shifting(command, steps, self.associative.rows, self._longest)])

    def _realign(self, action: Realign) -> _Asked:
        track, steps = self._checks.track(action.track), self._checks.steps(action.steps)
        command = f":POSition:REALign {track},{steps}"
        return _Asked([shifting(command, steps, self.associative.rows, self._longest)])

    def _check(self, action: Check) -> _Asked:
        tracks, rows = self._checks.tracks(action.tracks), self.associative.rows
        most = max(1, MESSAGE // rows)
        works = []
        for first in range(0, len(tracks), most):
            part = tracks[first : first + most]
            works.append(OffsetsWork(len(part) * rows, len(part) * self._longest, (":POSition:CHECk? ", part)))
        return _Asked(works, lambda answers: joined(answers, OffsetsWork.dtype).reshape(-1, rows))

    def _configure(self, action: Configure) -> _Asked:
        works = []
        if action.sense_threshold is not None:
            works.append(plain(f":SENSe:THReshold {exact(checked_threshold(action.sense_threshold))}"))
        if action.verify_every is not None:
            works.append(plain(f":POSition:VERify {checked_verify_every(action.verify_every)}"))
        return _Asked(works)

    def _run(self, action: Run) -> _Asked:
        self._checks.program(action.program)
        works: list[CommandWork] = []
        runs: list[int] = []
        for first, held in self._programs.parts(action.program):
            works += first
            rows, trace = self.associative.rows, action.trace
            pieces = list(run_works(held.slot, held.passes, held.shifts, rows, trace, self._longest))
            runs += range(len(works), len(works) + len(pieces))
            works += pieces
        return _Asked(works, lambda answers: _execution([answers[place] for place in runs], action.trace))

    def _named(self, columns: Columns, bits: NDArray[np.uint8]) -> tuple[Columns, NDArray[np.uint8]]:
        named = self._checks.columns(columns, together=True)
        return named, checked_bits(bits, len(named))

    def _column_parts(self, count: int) -> Iterator[slice]:
        """Of so many columns, which go into a message each."""
        most = max(1, MESSAGE // self.associative.row_bytes)
        for first in range(0, count, most):
            yield slice(first, first + most)


def _execution(answers: Sequence[NDArray[np.uint32]], trace: bool) -> Execution:
    """Of all pieces together."""
    told = [counted(answer) for answer in answers]
    matches = [answer[WORDS_OF_A_RUN:] for answer in answers]
    return Execution(
        sum((counters for counters, _ in told), Counters()),
        sum(seconds for _, seconds in told),
        joined(matches, WordsWork.dtype) if trace else None,
    )
