"""The events of a run step by step, of any number of them: what was pulsed, and what was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis.measurements.recording import Floats, Ints
from labctl.recording.layout import KINDS, State

_BLOCK = 1 << 20
"""Events read at a time, or as many as a single step has."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The events of one step, (n,) each, in order. step: its row in `steps`. reading: S, NaN if not read. programmed:
    got a SET or RESET pulse that was, or may have been, applied.
    """

    step: int
    cell: Ints
    reading: Floats
    programmed: NDArray[np.bool_]


def passes(tree: xr.DataTree) -> Iterator[Pass]:
    """Every step of the run that did something, and last what a step that was not finished did."""
    operations = tree.children["operations"].to_dataset()
    first = operations["first_event"].values.astype(np.int64)
    if not len(first):
        return
    kind, state, step = (operations[name].values for name in ("kind", "state", "step"))
    programming = np.isin(kind, [KINDS["set"], KINDS["reset"]]) & (state != State.NOT_APPLIED)
    events = tree.children["events"].to_dataset()
    total = events.sizes["event"]
    begins = np.flatnonzero(np.diff(step.astype(np.int64), prepend=-1))
    starts = first[begins]
    edges = np.append(starts, total)
    begin = 0
    while begin < len(starts):
        end = max(int(np.searchsorted(edges, edges[begin] + _BLOCK, side="right")) - 1, begin + 1)
        rows = slice(int(edges[begin]), int(edges[end]))
        cell = events["cell"].isel(event=rows).values.astype(np.int64)
        reading = events["reading"].isel(event=rows).values.astype(np.float64)
        owner = np.searchsorted(first, np.arange(rows.start, rows.stop), side="right") - 1
        programmed = programming[owner]
        for place in range(begin, end):
            part = slice(int(edges[place]) - rows.start, int(edges[place + 1]) - rows.start)
            yield Pass(int(step[begins[place]]), cell[part], reading[part], programmed[part])
        begin = end
