"""Whether where a cell lies says something of it: rows, columns, gradients, neighbours."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.measurements import a_run_of, measurement
from labctl.analysis.measurements.recording import Recording
from labctl.analysis.studies.labelled import Variables, estimated, plain
from labctl.analysis.studies.many import Runs, of_runs
from labctl.errors import RecordingError, UsageError

_FAR = 5.0
"""Robust spreads from the median of what rows and columns leave, beyond which a cell is an outlier."""

Map: TypeAlias = "xr.DataArray | NDArray[np.floating]"


def spatial(run_or_map: Runs | Map, *, quantity: str = "", outliers: float | None = _FAR) -> xr.Dataset:
    """What rows and columns have in common, gradients across the array, and how alike near cells are, of a map.

    run_or_map: runs, or a map (row, col) itself; cells that are NaN are left out. quantity: a map of the run (`error`,
    `reached`, `forming_voltage`, ...); default `error` of a run that programmed, else the `conductance` it measured.
    outliers: cells further than so many robust spreads from what their row and column let expect are left out and
    counted, as stuck cells would hide all else; None keeps them.

    In the map's units, with 95 % intervals (NAME_low, NAME_high): row_effect (row) and column_effect (col), medians
    about the array's (median polish); row_gradient and column_gradient, change from each row (column) to the next. Of
    the variance: row_share, column_share and rest_share, which add up to 1. And `autocorrelation` (of, distance):
    Moran's I of pairs of cells up to that distance, in cells, and further than the one before; the first one is of
    neighbours along rows and columns. of: `map`, or `rest` without the means of rows and columns. It has no interval
    but one of what chance does: autocorrelation_null_low to autocorrelation_null_high hold 95 % of values of cells that
    have nothing to do with one another. `pairs` (distance): of cells. How all of that is estimated:
    `labctl.analysis.estimators.median_polish`, `slope_of_pairs`, `variance_shares`, `correlogram`.

    Raises UsageError for what is no map, RecordingError for a run that has none.
    """
    if isinstance(run_or_map, np.ndarray):
        return _of_map(xr.DataArray(run_or_map, dims=("row", "col")[: run_or_map.ndim] or ()), outliers)
    if isinstance(run_or_map, xr.DataArray):
        return _of_map(run_or_map, outliers)
    return _of_runs(run_or_map, quantity, outliers)


@of_runs
def _of_runs(run: xr.DataTree, quantity: str, outliers: float | None) -> xr.Dataset:
    return _of_map(map_of(run, quantity), outliers)


def map_of(run: xr.DataTree, quantity: str = "") -> xr.DataArray:
    """(row, col) the map `quantity` of a run; by default the error of programming, else the conductance measured."""
    if not quantity and run.attrs.get("measurement") in ("programming", "step-size"):
        measured = measurement(run)
        return _spread_out(measured, (measured["reached"] - measured["target"]).values, "error")
    if not quantity:
        measured = measurement(run)
        found = measured.get("conductance")
        if found is not None and found.dims == ("row", "col"):
            return found
        if found is not None and found.dims == ("cell",):
            return _spread_out(measured, found.values, "conductance")
        raise RecordingError(f"{a_run_of(measured.attrs['measurement'])} measures no map of its own: name a `quantity`")
    recording = Recording(run)
    told = run.children["maps"].get(quantity)
    values = recording.written_map(quantity).reshape(recording.shape)
    units = {} if told is None else {name: told.attrs[name] for name in ("units",) if name in told.attrs}
    return xr.DataArray(values, dims=("row", "col"), name=quantity, attrs=units)


def _spread_out(measured: xr.Dataset, values: NDArray[np.floating], name: str) -> xr.DataArray:
    table = np.full(int(measured.attrs["rows"]) * int(measured.attrs["cols"]), np.nan)
    table[measured["cell"].values] = values
    shape = (int(measured.attrs["rows"]), int(measured.attrs["cols"]))
    return xr.DataArray(table.reshape(shape), dims=("row", "col"), name=name, attrs={"units": "S"})


def _of_map(given: xr.DataArray, outliers: float | None) -> xr.Dataset:
    if given.ndim != 2:
        raise UsageError(f"a map has rows and columns, not the dimensions {given.dims}")
    values = given.values.astype(np.float64)
    if np.isfinite(values).sum() < 2:
        raise RecordingError("a map with less than two known cells says nothing of rows and columns")
    units, name = str(given.attrs.get("units", "1")), str(given.name or "value")
    fit = estimators.median_polish(values)
    left_out = np.zeros(values.shape, bool)
    if outliers is not None:
        spread = estimators.robust_spread(fit.rest).value
        left_out = np.abs(fit.rest - np.nanmedian(fit.rest)) > outliers * spread if spread > 0 else left_out
    kept = np.where(left_out, np.nan, values)
    told: Variables = {}
    tables = (("row", "row", fit.row, fit.rest), ("column", "col", fit.column, fit.rest.T))
    for line, dim, effect, rest in tables:
        effects = [estimators.median(own + cells) for own, cells in zip(effect, rest, strict=True)]
        told |= estimated(
            f"{line}_effect", (dim,), effects, units, f"median of a {line} about the array's, of the {name}"
        )
        gradient = estimators.slope_of_pairs(np.arange(len(effect)), effect)
        told |= estimated(
            f"{line}_gradient", (), gradient, units, f"change from each {line} to the next, of the {name}"
        )
    shares = estimators.variance_shares(kept)
    for part in ("row", "column", "rest"):
        of = "neither rows nor columns" if part == "rest" else f"{part}s"
        told |= estimated(f"{part}_share", (), getattr(shares, part), "1", f"share of the variance that is of {of}")
    told |= plain("cells", (), np.int64(np.isfinite(kept).sum()), "1", "cells known and no outliers")
    told |= plain("outliers", (), np.int64(left_out.sum()), "1", "cells left out as outliers")
    found = xr.Dataset(told, {"row": np.arange(values.shape[0]), "col": np.arange(values.shape[1])})
    return found.merge(_correlograms(kept)).assign_attrs(quantity=name)


def _correlograms(values: NDArray[np.float64]) -> xr.Dataset:
    rest = estimators.mean_polish(values).rest
    both = (estimators.correlogram(values), estimators.correlogram(rest, without_lines=True))
    told: Variables = {}
    for name, part, long_name in (
        ("autocorrelation", "value", "Moran's I of cells up to this distance"),
        ("autocorrelation_null_low", "null_low", "lower end of where Moran's I of independent cells is"),
        ("autocorrelation_null_high", "null_high", "upper end of where Moran's I of independent cells is"),
    ):
        told |= plain(name, ("of", "distance"), np.stack([getattr(each, part) for each in both]), "1", long_name)
    told |= plain("pairs", ("distance",), both[0].pairs, "1", "pairs of cells")
    distance = ("distance", both[0].distance, {"long_name": "largest distance of the pairs, in cells", "units": "1"})
    return xr.Dataset(told, {"of": ["map", "rest"], "distance": distance})
