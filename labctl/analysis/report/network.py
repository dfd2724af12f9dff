"""What a network on the array reaches and costs: the first part of its page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labctl.analysis.report.computed import inferred
from labctl.analysis.report.content import Block
from labctl.analysis.report.material import Run
from labctl.analysis.report.pruned import pruned
from labctl.analysis.report.trained import trained

if TYPE_CHECKING:
    import xarray as xr

_OF_KIND: dict[str, Callable[[xr.Dataset], list[Block]]] = {
    "pruning": pruned,
    "training": trained,
    "associative-inference": inferred,
}


def network(run: Run) -> list[Block]:
    """Nothing of other kinds of run, and of one that did not come so far."""
    if run.measured is None or run.kind not in _OF_KIND:
        return []
    return _OF_KIND[run.kind](run.measured)
