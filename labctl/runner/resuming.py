"""Resumes an interrupted run from its file: the protocol goes through what it did, then on from there.

Nothing that was recorded is done again. The file answers the protocol until it stands where it stood; then the cells
are read, what became of the pulses in flight is found out, and the run goes on in the same file.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from labctl.array import Capability
from labctl.bench.live import BenchArray
from labctl.bench.reservations import Reservation
from labctl.errors import RunError
from labctl.recording.past import Past
from labctl.recording.writer import RunWriter
from labctl.runner.preparing import Prepared, prepare
from labctl.runner.recorded_array import RecordedArray
from labctl.runner.resumed_array import FACTOR, Reread, ResumedArray
from labctl.runner.running import Progress, Run, RunResult, ignore
from labctl.runner.telling import tell
from labctl.steps import Procedure, Step, StopRequested

_MOST_CHANGED = 0.5
"""The share of cells that read quite otherwise than the run left them, above which it is another chip's state."""


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
    run left them.

    Returns and raises as `labctl.run`; RunError, with the file as it was, where the run cannot be resumed: it is
    finished or going on, the array is another, or the protocol is not what it was.
    """
    with Past(Path(run)) as past, array.reserved() as reservation:
        _refuse_other_array(past, array)
        prepared = prepare(protocol or str(past.attributes["protocol"]), array, **past.settings)
        return _ResumedRun(past, prepared, array, reservation, progress or ignore, fsync, command, force).go()


class _ResumedRun(Run):
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
        self._phases = deque(past.phases)
        self._maps: dict[str, NDArray[Any]] = {}
        self._in_doubt = 0
        self._applied: int | None = None

    def _begin(self) -> ResumedArray:
        doubtful, driver = self._past.doubtful, self.array.driver
        self._in_doubt = doubtful.stop - doubtful.start
        knows = Capability.SEQUENCE in driver.capabilities
        self._applied = self._past.settle(driver.sequence if self._in_doubt and knows else None)
        return ResumedArray(driver, self.array.guard, self._past, self._check, self._reopen)

    def _drive(self, array: RecordedArray | ResumedArray) -> dict[str, Any]:
        summary = super()._drive(array)
        if isinstance(array, ResumedArray) and not self.stop.requested:
            array.live()  # all was done but to say so
        return summary

    def _record(self, step: Step, array: RecordedArray | ResumedArray) -> None:
        if not self._phases:
            assert isinstance(array, ResumedArray)
            array.live()
            super()._record(step, array)
            return
        expected = self._phases.popleft()
        if step.phase != expected:
            raise RunError(
                f"cannot be resumed: the protocol is at {step.phase!r} where the file has {expected!r}: it is not what "
                "it was when the run was recorded; nothing was sent"
            )
        self._maps |= {name: values.copy() for name, values in step.maps.items()}

    def _note_stop(self) -> None:
        """Before anything has been done there is nothing for the protocol to end."""
        if self.writer is None:
            raise StopRequested
        super()._note_stop()

    def _check(self, reread: Reread) -> None:
        """Raises RunError where the cells are not as the run left them."""
        self.reread = reread
        if reread.changed <= _MOST_CHANGED * reread.compared:
            return
        told = (
            f"{reread.changed:,} of {reread.compared:,} cells read more than {FACTOR} times more or less than when the "
            "run ended: this is not the state it left the chip in (a simulated chip without a `state` is new each time)"
        )
        if not self._force:
            raise RunError(f"{told}; nothing was pulsed")
        tell(f"labctl: {told}; resumed nevertheless")

    def _reopen(self) -> RunWriter:
        """The file, open for more, with its maps as they were."""
        procedure, commit = self.prepared.procedure, self._past.commit
        resumption = {
            **self._circumstances(self._snapshot()),
            "first_step": commit.steps,
            "first_operation": commit.operations_intended,
            "first_event": commit.events_intended,
            "operations_in_doubt": self._in_doubt,
            "of_which_applied": self._applied,
            "reread": asdict(self.reread) if self.reread else None,
            "before": self._past.ending(),
        }
        writer = RunWriter.reopen(
            self._past,
            phases=procedure.phases,
            variables=procedure.variables,
            resumption=resumption,
            fsync=self.fsync,
        )
        self._opened(writer)
        writer.restore(self._maps)
        return writer


def _refuse_other_array(past: Past, array: BenchArray) -> None:
    """Raises RunError where `array` is not what the run was recorded on."""
    recorded = {
        "chip": (past.attributes.get("chip_serial", ""), array.chip_serial),
        "array": (past.geometry, array.geometry),
        "pulse amplitude's scale": (past.dac, array.dac),
        "reading's scale": (past.adc, array.adc),
        "set of auxiliaries": (past.auxiliaries, sorted(array.quantities)),
    }
    for what, (then, now) in recorded.items():
        if then != now:
            raise RunError(f"{past.path.name} cannot be resumed here: its {what} was {then}, this bench's is {now}")
