"""Runs a protocol: checks, records, reports progress, stops on request, always ends in safe state with an honest file.

The states of a run are few: checked (plan against limits, nothing sent), opened (snapshot taken, file created),
running (step by step), ended (completed, stopped, failed or aborted), and closed (safe state, file finished).
"""

from __future__ import annotations

import contextlib
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl import __version__
from labctl.array import (
    Capability,
    Cells,
    Clock,
    Geometry,
    MemoryArray,
    PulseBatch,
    PulseLimits,
    Readout,
    Scale,
)
from labctl.bench.limits import LimitGuard
from labctl.bench.live import ArrayPlan, BenchArray, SafeStateReport, not_safe
from labctl.bench.reservations import Reservation
from labctl.errors import (
    CapabilityError,
    InstrumentError,
    Interrupted,
    LabctlError,
    LimitError,
    LinkError,
    RunError,
    SettingsError,
    UsageError,
)
from labctl.plugins import load_protocol
from labctl.provenance import describe_settings, source_state
from labctl.recording.layout import Outcome, State
from labctl.recording.names import new_run_path
from labctl.recording.writer import RunWriter
from labctl.steps import Cost, Procedure, Step, StopRequested
from labctl.units import convert

Progress = Callable[[Step], None]
_PACKAGES = ("numpy", "h5py", "pyvisa", "pyvisa-py", "msgspec")
_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 600.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `summary` is the protocol's own; `safe_state` one report an instrument.

    bench_s: s that it took on the array's own clock. missed: auxiliary to when it gave no reading.
    """

    path: Path
    protocol: str
    outcome: str
    summary: Mapping[str, Any]
    elapsed_s: float
    safe_state: list[SafeStateReport]
    bench_s: float
    missed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A protocol with settings that fit an array, and what it would cost at most."""

    procedure: Procedure
    settings: msgspec.Struct
    cost: Cost


def prepare(protocol: str | Procedure, array: BenchArray | ArrayPlan, **settings: Any) -> Prepared:
    """Check `settings` against the protocol, the array and its limits; nothing is pulsed or read.

    `array.nominal()` of an array that is not connected does as well: then not a byte is sent.
    Raises SettingsError, TargetError, LimitError or CapabilityError.
    """
    if not isinstance(array, (BenchArray, ArrayPlan)):
        raise UsageError(f"a run needs an array of a bench, as bench.array() gives it, not {type(array).__name__}")
    procedure = load_protocol(protocol) if isinstance(protocol, str) else protocol
    plain = {name: each.item() if isinstance(each, np.generic) else each for name, each in settings.items()}
    typed = convert(plain, procedure.settings, what=procedure.name)
    missing = procedure.needs & ~array.capabilities
    if missing:
        raise CapabilityError(f"{procedure.name} needs {missing.name}, which this board does not have")
    try:
        cost = procedure.plan(array.geometry, array.dac, array.adc, typed)
    except SettingsError as problem:
        raise SettingsError(f"{procedure.name}: {problem}") from None
    try:
        array.guard.check_plan(cost)
    except LimitError as problem:
        raise LimitError(f"{problem}{_set_by(typed, array.guard.limits)}") from None
    return Prepared(procedure, typed, cost)


def _set_by(settings: msgspec.Struct, limits: PulseLimits) -> str:
    """Which of the `settings` are widths that no pulse can have, as the end of a sentence."""
    least, most = limits.min_width or 0.0, limits.max_width or float("inf")
    names = [name for name, width in _widths(settings) if not least <= width <= most]
    return f": set {' and '.join(names)}" if names else ""


