"""What stands around the array, read into the run file while a run goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from labctl.bench.live import BenchArray
from labctl.errors import InstrumentError, LinkError, RunError
from labctl.recording.writer import RunWriter
from labctl.runner.telling import tell

_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 600.0


class AuxiliarySampler:
    """Reads what stands around the array into the run file, between steps and not too often.

    One that does not answer when a run begins keeps it from beginning. Later it costs the run only that
    reading: NaN in the file, and the first reason an instrument gave in `problems`. It is asked again after pauses
    that double, since every answer that does not come costs the run a time-out.
    """

    def __init__(self, array: BenchArray) -> None:
        self.problems: dict[str, str] = {}
        self._silences: dict[str, _Silence] = {}
        self._auxiliaries = array.auxiliaries if array.quantities else {}
        self._interval = array.auxiliary_interval
        self._writer: RunWriter | None = None
        self._has_begun = False
        self._due = 0.0

    def begin(self, writer: RunWriter) -> None:
        """The first sample, to `writer` as all that follow. Raises RunError where one does not answer."""
        self._writer = writer
        self.sample()
        self._has_begun = True
        if self.problems:
            name, problem = next(iter(self.problems.items()))
            raise RunError(f"a run does not begin without its auxiliaries: {name}: {problem}")

    def sample_when_due(self) -> None:
        if self._auxiliaries and time.monotonic() >= self._due:
            self.sample()

    def sample(self) -> None:
        if not self._auxiliaries or self._writer is None:
            return
        values: dict[str, float] = {}
        for name, auxiliary in self._auxiliaries.items():
            silence = self._silences.get(name)
            if silence is not None and not silence.is_over and time.monotonic() < silence.due:
                continue
            try:
                values |= {f"{name}_{quantity}": value for quantity, value in auxiliary.read().items()}
            except (LinkError, InstrumentError) as problem:
                self._note(name, str(problem))
            else:
                if silence is not None and not silence.is_over:
                    silence.until = time.time()
        self._writer.sample(values, time=time.time())
        self._due = time.monotonic() + self._interval

    @property
    def missed(self) -> dict[str, str]:
        """Auxiliary to when it gave no reading, of those that failed to."""
        return {name: str(silence) for name, silence in self._silences.items()}

    def _note(self, name: str, problem: str) -> None:
        """A reading that did not come; the user is told of the first of each instrument."""
        if name not in self.problems:
            self.problems[name] = problem
            if self._has_begun:
                tell(f"labctl: {name}: {problem}; the run goes on without its readings until it answers again")
        silence = self._silences.get(name)
        if silence is None or silence.is_over:
            silence = self._silences[name] = _Silence(time.time() if silence is None else silence.since)
        silence.pause = min(max(2 * silence.pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        silence.due = time.monotonic() + max(silence.pause, self._interval)


@dataclass(slots=True)
class _Silence:
    """An auxiliary that does not answer, since when (s since 1970); not to be asked before `due` (monotonic s).

    until: s since 1970 when it answered again; None as long as it has not.
    """

    since: float
    pause: float = 0.0
    due: float = 0.0
    until: float | None = None

    @property
    def is_over(self) -> bool:
        return self.until is not None

    def __str__(self) -> str:
        until = "" if self.until is None else f" until {_time_of_day(self.until)}"
        return f"no reading since {_time_of_day(self.since)}{until}"


def _time_of_day(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
