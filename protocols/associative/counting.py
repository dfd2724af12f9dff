"""What an associative array did, as protocols record it: the counters of each step, and of the run so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.associative import COUNTERS, AssociativeArray, Counters
from labctl.steps import Variable

NOT_COUNTED = -1

_TITLES = {
    "searches": "searches in this step",
    "searched_columns": "columns searched in this step, summed over its searches",
    "matches": "rows tagged by searches in this step",
    "writes": "tagged writes in this step",
    "written_columns": "columns written in this step, summed over its tagged writes",
    "written_bits": "cells written by tagged writes in this step",
    "shifts": "shifts of a track by one domain in this step",
    "checks": "position checks of a track in this step",
    "realignments": "shifts of a track's tagged nanowires by one domain in this step",
    "loaded_columns": "columns that the host loaded in this step",
    "read_columns": "columns that the host read in this step",
}

COUNTER_VARIABLES = tuple(Variable(name, _TITLES[name], dtype="i8", fill=NOT_COUNTED) for name in COUNTERS)
"""What a protocol declares to record `Counting.step`."""


class Counting:
    """Counters of `array` step by step. total: of the run so far, also of what came before it was resumed."""

    def __init__(self, array: AssociativeArray, checkpoint: Mapping[str, NDArray[Any]] | None = None) -> None:
        self._array = array
        self._last = array.counters()
        self.total = Counters() if checkpoint is None else Counters(*checkpoint["counters"].tolist())

    def step(self) -> dict[str, int]:
        """By the names of `COUNTER_VARIABLES`: what was done since this was asked last, or since the beginning."""
        now = self._array.counters()
        done, self._last = now - self._last, now
        self.total = self.total + done
        return done.as_values()

    def state(self) -> dict[str, NDArray[np.int64]]:
        """For a step's checkpoint."""
        return {"counters": np.array([getattr(self.total, name) for name in COUNTERS], np.int64)}
