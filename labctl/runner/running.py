"""Runs a protocol: checks, records, reports progress, stops on request, always ends in safe state with an honest file.

The states of a run are few: checked (plan against limits, nothing sent), opened (snapshot taken, file created),
running (step by step), ended (completed, stopped, failed or aborted), and closed (safe state, file finished).
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from labctl import __version__
from labctl.bench.live import BenchArray, SafeStateReport, not_safe
from labctl.bench.reservations import Reservation
from labctl.errors import Interrupted, LabctlError, RunError, SettingsError
from labctl.provenance import describe_settings, source_state
from labctl.recording.layout import Outcome
from labctl.recording.names import new_run_path
from labctl.recording.writer import RunWriter
from labctl.runner.auxiliaries import AuxiliarySampler
from labctl.runner.preparing import Prepared, prepare
from labctl.runner.recorded_array import RecordedArray
from labctl.runner.stopping import StopSwitch
from labctl.steps import Procedure, Step, StopRequested

Progress = Callable[[Step], None]
_PACKAGES = ("numpy", "h5py", "pyvisa", "pyvisa-py", "msgspec")


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
        self.stop = StopSwitch()

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
