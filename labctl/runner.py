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
from dataclasses import dataclass, field
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
from labctl.bench.live import ArrayPlan, BenchArray, SafeStateReport
from labctl.errors import CapabilityError, Interrupted, LabctlError, RunError, SettingsError
from labctl.plugins import load_protocol
from labctl.provenance import describe_settings, source_state
from labctl.recording.layout import Outcome
from labctl.recording.names import new_run_path
from labctl.recording.writer import RunWriter
from labctl.steps import Cost, Procedure, Step, StopRequested
from labctl.units import convert

Progress = Callable[[Step], None]
_PACKAGES = ("numpy", "h5py", "pyvisa", "pyvisa-py", "msgspec")


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `summary` is the protocol's own; `safe_state` one report an instrument."""

    path: Path
    protocol: str
    outcome: str
    summary: Mapping[str, Any]
    elapsed_s: float
    safe_state: list[SafeStateReport] = field(default_factory=list)
    message: str = ""


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
    procedure = load_protocol(protocol) if isinstance(protocol, str) else protocol
    typed = convert(settings, procedure.settings, what=procedure.name)
    missing = procedure.needs & ~array.capabilities
    if missing:
        raise CapabilityError(f"{procedure.name} needs {missing.name}, which this board does not have")
    try:
        cost = procedure.plan(array.geometry, array.dac, array.adc, typed)
    except SettingsError as problem:
        raise SettingsError(f"{procedure.name}: {problem}") from None
    array.guard.check_plan(cost)
    return Prepared(procedure, typed, cost)


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
    return _Run(prepared, array, folder, seed, progress or _ignore, fsync, command).go()


class _Run:
    def __init__(
        self,
        prepared: Prepared,
        array: BenchArray,
        folder: Path,
        seed: int,
        progress: Progress,
        fsync: bool,
        command: str,
    ) -> None:
        self.prepared = prepared
        self.array = array
        self.seed = seed
        self.progress = progress
        self.started = time.perf_counter()
        self.path = _new_path(folder, prepared.procedure.name, array.chip_serial)
        self.writer = self._open(fsync, command)
        self.recorded = RecordedArray(array.driver, array.guard, self.writer)
        self.stop = _StopSwitch()

    def go(self) -> RunResult:
        outcome, message, summary = Outcome.FAILED, "", {}
        try:
            with self.stop.installed():
                summary = self._drive()
            outcome = Outcome.INTERRUPTED if self.stop.requested else Outcome.FINISHED
            message = self.stop.reason
        except KeyboardInterrupt:
            outcome, message = Outcome.INTERRUPTED, self.stop.reason or "aborted"
        except LabctlError as problem:
            message = str(problem)
            problem.run_path = self.path  # type: ignore[attr-defined]
            raise
        except BaseException as problem:
            message = f"{type(problem).__name__}: {problem}"
            raise
        finally:
            reports = self._end(outcome, message, summary)
        if outcome is Outcome.INTERRUPTED:
            raise self._interrupted(message, reports)
        elapsed = time.perf_counter() - self.started
        return RunResult(self.path, self.prepared.procedure.name, outcome.value, summary, elapsed, reports)

    def _drive(self) -> dict[str, Any]:
        """Step the protocol to its end, or to where it stops when asked."""
        rng = np.random.default_rng(self.seed)
        steps = self.prepared.procedure.steps(self.recorded, self.prepared.settings, rng)
        asked = False
        try:
            step = next(steps)
            while True:
                self.writer.step(step, time=self.recorded.time)
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

    def _open(self, fsync: bool, command: str) -> RunWriter:
        """Snapshot first: a run without one does not start."""
        snapshot = self.array.bench.snapshot()
        procedure = self.prepared.procedure
        return RunWriter.create(
            self.path,
            protocol=procedure.name,
            title=procedure.title,
            phases=procedure.phases,
            variables=procedure.variables,
            geometry=self.array.geometry,
            dac=self.array.dac,
            adc=self.array.adc,
            started=self.array.clock.now(),
            provenance=self._provenance(snapshot, command),
            fsync=fsync,
        )

    def _provenance(self, snapshot: Mapping[str, Any], command: str) -> dict[str, Any]:
        file = self.array.bench.file
        return {
            "labctl_version": __version__,
            **source_state(),
            "chip_serial": self.array.chip_serial,
            "operator": self.array.bench.operator,
            "bench_name": self.array.bench.name,
            "array": self.array.name,
            "seed": self.seed,
            "command": command,
            "host": platform.node(),
            "wall_time_start": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "bench": file.resolved(),
            "settings": describe_settings(self.prepared.settings),
            "packages": {"python": platform.python_version(), **_versions()},
            "snapshot_before": snapshot,
        }

    def _end(self, outcome: Outcome, message: str, summary: Mapping[str, Any]) -> list[SafeStateReport]:
        """Snapshot, safe state and file, each tried whatever became of the others."""
        snapshot: Mapping[str, Any] = {}
        if outcome is not Outcome.FAILED:
            with contextlib.suppress(LabctlError):
                snapshot = self.array.bench.snapshot()
        reports = self.array.bench.safe_state()
        ended = {
            "elapsed_s": time.perf_counter() - self.started,
            "safe_state": [{"instrument": each.instrument, "problem": each.problem} for each in reports],
        }
        try:
            self.writer.close(
                outcome,
                time=self.recorded.time,
                message=message,
                summary={**summary, **ended},
                snapshot_after=snapshot,
            )
        except RunError as problem:
            if sys.exception() is None:
                raise
            sys.exception().add_note(f"and the run file could not be finished: {problem}")  # type: ignore[union-attr]
        return reports

    def _interrupted(self, message: str, reports: list[SafeStateReport]) -> Interrupted:
        unsafe = [f"{each.instrument}: {each.problem}" for each in reports if each.problem]
        state = f"NOT in safe state: {'; '.join(unsafe)}" if unsafe else "in safe state"
        error = Interrupted(f"{message}; {state}; recorded in {self.path}")
        error.run_path = self.path  # type: ignore[attr-defined]
        return error


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
        self.time = array.clock.now()
        """When the last exchange ended, s since 1970 on the array's clock."""

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

    def read(self, cells: Cells | None = None, repeats: int = 1) -> Readout:
        readout = self._array.read(cells, repeats)
        self._writer.record_read(readout)
        self._advance(readout)
        return readout

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
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
        except BaseException:
            self._writer.fail()
            raise

    def _advance(self, readout: Readout) -> None:
        self.time = readout.time + readout.codes.size * readout.seconds_per_cell


class _StopSwitch:
    """First signal: finish this step and stop. Second: abort now."""

    def __init__(self) -> None:
        self.requested = False
        self.reason = ""

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handles SIGINT and SIGTERM (and Ctrl-Break on Windows) meanwhile; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = ["SIGINT", "SIGTERM", "SIGBREAK"]
        numbers = [getattr(signal, name) for name in wanted if hasattr(signal, name)]
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        name = signal.Signals(number).name
        if self.requested:
            self.reason = f"aborted by a second {name}"
            raise KeyboardInterrupt
        self.requested, self.reason = True, f"stopped by {name}"
        print("stopping after this step; once more to abort now", file=sys.stderr)


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
