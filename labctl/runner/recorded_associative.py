"""The associative array a protocol is given: every action goes into the run file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labctl.array import Capability, Clock, Geometry
from labctl.associative import Action, AssociativeArray, AssociativeGeometry, Counters, Execution
from labctl.errors import InstrumentError
from labctl.recording.action_writer import ActionWriter
from labctl.recording.actions import action_row
from labctl.recording.layout import State
from labctl.runner.recorded_array import NotedClock


class RecordedAssociativeArray:
    """An AssociativeArray for a protocol: what changes something is in the file as intended, then sent.

    time: the latest that is known, s since 1970 on the array's clock.
    """

    def __init__(self, array: AssociativeArray, writer: ActionWriter) -> None:
        self._array = array
        self._writer = writer
        self.chip_serial = array.chip_serial
        self.geometry: Geometry = array.geometry
        self.associative: AssociativeGeometry = array.associative
        self.capabilities: Capability = array.capabilities
        self.clock: Clock = (noted := NotedClock(array.clock, writer))
        self._noted = noted
        self._is_behind = False
        self.began = self.time = array.clock.now()

    def perform(self, *actions: Action) -> tuple[Any, ...]:
        if not actions:
            return ()
        rows = [action_row(action) for action in actions]
        if not any(row.changes for row in rows):
            results = self._array.perform(*actions)
            self._writer.intend_actions(rows, time=self._latest)
        else:
            self._writer.intend_actions(rows, time=self._latest)
            results = self._sent(actions)
        self._writer.complete_actions(actions, results)
        self._advance(results)
        return results

    def counters(self) -> Counters:
        return self._array.counters()

    def snapshot(self) -> Mapping[str, Any]:
        return self._array.snapshot()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self._array.safe_state(timeout_s)

    def moment(self) -> float:
        """The time, for a step: the array is asked where it has done something since."""
        if self._is_behind:
            self.time, self._is_behind = self._array.clock.now(), False
        return self._latest

    @property
    def _latest(self) -> float:
        return max(self.time, self._noted.told)

    def _sent(self, actions: tuple[Action, ...]) -> tuple[Any, ...]:
        """What they gave; else, as far as known, which of them were done."""
        try:
            return self._array.perform(*actions)
        except InstrumentError as problem:
            given = problem.given
            known = [] if given is None else [State.DONE] * given + [State.NOT_APPLIED] * (len(actions) - given)
            self._writer.fail(known)
            raise
        except ValueError:  # with nothing sent
            self._writer.fail([State.NOT_APPLIED] * len(actions))
            raise
        except BaseException:
            self._writer.fail()
            raise

    def _advance(self, results: tuple[Any, ...]) -> None:
        """By what programs say they took; the rest is asked for when a step is recorded."""
        self.time = self._latest + sum(each.seconds for each in results if isinstance(each, Execution))
        self._is_behind = True
