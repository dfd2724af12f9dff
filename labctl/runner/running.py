"""Runs a protocol: checks, records, reports progress, stops on request, always ends in safe state with an honest file.

The states of a run are few: checked (plan against limits, nothing sent), opened (snapshot taken, file created),
running (step by step), ended (completed, stopped, failed or aborted), and closed (safe state, file finished).
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from labctl import __version__
from labctl.array import Capability
from labctl.associative import AssociativeArray
from labctl.bench.live import BenchArray, SafeStateReport, not_safe
from labctl.bench.reservations import Reservation
from labctl.errors import Interrupted, LabctlError, RunError, SettingsError
from labctl.provenance import array_settings, describe_settings, source_state
from labctl.recording.action_writer import ActionWriter
from labctl.recording.layout import AskedBy, Outcome
from labctl.recording.names import new_run_path
from labctl.recording.results import split
from labctl.recording.writer import RunWriter
from labctl.runner.auxiliaries import AuxiliarySampler
from labctl.runner.preparing import Prepared, prepare
from labctl.runner.recorded_array import RecordedArray
from labctl.runner.recorded_associative import RecordedAssociativeArray
from labctl.runner.rereading import Reread
from labctl.runner.resumed_array import ResumedArray
from labctl.runner.sparing import excluded_count, sparing, warn_of_wear
from labctl.runner.stopping import StopSwitch
from labctl.steps import Procedure, Result, Step, Steps, StopRequested

Progress = Callable[[Step], None]
GivenArray = RecordedArray | ResumedArray | RecordedAssociativeArray
"""What a protocol gets."""

_LARGEST_SEED = 2**63 - 1
"""That every reader of a run file knows as a whole number."""

_PACKAGES = ("numpy", "h5py", "pyvisa", "pyvisa-py", "msgspec")


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `summary` is the protocol's own; `safe_state` one report an instrument.

    bench_s: s that it took on the array's own clock. missed: auxiliary to when it gave no reading. reread: how the
    cells were when the run was resumed; None for one that was not. results: the arrays that the protocol returned.
    """

    path: Path
    protocol: str
    outcome: str
    summary: Mapping[str, Any]
    elapsed_s: float
    safe_state: list[SafeStateReport]
    bench_s: float
    missed: Mapping[str, str]
    reread: Reread | None = None
    results: Mapping[str, Result] = field(default_factory=dict)


def run(
    protocol: str | Procedure,
    array: BenchArray,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    fsync: bool = False,
    command: str = "",
    all_cells: bool = False,
    **settings: Any,
) -> RunResult:
    """Run `protocol` on a connected `array` with its `settings`, recording into a new file in the folder `out`.

    Cells that the chip's record finds bad, or that people exclude, are left alone, unless `all_cells`. Returns once the
    array is in safe state and the file closed. Raises what stopped the run (LabctlError, with the file's path in
    `run_path`); Interrupted after a signal.
    """
    prepared = prepare(protocol, array, **sparing(protocol, array, out, settings, all_cells=all_cells))
    folder = Path(out) if out is not None else array.bench.runs_folder
    warn_of_wear(prepared, array, folder)
    with array.reserved() as reservation:
        return Run(prepared, array, reservation, folder, seed, progress or ignore, fsync, command).go()


