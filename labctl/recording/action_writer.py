"""Writes the run file of an associative array: actions that are intended, then done, with the passes that were traced.

An action of which nothing is known keeps the rows of its passes, without matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from labctl.associative import Action, Execution
from labctl.errors import RecordingError
from labctl.recording.actions import ActionRow, outcome
from labctl.recording.layout import State
from labctl.recording.writer import RunWriter


class ActionWriter(RunWriter):
    """A RunWriter whose exchanges are actions: `intend_actions`, then `complete_actions` or `fail`."""

    def intend_actions(self, rows: Sequence[ActionRow], *, time: float) -> None:
        """Record one action or more that are about to be sent in one exchange; send them once this has returned.

        time: the latest that is known, s since 1970 on the array's clock.
        """
        self._begin()
        self._sizes = [row.events for row in rows]
        columns = {name: [row.columns[name] for row in rows] for name in rows[0].columns}
        self._write_intended(columns, [row.passes for row in rows], self._sizes, time)

    def complete_actions(self, actions: Sequence[Action], results: Sequence[Any]) -> None:
        """The actions intended last were done, and gave `results`."""
        found = [outcome(action, result) for action, result in zip(actions, results, strict=True)]
        columns: dict[str, Any] = {name: [each[name] for each in found] for name in found[0]}
        columns["state"] = [State.DONE] * len(found)
        events = []
        firsts = accumulate(self._sizes, initial=self._last.events)
        for first, size, result in zip(firsts, self._sizes, results, strict=False):
            trace = result.trace if isinstance(result, Execution) else None
            if trace is not None:
                if len(trace) != size:
                    raise RecordingError(f"a trace of {len(trace):,} passes of a program that has {size:,} to record")
                events.append((first, {"matches": trace}))
        self._write_settled(columns, events)

    def fail(self, states: Sequence[State] = ()) -> None:
        self._write_settled({"state": states or [State.UNKNOWN_DOSE] * self._last.unsettled}, ())
