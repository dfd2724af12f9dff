"""What a reader of a run has to be warned of, each in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.report.material import Run, flags_of, wrote
from labctl.analysis.report.words import count, percent
from labctl.recording.layout import Outcome, State

_MOST_NAMED = 5  # cells
_MOST_LOOKED_AT = 1000  # operations


def doubts(run: Run) -> list[str]:
    """Nothing of a run that went as runs should."""
    doses = _actions if run.recording.is_associative else _doses
    return [*_ending(run), *doses(run), *_around(run), *_source(run), *_cells(run)]


def _ending(run: Run) -> Iterator[str]:
    outcome = run.summary.outcome
    if outcome is Outcome.LIVE:
        yield "The run is going on: this page shows what was recorded when it was made."
    if outcome is Outcome.KILLED:
        yield "The process that ran it was killed: whether the array was left in safe state is not known."
    if run.attribute("replay_of"):
        yield f"The answers came from a wire log ({run.attribute('replay_of')}): this is a replay and measured nothing."
    unsafe = [each for each in _listed(run.summary.summary.get("safe_state")) if each.get("problem")]
    for each in unsafe:
        yield f"Not in safe state at the end: {each.get('instrument', '?')}: {each['problem']}."
    if run.resumptions:
        yield f"The run was broken off and resumed {count(len(run.resumptions), 'time')}: see Provenance."


def _doses(run: Run) -> Iterator[str]:
    unknown = run.summary.unknown_dose
    if unknown:
        yield f"{count(unknown, 'pulse')} of unknown dose: sent, and nobody can say whether applied{_on(run)}."
    refused = run.recording.operation("state") == State.NOT_APPLIED
    if refused.any():
        events = int(run.recording.operation("events")[refused].sum())
        batches = count(int(refused.sum()), "batch", "batches")
        yield f"{count(events, 'pulse')} not applied: the board refused {batches}."
    saturated = [each for each in run.statistics if each.name.startswith("saturated_") and each.value > 0]
    for each in saturated:
        what = each.name.removeprefix("saturated_")
        yield f"{each.value:,.0f} of {each.n:,} {what} were at the top of the converter and count as not known."


def _actions(run: Run) -> Iterator[str]:
    """Of an associative array."""
    state = run.recording.operation("state")
    unknown = _is_unknown(run, state)
    if unknown.any():
        yield f"{count(int(unknown.sum()), 'action')} that may have been done or not: sent, and nobody can say."
    if refused := int((state == State.NOT_APPLIED).sum()):
        yield f"{count(refused, 'action')} not done: the board refused."


def _is_unknown(run: Run, state: NDArray[np.float64]) -> NDArray[np.bool_]:
    killed = run.summary.outcome is Outcome.KILLED
    unknown: NDArray[np.bool_] = (state == State.UNKNOWN_DOSE) | (killed & (state == State.INTENDED))
    return unknown


def _on(run: Run) -> str:
    """On which cells, as the end of a sentence."""
    rows = np.flatnonzero(_is_unknown(run, run.recording.operation("state")))
    first, events = (run.recording.operation(name).astype(int) for name in ("first_event", "events"))
    cell = run.group("events")["cell"]
    doubted = [cell[first[k] : first[k] + events[k]].values for k in rows[:_MOST_LOOKED_AT]]
    cells = np.unique(np.concatenate([np.zeros(0, np.uint32), *doubted]))
    cols = run.recording.shape[1]
    named = ", ".join(f"row {int(each) // cols} column {int(each) % cols}" for each in cells[:_MOST_NAMED])
    more = f" and {len(cells) - _MOST_NAMED:,} more" if len(cells) > _MOST_NAMED else ""
    return f" ({named}{more})" if len(cells) else ""


def _around(run: Run) -> Iterator[str]:
    problems = run.summary.summary.get("auxiliary_problems")
    if isinstance(problems, Mapping):
        for name, problem in problems.items():
            yield f"{name} gave no reading for a part of the run: {problem}."
    if not run.snapshot_before:
        yield "No snapshot of the instruments' settings was taken before the run."
    if run.summary.outcome is Outcome.FINISHED and run.snapshot_before and not run.snapshot_after:
        yield "No snapshot of the instruments' settings was taken after the run."


def _source(run: Run) -> Iterator[str]:
    if _is_true(run.summary.attributes.get("labctl_dirty")):
        commit = run.attribute("labctl_commit")[:12]
        yield f"labctl ran from a source with changes that are in no commit{f' (on {commit})' if commit else ''}."


def _cells(run: Run) -> Iterator[str]:
    excluded = run.summary.attributes.get("excluded_cells")
    many = int(excluded) if isinstance(excluded, int | np.integer) else _excluded_by_outcome(run)
    cells = run.recording.cells
    if many:
        yield f"{count(many, 'cell')} ({percent(many / cells)} of the array) excluded and never touched."


def _excluded_by_outcome(run: Run) -> int:
    """Of a run recorded before runs said how many."""
    maps = run.group("maps")
    if "outcome" not in maps or not wrote(maps["outcome"]):
        return 0
    names = {name: code for code, name in flags_of(maps["outcome"]).items()}
    return int(np.count_nonzero(maps["outcome"].values == names.get("excluded", -1)))


def _listed(content: Any) -> list[Mapping[str, Any]]:
    return [each for each in content if isinstance(each, Mapping)] if isinstance(content, list) else []


def _is_true(content: Any) -> bool:
    return bool(content) and str(content) != "False"
