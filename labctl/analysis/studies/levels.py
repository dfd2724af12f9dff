"""How well each level was programmed, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.groups import by_level
from labctl.analysis.estimators import Estimate
from labctl.analysis.measurements import a_run_of, measurement
from labctl.analysis.measurements.recording import Recording
from labctl.analysis.measurements.windows import half_widths
from labctl.analysis.studies.arguments import quantities, quantity
from labctl.analysis.studies.labelled import Variables, estimated, plain
from labctl.analysis.studies.many import of_runs
from labctl.errors import RecordingError, UsageError

_FAR = 3.0
_DIMS = ("level",)
_KINDS = ("programming", "step-size")


@of_runs
def levels(
    run: xr.DataTree,
    *,
    bins: int | None = None,
    edges: Sequence[float | str] | None = None,
    window: float | str | None = None,
) -> xr.Dataset:
    """Statistics of programming by target level, with 95 % intervals (NAME_low, NAME_high); dimension `level`.

    Levels are the targets where there are eight or fewer, else four groups of neighbouring targets. bins: that many
    groups of as many cells each instead; as cells of one target stay together, groups are unequal, and fewer than
    `bins`, where many cells share a target. edges: groups between these targets, S (each from its lower edge to before
    the upper one, the last edge inside). window: half width, S; without, what the run's settings say. Both may be text,
    as "1 uS".

    target, target_lowest, target_highest: S; the mean is over cells. cells: with a target. n: of these read, not
    saturated; of them, reached minus target in S: error_mean, error_median, error_sd, error_spread (robust: 1.4826
    times the median absolute deviation), and the shares beyond_spread (further than 3 robust spreads from the median;
    0.27 % of a normal distribution) and beyond_window (NaN where the window is not known). Of all cells with a target:
    `in_window`, the share that the run ended as in window, and pulses_mean, pulses_median, pulses_p99.

    A run that broke off before it wrote its last maps is told by its events. Raises RecordingError for a run that
    programmed no targets, UsageError for bins or edges that make no groups, and for what is no conductance.
    """
    measured = measurement(run)
    if measured.attrs["measurement"] not in _KINDS:
        raise RecordingError(f"{a_run_of(measured.attrs['measurement'])} programs no cells to targets of their own")
    target = measured["target"].values.astype(np.float64)
    width = (
        half_widths(Recording(run))
        if window is None
        else np.full((2, int(run.attrs["rows"] * run.attrs["cols"])), quantity("window", window, "S"))
    )
    if width is not None:
        width = width[:, measured["cell"].values]
    groups = _groups(target, bins, edges)
    parts = [_of_level(measured, target, width, cells) for cells in groups]
    variables: Variables = {}
    for name, units, long_name in _TOLD:
        variables |= estimated(name, _DIMS, [told[name] for told, _ in parts], units, long_name)
    for name, units, long_name in _PLAIN:
        variables |= plain(name, _DIMS, np.array([counts[name] for _, counts in parts]), units, long_name)
    level = ("level", np.arange(len(groups), dtype=np.int32), {"long_name": "number of the level", "units": "1"})
    kept = {name: measured.attrs[name] for name in ("measurement", "cell", "rows", "cols", "saturated")}
    return xr.Dataset(variables, {"level": level}, kept)


_TOLD = (
    ("error_mean", "S", "mean of reached minus target"),
    ("error_median", "S", "median of reached minus target"),
    ("error_sd", "S", "standard deviation of reached minus target"),
    ("error_spread", "S", "robust spread of reached minus target"),
    ("beyond_spread", "1", "share of cells beyond 3 robust spreads from the median"),
    ("beyond_window", "1", "share of cells that last read outside their window"),
    ("in_window", "1", "share of targeted cells that ended in window"),
    ("pulses_mean", "1", "mean of the SET and RESET pulses a cell"),
    ("pulses_median", "1", "median of the SET and RESET pulses a cell"),
    ("pulses_p99", "1", "99 % quantile of the SET and RESET pulses a cell"),
)
_PLAIN = (
    ("target", "S", "mean target"),
    ("target_lowest", "S", "lowest target"),
    ("target_highest", "S", "highest target"),
    ("cells", "1", "targeted cells"),
    ("n", "1", "cells with a reading"),
)


def _groups(
    target: NDArray[np.float64], bins: int | None, edges: Sequence[float | str] | None
) -> list[NDArray[np.intp]]:
    """Flat places of the cells of each level."""
    if bins is not None and edges is not None:
        raise UsageError("levels are by `bins` or by `edges`, not by both")
    if edges is not None:
        border = np.array(quantities("edges", edges, "S"))
        if len(border) < 2 or not (np.diff(border) > 0).all():
            raise UsageError("the edges of levels are two or more conductances, increasing")
        group = np.searchsorted(border, target, side="right") - 1
        group[target == border[-1]] = len(border) - 2
        return [np.flatnonzero(group == each) for each in range(len(border) - 1)]
    if bins is None:
        return [cells for _, cells in by_level(target)]
    if bins < 1:
        raise UsageError(f"{bins} bins hold no cells")
    rank = np.searchsorted(np.sort(target), target)  # cells of one target stay together
    return [cells for each in range(bins) if len(cells := np.flatnonzero(rank * bins // len(target) == each))]


def _of_level(
    measured: xr.Dataset, target: NDArray[np.float64], width: NDArray[np.float64] | None, cells: NDArray[np.intp]
) -> tuple[dict[str, Estimate], dict[str, float]]:
    error = measured["reached"].values[cells].astype(np.float64) - target[cells]
    known = np.isfinite(error)
    pulses, success = measured["pulses"].values[cells], measured["success"].values[cells]
    some = len(cells) > 0
    counts = {
        "target": float(target[cells].mean()) if some else np.nan,
        "target_lowest": float(target[cells].min()) if some else np.nan,
        "target_highest": float(target[cells].max()) if some else np.nan,
        "cells": len(cells),
        "n": int(known.sum()),
    }
    told = {
        "error_mean": estimators.mean(error),
        "error_median": estimators.median(error),
        "error_sd": estimators.standard_deviation(error),
        "error_spread": estimators.robust_spread(error),
        "beyond_spread": _beyond_spread(error[known]),
        "beyond_window": _beyond_window(error[known], None if width is None else width[:, cells[known]]),
        "in_window": estimators.fraction(int(success.sum()), len(success)),
        "pulses_mean": estimators.mean(pulses),
        "pulses_median": estimators.median(pulses),
        "pulses_p99": estimators.quantile(pulses, 0.99),
    }
    return told, counts


def _beyond_spread(error: NDArray[np.float64]) -> Estimate:
    spread = estimators.robust_spread(error).value
    if not spread > 0:
        return Estimate(np.nan, np.nan, np.nan, len(error))
    far = np.abs(error - np.median(error)) > _FAR * spread
    return estimators.fraction(int(np.count_nonzero(far)), len(error))


def _beyond_window(error: NDArray[np.float64], width: NDArray[np.float64] | None) -> Estimate:
    if width is None:
        return Estimate(np.nan, np.nan, np.nan, len(error))
    outside = (error < -width[0]) | (error > width[1])
    return estimators.fraction(int(np.count_nonzero(outside)), len(error))