def _widths(settings: msgspec.Struct, within: str = "") -> Iterator[tuple[str, float]]:
    """The path of every pulse width in `settings`, as `--set` takes it, and its s."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, msgspec.Struct):
            yield from _widths(value, f"{within}{name}.")
        elif name == "width":
            yield f"{within}{name}", value


def run(
    protocol: str | Procedure,
    array: BenchArray,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    fsync: bool = False,
    command: str = "",
    **settings: Any,
) -> RunResult:
    """Run `protocol` on a connected `array` with its `settings`, recording into a new file in the folder `out`.

    Returns once the array is in safe state and the file closed. Raises what stopped the run (LabctlError, with
    the file's path in `run_path`); Interrupted after a signal.
    """
    prepared = prepare(protocol, array, **settings)
    folder = Path(out) if out is not None else array.bench.runs_folder
    with array.reserved() as reservation:
        return _Run(prepared, array, reservation, folder, seed, progress or _ignore, fsync, command).go()


class _Run:
    def __init__(
        self,
        prepared: Prepared,
        array: BenchArray,
        reservation: Reservation,
        folder: Path,
        seed: int,
        progress: Progress,
        fsync: bool,
        command: str,
    ) -> None:
        self.prepared = prepared
        self.array = array
        self.reservation = reservation
        self.folder = folder
        self.rng = _generator(seed)
        self.seed = seed
        self.progress = progress
        self.fsync = fsync
        self.command = command
        self.started = time.perf_counter()
        self.path: Path | None = None
        self.writer: RunWriter | None = None
        self.sampler = AuxiliarySampler(array)
        self.bench_s = 0.0
        self.stop = _StopSwitch()

    def go(self) -> RunResult:
        """Whatever happens in between, the ending is reached, and no further signal breaks it off."""
        outcome, message, summary, failure = Outcome.FAILED, "", {}, None
        with self.stop.installed():
            try:
                summary = self._drive(self._open())
                self.sampler.sample()
                outcome = Outcome.INTERRUPTED if self.stop.requested else Outcome.FINISHED
                message = self.stop.reason
            except KeyboardInterrupt:
                outcome, message = Outcome.INTERRUPTED, self.stop.reason or "aborted"
            except BaseException as problem:  # noqa: BLE001 -- raised again once the array is safe
                failure = problem
                message = str(problem) if isinstance(problem, LabctlError) else f"{type(problem).__name__}: {problem}"
            self.stop.is_ending = True
            reports = self.array.bench.safe_state(after=self.reservation)
            failure = self._close(outcome, message, summary, reports) or failure
            self.array.bench.note_run(self.reservation, None)
        if outcome is Outcome.INTERRUPTED and failure is None:
            failure = Interrupted(message)
        if failure is not None:
            raise self._explained(failure, reports)
        assert self.path is not None
        elapsed = time.perf_counter() - self.started
        procedure, missed = self.prepared.procedure, self.sampler.missed
        return RunResult(self.path, procedure.name, outcome.value, summary, elapsed, reports, self.bench_s, missed)

    def _drive(self, writer: RunWriter) -> dict[str, Any]:
        """Step the protocol to its end, or to where it stops when asked."""
        recorded, sampler = RecordedArray(self.array.driver, self.array.guard, writer), self.sampler
        steps = self.prepared.procedure.steps(recorded, self.prepared.settings, self.rng)
        asked = False
        try:
            step = next(steps)
            while True:
                writer.step(step, time=recorded.time)
                sampler.sample_when_due()
                self.progress(step)
                if self.stop.requested and not asked:
                    asked = True
                    step = steps.throw(StopRequested())
                else:
                    step = next(steps)
        except StopIteration as end:
            return dict(end.value or {})
        except StopRequested:
            return {}
        finally:
            steps.close()
            self.bench_s = recorded.time - recorded.began

    def _open(self) -> RunWriter:
        """Snapshot first: a run without one does not start."""
        snapshot, started = self._snapshot(), self.array.clock.now()
        procedure = self.prepared.procedure
        path = _new_path(self.folder, procedure.name, self.array.chip_serial)
        self.writer = RunWriter.create(
            path,
            protocol=procedure.name,
            title=procedure.title,
            phases=procedure.phases,
            variables=procedure.variables,
            geometry=self.array.geometry,
            dac=self.array.dac,
            adc=self.array.adc,
            started=started,
            provenance=self._provenance(snapshot),
            auxiliaries=self.array.quantities,
            fsync=self.fsync,
        )
        self.path = path
        self.array.bench.note_run(self.reservation, path)
        self.sampler.begin(self.writer)
        return self.writer

    def _snapshot(self) -> Mapping[str, Any]:
        return self.array.bench.snapshot(for_run=self.reservation)

    def _provenance(self, snapshot: Mapping[str, Any]) -> dict[str, Any]:
        file = self.array.bench.file
        return {
            "labctl_version": __version__,
            **source_state(),
            "chip_serial": self.array.chip_serial,
            "measurement": self.prepared.procedure.measurement,
            "operator": self.array.bench.operator,
            "bench_name": self.array.bench.name,
            "array": self.array.name,
            "seed": self.seed,
            "command": self.command,
            **({"replay_of": self.array.replayed} if self.array.replayed else {}),
            "host": platform.node(),
            "wall_time_start": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "bench": file.resolved(),
            "settings": describe_settings(self.prepared.settings),
            "packages": {"python": platform.python_version(), **_versions()},
            "snapshot_before": snapshot,
        }

    def _close(
        self, outcome: Outcome, message: str, summary: Mapping[str, Any], reports: list[SafeStateReport]
    ) -> BaseException | None:
        """Finish the file with a last snapshot; returns what kept it from being finished."""
        if self.writer is None:
            return None
        snapshot: Mapping[str, Any] = {}
        if outcome is not Outcome.FAILED:
            with contextlib.suppress(LabctlError):
                snapshot = self._snapshot()
        ended = {
            "elapsed_s": time.perf_counter() - self.started,
            "safe_state": [{"instrument": each.instrument, "problem": each.problem} for each in reports],
            **({"auxiliary_problems": self.sampler.problems} if self.sampler.problems else {}),
        }
        try:
            self.writer.close(outcome, message=message, summary={**summary, **ended}, snapshot_after=snapshot)
        except RunError as problem:
            if message:
                problem.add_note(f"and before that: {message}")
            return problem
        return None

    def _explained(self, failure: BaseException, reports: list[SafeStateReport]) -> BaseException:
        """`failure`, saying whether the array is safe and where the run is recorded."""
        failure.run_path = self.path  # type: ignore[attr-defined]
        failure.add_note(not_safe(reports) or "in safe state")
        return failure


class RecordedArray:
    """The array a protocol is given: a pulse is checked against limits, then in the file as intended, then sent."""

    def __init__(self, array: MemoryArray, guard: LimitGuard, writer: RunWriter) -> None:
        self._array = array
        self._guard = guard
        self._writer = writer
        self.chip_serial = array.chip_serial
        self.geometry: Geometry = array.geometry
        self.capabilities: Capability = array.capabilities
        self.dac: Scale = array.dac
        self.adc: Scale = array.adc
        self.clock: Clock = array.clock
        self.limits: PulseLimits = guard.limits
        self.began = self.time = array.clock.now()
        """When the last exchange ended (before one, when it began), s since 1970 on the array's clock."""

    @property
    def sequence(self) -> int:
        return self._array.sequence

    def pulse(self, *batches: PulseBatch) -> None:
        with self._intended(batches):
            self._array.pulse(*batches)
        self._writer.complete()

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        with self._intended(batches):
            readouts = self._array.pulse_and_verify(*batches)
        self._writer.complete(readouts)
        self._advance(readouts[-1])
        return readouts

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        self._guard.check_read(voltage)
        readout = self._array.read(cells, repeats, voltage)
        self._writer.record_read(readout, voltage)
        self._advance(readout)
        return readout

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        self._guard.check_multiply(inputs)
        return self._array.multiply(inputs, transpose)

    def snapshot(self) -> Mapping[str, Any]:
        return self._array.snapshot()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self._array.safe_state(timeout_s)

    @contextlib.contextmanager
    def _intended(self, batches: tuple[PulseBatch, ...]) -> Iterator[None]:
        self._guard.check(batches)
        first = self._array.sequence
        self._writer.intend(batches, time=self.time, sequences=range(first, first + len(batches)))
        try:
            yield
        except InstrumentError as problem:
            given = problem.given
            known = [] if given is None else [State.DONE] * given + [State.NOT_APPLIED] * (len(batches) - given)
            self._writer.fail(known)
            raise
        except BaseException:
            self._writer.fail()
            raise

    def _advance(self, readout: Readout) -> None:
        self.time = readout.time + readout.codes.size * readout.seconds_per_cell


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
                _tell(f"labctl: {name}: {problem}; the run goes on without its readings until it answers again")
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


class _StopSwitch:
    """First signal: finish this step and stop. Second: abort now. While the run is ending: let it end."""

    _SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")

    def __init__(self) -> None:
        self.requested = False
        self.is_ending = False
        self.reason = ""

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals that would end the process meanwhile; only the main thread can.

        What the process was told to ignore, as under `nohup`, it goes on ignoring.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in self._SIGNALS if hasattr(signal, name)]
        wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._handle) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        name = signal.Signals(number).name
        if self.is_ending:
            _tell("reaching safe state and closing the file: a moment")
        elif self.requested:
            self.reason = f"aborted by a second {name}"
            raise KeyboardInterrupt
        else:
            self.requested, self.reason = True, f"stopped by {name}"
            _tell("stopping after this step; once more to abort now")


def _tell(text: str) -> None:
    """On stderr, which may be gone with its terminal."""
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        print(text, file=sys.stderr, flush=True)


def _generator(seed: int) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise SettingsError(f"seed: must be a whole number from 0 on, not {seed!r}") from None


def _new_path(folder: Path, protocol: str, serial: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return new_run_path(folder, protocol, serial, time.time())
    except OSError as problem:
        raise RunError(f"{folder}: no run can be recorded there: {problem.strerror or problem}") from None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _ignore(step: Step) -> None:
    """No progress shown."""
