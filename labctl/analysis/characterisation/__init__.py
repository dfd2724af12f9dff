"""What a measurement says of its cells: named numbers with unit, interval and sample size, one module a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labctl.analysis.characterisation import (
    arrays,
    associative,
    computing,
    cycling,
    forming,
    noise,
    programming,
    pruning,
    pulse_response,
    retention,
    sweeps,
    training,
)
from labctl.analysis.characterisation.statistic import Statistic
from labctl.analysis.measurements import measurement

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Statistic", "statistics", "statistics_of"]

_OF_KIND: dict[str, Callable[[xr.Dataset], list[Statistic]]] = {
    "forming": forming.statistics,
    "forming-density": forming.of_density,
    "iv": sweeps.statistics,
    "pulse-response": pulse_response.statistics,
    "endurance": cycling.statistics,
    "retention": retention.statistics,
    "read-noise": noise.statistics,
    "map": arrays.statistics,
    "step-size": programming.step_size,
    "programming": programming.programming,
    "pruning": pruning.statistics,
    "training": training.statistics,
    "associative-characterisation": associative.statistics,
    "associative-alignment": associative.of_alignment,
    "associative-selftest": computing.selftest,
    "associative-inference": computing.inference,
}


def statistics(tree: xr.DataTree) -> list[Statistic]:
    """The statistics of the run `tree`, as `labctl.open_run` gives it. Raises RecordingError for no measurement."""
    return statistics_of(measurement(tree))


def statistics_of(measured: xr.Dataset) -> list[Statistic]:
    """The statistics of a measurement, as `labctl.analysis.measurements.measurement` makes it."""
    return _OF_KIND[measured.attrs["measurement"]](measured)
