"""Figures as data: what a kind of measurement shows, one module a kind or two."""

from __future__ import annotations

from collections.abc import Callable

from labctl.analysis.report.charts import (
    arrays,
    associative,
    changes,
    computing,
    programming,
    pruning,
    repeated,
    training,
)
from labctl.analysis.report.content import Chart
from labctl.analysis.report.material import Run

_OF_KIND: dict[str, Callable[[Run], list[Chart]]] = {
    "programming": programming.programming,
    "step-size": programming.step_size,
    "forming": arrays.forming,
    "forming-density": arrays.forming_density,
    "map": arrays.array_map,
    "iv": changes.iv,
    "pulse-response": changes.pulse_response,
    "endurance": repeated.endurance,
    "retention": repeated.retention,
    "read-noise": repeated.read_noise,
    "pruning": pruning.pruning,
    "training": training.training,
    "associative-characterisation": associative.characterisation,
    "associative-alignment": associative.alignment,
    "associative-selftest": computing.selftest,
    "associative-inference": computing.inference,
}


def charts_of(run: Run) -> list[Chart]:
    """What the run measured; of one that ended before, or is no measurement, what its steps say."""
    found = _OF_KIND[run.kind](run) if run.kind in _OF_KIND and run.measured is not None else []
    return found or programming.steps(run)
