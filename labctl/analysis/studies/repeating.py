"""Whether the same cells do the same again: correlation between runs, or between repeats within one."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.measurements import a_run_of, measurement
from labctl.analysis.studies.labelled import bounded, plain
from labctl.analysis.studies.many import OF_RUN, Runs, chosen_runs, of_run, opened, path_of
from labctl.errors import RecordingError, UsageError

Method = Literal["pearson", "spearman"]
_METHODS = {"pearson": estimators.correlation, "spearman": estimators.rank_correlation}
_USUAL = {"programming": "pulses", "step-size": "pulses", "forming": "forming_voltage"}


def correlation(runs_or_values: Runs | xr.DataArray, *, quantity: str = "", method: Method = "spearman") -> xr.Dataset:
    """How what each cell did in one run goes together with what it did in another; dimensions `run`, `other`.

    runs_or_values: two runs or more; or values (cell, repeat) of repeats within one, the second dimension having any
    name, which then stands for `run`. quantity: what of a cell, by its name in the run's measurement
    (`labctl.analysis.measurements.measurement`), or `error` (reached minus target); default: pulses of programming,
    the forming voltage of forming, else the conductance. A quantity with several values a cell counts as their median.

    correlation, with its 95 % interval correlation_low, correlation_high: Pearson's, whose interval holds for heavy
    tails (`estimators.correlation`), or Spearman's, of ranks (`estimators.rank_correlation`). n: cells known in both.
    Further coordinates `other_chip_serial`, `other_started`, `other_path`.

    Raises UsageError for less than two runs or an unknown method.
    """
    if method not in _METHODS:
        raise UsageError(f"`{method}` is no method of correlation: {', '.join(_METHODS)}")
    if isinstance(runs_or_values, xr.DataArray):
        if runs_or_values.ndim != 2 or "cell" not in runs_or_values.dims:
            raise UsageError(f"repeats have the dimensions `cell` and one other, not {runs_or_values.dims}")
        table = runs_or_values.transpose("cell", ...)
        return _of_columns(table.values.astype(np.float64), str(table.dims[1]), method, str(table.name or "value"))
    chosen = chosen_runs(runs_or_values)
    if not isinstance(chosen, list) or len(chosen) < 2:
        raise UsageError("a correlation between runs needs two of them")
    columns, coords = [], []
    for each in chosen:
        with opened(each) as tree:
            name, values = _of_cells(tree, quantity)
            columns.append(values)
            coords.append(of_run(tree.attrs, path_of(tree)))
    if len({len(each) for each in columns}) > 1:
        raise UsageError("these runs are of arrays with different numbers of cells")
    found = _of_columns(np.stack(columns, axis=1), "run", method, name)
    told = {name: np.array([each[name] for each in coords]) for name in OF_RUN}
    return found.assign_coords(
        {name: ("run", values) for name, values in told.items()}
        | {f"other_{name}": ("other", values) for name, values in told.items()}
    )


def _of_cells(tree: xr.DataTree, quantity: str) -> tuple[str, NDArray[np.float64]]:
    """The name of the quantity, and its value (all cells,), NaN where there is none."""
    measured = measurement(tree)
    kind = str(measured.attrs["measurement"])
    name = quantity or _USUAL.get(kind, "conductance")
    if name == "error" and "target" in measured and "reached" in measured:
        measured["error"] = measured["reached"] - measured["target"]
    if name not in measured:
        raise RecordingError(f"{a_run_of(kind)} has no `{name}`: {', '.join(str(each) for each in measured)}")
    values = measured[name]
    if "row" in values.dims:
        return name, values.values.astype(np.float64).ravel()
    if "cell" not in values.dims:
        raise RecordingError(f"the `{name}` of {a_run_of(kind)} is not of single cells")
    table = values.transpose("cell", ...).values.astype(np.float64).reshape(values.sizes["cell"], -1)
    found = np.full(int(measured.attrs["rows"]) * int(measured.attrs["cols"]), np.nan)
    found[measured["cell"].values] = estimators.known_median(table)
    return name, found


def _of_columns(table: NDArray[np.float64], dim: str, method: str, name: str) -> xr.Dataset:
    """Of every two columns of (cells, repeats)."""
    repeats = table.shape[1]
    parts = np.full((3, repeats, repeats), np.nan)
    known = np.isfinite(table).astype(np.int64)
    parts[:, np.arange(repeats), np.arange(repeats)] = 1.0
    for one, other in combinations(range(repeats), 2):
        found = _METHODS[method](table[:, one], table[:, other])
        parts[:, one, other] = parts[:, other, one] = found.value, found.low, found.high
    dims = (dim, "other")
    long_name = f"{method.capitalize()}'s correlation over cells of the {name}"
    told = bounded("correlation", dims, *parts, units="1", long_name=long_name)
    told |= plain("n", dims, known.T @ known, "1", "cells known in both")
    return xr.Dataset(told, attrs={"method": method, "quantity": name})
