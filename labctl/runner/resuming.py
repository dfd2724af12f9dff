"""Resumes an interrupted run from its file: the protocol goes through what it did, then on from there.

Nothing that was recorded is done again. The file answers the protocol until it stands where it stood; then the cells
are read, what became of the pulses in flight is found out, and the run goes on in the same file. A protocol with
checkpoints is not gone through: it is given the last of them, and the array as it is now.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, Scale
from labctl.associative import AssociativeGeometry
from labctl.bench.live import BenchArray
from labctl.bench.reservations import Reservation
from labctl.errors import ResumeError
from labctl.recording.action_writer import ActionWriter
from labctl.recording.catalogue import Catalogue, Query
from labctl.recording.layout import AskedBy
from labctl.recording.past import Past
from labctl.recording.writer import RunWriter
from labctl.runner.preparing import Prepared, prepare
from labctl.runner.recorded_array import RecordedArray
from labctl.runner.recorded_associative import RecordedAssociativeArray
from labctl.runner.rereading import FACTOR, Reread, reread
from labctl.runner.resumed_array import ResumedArray
from labctl.runner.running import (
    GivenArray,
    Progress,
    Run,
    RunResult,
    associative_driver,
    ignore,
    is_associative,
)
from labctl.runner.sparing import people_exclude
from labctl.runner.telling import tell
from labctl.steps import Procedure, Step, StopRequested
from labctl.units import format_quantity

_MOST_CHANGED = 0.5
"""The share of cells that read quite otherwise than the run left them, above which it is another chip's state."""

_MOST_CHANGED_BY_OTHERS = 0.05
"""The same, where others have pulsed since."""

_CLOCK_S = 1e-3
"""By which the array's clock may be before the end of the run: it tells the time with so many digits."""


def resume(
    run: str | Path,
    array: BenchArray,
    *,
    protocol: Procedure | None = None,
    progress: Progress | None = None,
    fsync: bool = False,
    command: str = "",
    force: bool = False,
) -> RunResult:
    """Go on with the interrupted, failed or killed `run` on a connected `array`, in the same file.

    Settings, targets, seed and history are the file's. No pulse is given twice: those in flight when the run ended are
    given where the board says that it has not applied them; where it cannot say, they are of unknown dose. protocol:
    where it is not one of those that `labctl plugins` lists. force: also where the cells read quite otherwise than the
    run left them, where the array's clock is before the end of the run, or where people have excluded cells since.

    Returns and raises as `labctl.run`; ResumeError, with the file as it was, where the run cannot be resumed: it is
    finished or going on, the array is another, or the protocol is not what it was.
    """
    with Past(Path(run)) as past, array.reserved() as reservation:
        _refuse_other_array(past, array)
        _refuse_unretraceable(past)
        if not force:
            _refuse_other_times(past, array)
        prepared = prepare(protocol or str(past.attributes["protocol"]), array, **past.settings)
        _refuse_other_protocol(past, prepared.procedure)
        kind = _RunFromCheckpoint if past.has_checkpoints else _RetracedRun
        return kind(past, prepared, array, reservation, progress or ignore, fsync, command, force).go()