class Run:
    """One run of a prepared protocol, from its first exchange to safe state and a closed file."""

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
        self.reread: Reread | None = None
        self.results: dict[str, Result] = {}
        self.stop = StopSwitch()

    def go(self) -> RunResult:
        """Whatever happens in between, the ending is reached, and no further signal breaks it off."""
        outcome, message, failure = Outcome.FAILED, "", None
        summary: dict[str, Any] = {}
        with self.stop.installed():
            try:
                summary, self.results = split(self._drive(self._begin()))
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
        return RunResult(
            self.path,
            procedure.name,
            outcome.value,
            summary,
            elapsed,
            reports,
            self.bench_s,
            missed,
            self.reread,
            self.results,
        )

    def _begin(self) -> GivenArray:
        """The array for the protocol."""
        return self._recorded(self._open(self._snapshot()))

    def _recorded(self, writer: RunWriter) -> RecordedArray | RecordedAssociativeArray:
        if isinstance(writer, ActionWriter):
            return RecordedAssociativeArray(associative_driver(self.array), writer)
        return RecordedArray(self.array.driver, self.array.guard, writer)

    def _drive(self, array: GivenArray) -> dict[str, Any]:
        """Step the protocol to its end, or to where it stops when asked."""
        steps = self._steps(array)
        asked = False
        try:
            step = next(steps)
            while True:
                self._record(step, array)
                self.progress(step)
                if self.stop.requested and not asked:
                    asked = True
                    self._note_stop()
                    step = steps.throw(StopRequested())
                else:
                    step = next(steps)
        except StopIteration as end:
            return dict(end.value or {})
        except StopRequested:
            return {}
        finally:
            steps.close()
            self.bench_s = array.time - array.began

    def _steps(self, array: GivenArray) -> Steps:
        """The protocol, about to begin."""
        procedure = self.prepared.procedure
        if not procedure.checkpoints:
            return procedure.steps(array, self.prepared.settings, self.rng)
        return procedure.steps(array, self.prepared.settings, self.rng, self._checkpoint())

    def _checkpoint(self) -> dict[str, NDArray[Any]] | None:
        """What a protocol with checkpoints goes on from."""
        return None

    def _record(self, step: Step, array: GivenArray) -> None:
        assert self.writer is not None
        self.writer.step(step, time=array.moment(), generator=self.rng)
        self.sampler.sample_when_due()

    def _note_stop(self) -> None:
        """What the protocol does from here on, it does because it was told to stop."""
        if self.writer is not None:
            self.writer.asked_by = AskedBy.ENDING

    def _open(self, snapshot: Mapping[str, Any]) -> RunWriter:
        """A file of its own. Snapshot first: a run without one does not start."""
        started = self.array.clock.now()
        procedure = self.prepared.procedure
        path = _new_path(self.folder, procedure.name, self.array.chip_serial)
        associative = associative_driver(self.array).associative if is_associative(self.array) else None
        writer = (RunWriter if associative is None else ActionWriter).create(
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
            arrays=array_settings(self.prepared.settings),
            checkpoints=procedure.checkpoints,
            associative=associative,
            fsync=self.fsync,
        )
        return self._opened(writer)

    def _opened(self, writer: RunWriter) -> RunWriter:
        """From here on `writer` is closed at the end of the run, and others are told of it."""
        self.writer, self.path = writer, writer.path
        self.array.bench.note_run(self.reservation, writer.path)
        self.sampler.begin(writer)
        return writer

    def _snapshot(self) -> Mapping[str, Any]:
        return self.array.bench.snapshot(for_run=self.reservation)

    def _provenance(self, snapshot: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **self._circumstances(snapshot),
            "chip_serial": self.array.chip_serial,
            "chip_volatile": self.array.is_volatile,
            "excluded_cells": excluded_count(self.prepared.settings),
            "measurement": self.prepared.procedure.measurement,
            "array": self.array.name,
            "seed": self.seed,
            **({"replay_of": self.array.replayed} if self.array.replayed else {}),
            "settings": describe_settings(self.prepared.settings),
        }

    def _circumstances(self, snapshot: Mapping[str, Any]) -> dict[str, Any]:
        """By whom, where, when and with what, which each time a run is resumed may be another."""
        bench = self.array.bench
        return {
            "labctl_version": __version__,
            **source_state(),
            "operator": bench.operator,
            "bench_name": bench.name,
            "bench_file": str(bench.file.path),
            "command": self.command,
            "host": platform.node(),
            "wall_time_start": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "bench": bench.file.resolved(),
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
            told = {**summary, **ended}
            self.writer.close(outcome, message=message, summary=told, snapshot_after=snapshot, arrays=self.results)
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


def is_associative(array: BenchArray) -> bool:
    return Capability.ASSOCIATE in array.capabilities


def associative_driver(array: BenchArray) -> AssociativeArray:
    """The driver of one that is."""
    return cast(AssociativeArray, array.driver)


def _generator(seed: int) -> np.random.Generator:
    try:
        if seed > _LARGEST_SEED:
            raise ValueError
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        text = f"seed: must be a whole number from 0 to {_LARGEST_SEED}, not {seed!r}"
        raise SettingsError(text) from None


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


def ignore(step: Step) -> None:
    """No progress shown."""
