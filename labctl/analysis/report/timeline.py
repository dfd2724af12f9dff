"""What happened when: operations by phase and kind, and how pulses and readings added up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.figures.panels import BLUE, GREY
from labctl.analysis.report.content import Axis, Block, Chart, Series, Table
from labctl.analysis.report.material import Run, flags_of
from labctl.analysis.report.words import duration, quantity, spoken
from labctl.recording.layout import CLOCK, MULTIPLY, READ

if TYPE_CHECKING:
    import xarray as xr

_MOST_POINTS = 400


def timeline(run: Run) -> list[Block]:
    operations = run.group("operations")
    if not operations.sizes["operation"]:
        return []
    if run.recording.is_associative:
        return [_actions(run, operations)]
    head = (
        "phase",
        "operation",
        "state",
        "operations",
        "events",
        "amplitude",
        "width",
        "gate",
        "began",
        "time of cells",
    )
    table = Table("Operations by phase", head, list(_rows(run, operations)), (3, 4, 5, 6, 7, 8, 9))
    chart = _adding_up(run, operations)
    return [table, chart] if chart else [table]


def _rows(run: Run, operations: xr.Dataset) -> Iterator[tuple[str, ...]]:
    """One a phase, kind of operation and state, in the order they first came."""
    kinds, states = flags_of(operations["kind"]), flags_of(operations["state"])
    kind, state = (operations[name].values.astype(int) for name in ("kind", "state"))
    low, high = _amplitudes(run)
    events, start = run.recording.operation("events"), run.recording.operation("start")
    busy = np.nan_to_num(run.recording.operation("seconds_per_cell")) * events
    width, gate = run.recording.operation("width"), run.recording.operation("gate")
    for (name, what, how), rows in _grouped(_phases(run), kind, state).items():
        yield (
            spoken(name),
            kinds.get(what, str(what)).upper() if what else "read",
            spoken(states.get(how, str(how))),
            f"{len(rows):,}",
            f"{events[rows].sum():,.0f}",
            _range(np.concatenate([low[rows], high[rows]]), "V"),
            _range(width[rows], "s"),
            _range(gate[rows], "V"),
            _since(start[rows], start),
            duration(float(busy[rows].sum())) if busy[rows].any() else "–",
        )


def _actions(run: Run, operations: xr.Dataset) -> Table:
    """The same of an associative array."""
    kinds, states = flags_of(operations["kind"]), flags_of(operations["state"])
    kind, state = (operations[name].values.astype(int) for name in ("kind", "state"))
    named, start = run.recording.operation("repeats"), run.recording.operation("start")
    matches, seconds = (np.nan_to_num(run.recording.operation(name)) for name in ("matches", "seconds"))
    rows = [
        (
            spoken(name),
            spoken(kinds.get(what, str(what))),
            spoken(states.get(how, str(how))),
            f"{len(places):,}",
            f"{named[places].sum():,.0f}",
            f"{matches[places].sum():,.0f}" if matches[places].any() else "–",
            _since(start[places], start),
            duration(float(seconds[places].sum())) if seconds[places].any() else "–",
        )
        for (name, what, how), places in _grouped(_phases(run), kind, state).items()
    ]
    head = ("phase", "action", "state", "actions", "columns or passes", "rows tagged", "began", "time of programs")
    return Table("Actions by phase", head, rows, (3, 4, 5, 6, 7))


def _grouped(
    phase: list[str], kind: NDArray[np.int64], state: NDArray[np.int64]
) -> dict[tuple[str, int, int], list[int]]:
    """The rows of operations of each phase, kind and state, in the order they first came."""
    groups: dict[tuple[str, int, int], list[int]] = {}
    for row, key in enumerate(zip(phase, kind.tolist(), state.tolist(), strict=True)):
        if key[1] != CLOCK:
            groups.setdefault(key, []).append(row)
    return groups


def _phases(run: Run) -> list[str]:
    """(operations,) the phase of the step each belongs to; of a step that was never recorded, `unfinished step`."""
    names = np.append(run.recording.phase, "unfinished step")
    step = run.recording.operation("step").astype(int)
    found: list[str] = names[np.minimum(step, len(names) - 1)].tolist()
    return found


def _amplitudes(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(operations,) lowest and highest amplitude of each, V; NaN of reads."""
    amplitude = run.group("events")["amplitude"].values
    first, count = (run.recording.operation(name).astype(int) for name in ("first_event", "events"))
    low, high = np.full(len(first), np.nan), np.full(len(first), np.nan)
    filled = np.flatnonzero((count > 0) & (first < len(amplitude)))
    if len(filled):
        low[filled] = np.minimum.reduceat(amplitude, first[filled])
        high[filled] = np.maximum.reduceat(amplitude, first[filled])
    return low, high


def _range(values: NDArray[np.float64], unit: str) -> str:
    known = values[np.isfinite(values)]
    if not known.size:
        return "–"
    low, high = quantity(float(known.min()), unit, 3), quantity(float(known.max()), unit, 3)
    return low if low == high else f"{low} to {high}"


def _since(chosen: NDArray[np.float64], all_of_them: NDArray[np.float64]) -> str:
    """When the first of the chosen began, after the first of all."""
    known = chosen[np.isfinite(chosen)]
    return f"+{duration(float(known.min() - np.nanmin(all_of_them)))}" if known.size else "–"


def _adding_up(run: Run, operations: xr.Dataset) -> Chart | None:
    """Pulses and readings so far over the board's time."""
    start, events = run.recording.operation("start"), run.recording.operation("events")
    known = np.isfinite(start)
    if np.count_nonzero(known) < 2 or np.ptp(start[known]) <= 0:
        return None
    is_read = operations["kind"].values.astype(int) == READ
    since = start - np.nanmin(start)
    series = []
    is_pulse = ~np.isin(operations["kind"].values.astype(int), (READ, CLOCK, MULTIPLY))
    for chosen, label, colour in ((is_pulse, "pulses", BLUE), (is_read, "reads without a pulse", GREY)):
        rows = np.flatnonzero(chosen & known)
        if len(rows):
            shown = np.unique(np.linspace(0, len(rows) - 1, min(_MOST_POINTS, len(rows))).astype(int))
            series.append(Series("steps", since[rows][shown], np.cumsum(events[rows])[shown], label, colour=colour))
    told = f"Cells pulsed and read over {duration(float(np.ptp(start[known])))} of the board's time."
    return Chart(
        "Pulses and reads over time",
        Axis("time on the board's clock (s)", low=0.0),
        Axis("cells, added up", low=0.0),
        series,
        told,
    )