class _ResumedRun(Run):
    """A run that goes on in its file."""

    def __init__(
        self,
        past: Past,
        prepared: Prepared,
        array: BenchArray,
        reservation: Reservation,
        progress: Progress,
        fsync: bool,
        command: str,
        force: bool,
    ) -> None:
        seed = int(past.attributes["seed"])
        super().__init__(prepared, array, reservation, past.path.parent, seed, progress, fsync, command)
        self._past = past
        self._force = force
        self._in_doubt = 0
        self._applied: int | None = None
        self._others: list[str] = []

    def _settle(self) -> None:
        """Find out what became of the pulses in flight."""
        doubtful, driver = self._past.doubtful, self.array.driver
        self._in_doubt = doubtful.stop - doubtful.start
        knows = Capability.SEQUENCE in driver.capabilities
        self._others = later_runs(self._past, self.array)
        self._applied = self._past.settle(driver.sequence if self._in_doubt and knows and not self._others else None)

    def _check(self, reread: Reread) -> None:
        """Raises ResumeError where the cells are not as the run left them."""
        self.reread = reread
        most = _MOST_CHANGED_BY_OTHERS if self._others else _MOST_CHANGED
        if reread.changed <= most * reread.compared:
            return
        cause = "a simulated chip without a `state` is new each time"
        if self._others:
            cause = f"the chip has been in {self._others[-1]} since"
        told = (
            f"{reread.changed:,} of {reread.compared:,} cells read more than {FACTOR} times more or less than when the "
            f"run ended: this is not the state it left the chip in ({cause})"
        )
        if not self._force:
            raise ResumeError(f"{told}; nothing was pulsed, --force goes on nevertheless")
        tell(f"labctl: {told}; resumed nevertheless")

    def _reopen(self) -> RunWriter:
        """The file, open for more."""
        procedure, commit = self.prepared.procedure, self._past.commit
        resumption = {
            **self._circumstances(self._snapshot()),
            "first_step": commit.steps,
            "first_operation": commit.operations_intended,
            "first_event": commit.events_intended,
            "operations_in_doubt": self._in_doubt,
            "of_which_applied": self._applied,
            "reread": asdict(self.reread) if self.reread else None,
            **self._resumed_from(),
            "before": self._past.ending(),
        }
        writer = (ActionWriter if is_associative(self.array) else RunWriter).reopen(
            self._past,
            phases=procedure.phases,
            variables=procedure.variables,
            resumption=resumption,
            fsync=self.fsync,
        )
        return self._opened(writer)

    def _resumed_from(self) -> dict[str, Any]:
        """More for the record of the resumption."""
        return {}


class _RetracedRun(_ResumedRun):
    """Of a protocol that is gone through again, answered by the file."""

    def __init__(self, past: Past, *given: Any) -> None:
        super().__init__(past, *given)
        self._phases = deque(past.phases)
        self._maps: dict[str, NDArray[Any]] = {}

    def _begin(self) -> ResumedArray:
        self._settle()
        return ResumedArray(self.array.driver, self.array.guard, self._past, self._check, self._reopen)

    def _drive(self, array: GivenArray) -> dict[str, Any]:
        summary = super()._drive(array)
        if isinstance(array, ResumedArray) and not self.stop.requested:
            array.live()  # all was done but to say so
        return summary

    def _record(self, step: Step, array: GivenArray) -> None:
        if not self._phases:
            assert isinstance(array, ResumedArray)
            array.live()
            super()._record(step, array)
            return
        expected = self._phases.popleft()
        if step.phase.replace(" ", "_") != expected:  # as flags are written
            raise ResumeError(
                f"cannot be resumed: the protocol is at {step.phase!r} where the file has {expected!r}: it is not what "
                "it was when the run was recorded; nothing was sent"
            )
        self._maps |= {name: values.copy() for name, values in step.maps.items()}

    def _note_stop(self) -> None:
        """Before anything has been done there is nothing for the protocol to end."""
        if self.writer is None:
            raise StopRequested
        super()._note_stop()

    def _reopen(self) -> RunWriter:
        """With its maps as they were."""
        writer = super()._reopen()
        writer.restore(self._maps)
        return writer


class _RunFromCheckpoint(_ResumedRun):
    """Of a protocol that is given its last checkpoint, or none where it had not come to any."""

    def _begin(self) -> RecordedArray | RecordedAssociativeArray:
        self._settle()
        past = self._past
        readout = None if is_associative(self.array) else reread(self.array.driver, past, self._check)
        self.array.guard.count(*past.pulses())
        if past.checkpoint is not None:
            self.rng = past.checkpoint.generator(self.seed)
        tell(f"labctl: {self._told()}")
        writer = self._reopen()
        if readout is not None:
            with writer.asking(AskedBy.REREAD):
                writer.record_read(readout)
        return self._recorded(writer)

    def _told(self) -> str:
        _, steps = self._past.superseded
        if self._past.checkpoint is None:
            return "it had recorded no checkpoint: it begins anew, on the array as it is"
        again = f"the {steps.stop - steps.start:,} since then are done anew" if steps.stop > steps.start else "its last"
        return f"it goes on from the checkpoint of its step {steps.start:,}, {again}"

    def _checkpoint(self) -> dict[str, NDArray[Any]] | None:
        return None if self._past.checkpoint is None else self._past.checkpoint.arrays

    def _resumed_from(self) -> dict[str, Any]:
        operations, steps = self._past.superseded
        return {
            "checkpoint_steps": self._past.commit.checkpoint_steps,
            "superseded_steps": steps.stop - steps.start,
            "superseded_operations": operations.stop - operations.start,
        }


def later_runs(past: Past, array: BenchArray) -> list[str]:
    """Names of the runs with pulses on the same chip that began after that of `past` had ended, oldest first."""
    folders = {past.path.parent, *({array.bench.runs_folder} if array.bench.runs_folder.is_dir() else ())}
    ended = past.path.stat().st_mtime
    entries = [each for folder in folders for each in Catalogue(folder).find(Query(chip=array.chip_serial))]
    later = {each.path.resolve(): each for each in entries if each.pulses and each.started > ended}
    later.pop(past.path, None)
    return [each.path.name for each in sorted(later.values(), key=lambda each: each.started)]


def _refuse_other_array(past: Past, array: BenchArray) -> None:
    """Raises ResumeError where `array` is not what the run was recorded on."""
    if array.replayed:
        raise ResumeError(f"{past.path.name} cannot be resumed here: a wire log answers, not the chip")
    now_associative = associative_driver(array).associative if is_associative(array) else None
    recorded = {
        "chip": (past.attributes.get("chip_serial", ""), array.chip_serial),
        "array": (_size(past.geometry), _size(array.geometry)),
        "kind of array": (_kind(past.associative), _kind(now_associative)),
        **({} if past.associative else _ranges(past, array)),
        "set of auxiliaries": (", ".join(past.auxiliaries) or "none", ", ".join(sorted(array.quantities)) or "none"),
    }
    for what, (then, now) in recorded.items():
        if then != now:
            raise ResumeError(f"{past.path.name} cannot be resumed here: its {what} was {then}, this bench's is {now}")


def _refuse_unretraceable(past: Past) -> None:
    """Raises ResumeError for a run on an associative array without checkpoints: what was read of it is not recorded."""
    if past.associative is not None and not past.has_checkpoints:
        raise ResumeError(
            f"{past.path.name} cannot be resumed: its protocol has no checkpoints, and what an associative array "
            "answered is not recorded"
        )


def _refuse_other_protocol(past: Past, procedure: Procedure) -> None:
    """Raises ResumeError where `procedure` is not what its run was recorded by, as far as nothing else would tell."""
    if procedure.checkpoints != past.has_checkpoints:
        differing = "checkpoints, or none"
    elif past.has_checkpoints and not past.was_declared_by(procedure.phases, procedure.variables):
        differing = "phases, or variables"
    else:
        return
    raise ResumeError(
        f"{past.path.name} cannot be resumed: the protocol declares other {differing}: it is not what it was when the "
        "run was recorded; nothing was sent"
    )


def _refuse_other_times(past: Past, array: BenchArray) -> None:
    """Raises ResumeError where the array is not after the run, or people have decided something of its cells since."""
    before = past.commit.ended - array.clock.now()
    if before > _CLOCK_S:
        raise ResumeError(
            f"{past.path.name} cannot be resumed: the array's clock is {format_quantity(before, 's')} before the end "
            "of the run, so that its chip is not as the run left it (a simulated chip saves its `state` when its "
            "process ends, not when it is killed); --force goes on nevertheless"
        )
    if "exclude" not in past.settings:
        return
    excluded = people_exclude(array, past.path.parent)
    own = past.settings["exclude"]
    further = excluded & ~np.asarray(own, bool).ravel() if own is not None else excluded
    if further.any():
        raise ResumeError(
            f"{past.path.name} cannot be resumed: people have excluded {np.count_nonzero(further):,} of its cells "
            f"since (labctl chip exclude {array.chip_serial} --list); --force goes on nevertheless"
        )


def _size(geometry: Geometry) -> str:
    return f"{geometry.rows} x {geometry.cols} cells"


def _kind(associative: AssociativeGeometry | None) -> str:
    if associative is None:
        return "a memory array"
    return (
        f"an associative array of {associative.tracks} tracks of {associative.domains} domains with "
        f"{associative.ports} ports"
    )


def _ranges(past: Past, array: BenchArray) -> dict[str, tuple[str, str]]:
    return {
        "range of pulse amplitudes": (_range(past.dac), _range(array.dac)),
        "range of readings": (_range(past.adc), _range(array.adc)),
    }


def _range(scale: Scale) -> str:
    low, high = (
        format_quantity(value, scale.unit, 9) for value in (scale.offset, scale.offset + scale.step * scale.top)
    )
    return f"{low} to {high} in {scale.bits} bits"
