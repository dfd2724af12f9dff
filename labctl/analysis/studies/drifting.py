"""How conductance goes with time: power laws as of PCM, logarithmic relaxation as of RRAM; by cell and by level."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from labctl.analysis import estimators
from labctl.analysis.characterisation.groups import by_level
from labctl.analysis.estimators.lines import Lines
from labctl.analysis.measurements import a_run_of, measurement
from labctl.analysis.studies.arguments import quantity
from labctl.analysis.studies.labelled import Variables, bounded, estimated, plain
from labctl.analysis.studies.many import of_runs
from labctl.errors import RecordingError, UsageError

Model = Literal["power", "log"]


@of_runs
def drift(run: xr.DataTree, *, model: Model | None = None, at: float | str = 1.0) -> xr.Dataset:
    """Fits of a retention run, by cell and by level, with 95 % intervals (NAME_low, NAME_high).

    model `power`: G(t) = G0 (t / at)^-nu, least squares of ln G on ln t, as the structural relaxation of phase-change
    cells is described (Ielmini, Lacaita and Mantegazza, IEEE Trans. Electron Devices 54 (2007) 308). model `log`:
    G(t) = G0 + slope log10(t / at), relaxation by thermally activated steps whose barriers are spread evenly, as of
    filaments (Fantini et al., IEDM 2015, 7.5; Gibbs, Evetts and Leake, J. Mater. Sci. 18 (1983) 278). Default:
    power where the file's kind of cell names PCM, else log. at: s since a cell was programmed (or text, as "1 h"),
    where G0 is told.

    Times are each cell's own, from its last pulse to its reading; the verify reading that ended programming is no part
    of the fit. cell_conductance and cell_rate (cell): G0 in S, and nu or the slope in S a decade, with Student's
    intervals (of two readings there are none; they take the errors of a cell's readings as independent);
    cell_residual, the standard deviation about the fit (of ln G, or in S). By `level` (targets, as of
    `labctl.analysis.levels`): `conductance` and `rate`, medians over cells; rate_spread, robust spread over cells;
    `rate_mean`; `target`; and n, cells fitted.
    """
    measured = measurement(run)
    if measured.attrs["measurement"] != "retention":
        raise RecordingError(
            f"{a_run_of(measured.attrs['measurement'])} is not read again over time: drift needs retention"
        )
    chosen = model or ("power" if "PCM" in str(measured.attrs["cell"]).upper() else "log")
    if chosen not in ("power", "log"):
        raise UsageError(f"`{chosen}` is no model of drift: power, log")
    at = quantity("at", at, "s")
    elapsed = measured["elapsed"].values[:, 1:].astype(np.float64)
    conductance = measured["conductance"].values[:, 1:].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        time = np.where(elapsed > 0, np.log(elapsed / at), np.nan)
        power = chosen == "power"
        fit = estimators.fit_lines(
            time if power else time / np.log(10),
            np.where(conductance > 0, np.log(conductance), np.nan) if power else conductance,
        )
    told = _of_cells(fit, power) | _of_levels(fit, power, measured)
    groups = by_level(_level(measured))
    coords = {"cell": measured["cell"], "level": np.arange(len(groups), dtype=np.int32)}
    return xr.Dataset(told, coords, {"model": chosen, "at": at, "saturated": measured.attrs["saturated"]})


def _of_cells(fit: Lines, power: bool) -> Variables:
    name, units = _rate(power)
    sign = -1 if power else 1
    ends = [fit.level + side * fit.level_half for side in (0, -1, 1)]
    parts = [np.exp(each) for each in ends] if power else ends
    told = bounded("cell_conductance", ("cell",), *parts, units="S", long_name="conductance at the time `at`")
    rates = [sign * fit.slope + side * fit.slope_half for side in (0, -1, 1)]
    told |= bounded("cell_rate", ("cell",), *rates, units=units, long_name=name)
    about = "standard deviation of ln G about the fit" if power else "standard deviation about the fit"
    return told | plain("cell_residual", ("cell",), fit.residual, "1" if power else "S", about)


def _of_levels(fit: Lines, power: bool, measured: xr.Dataset) -> Variables:
    name, units = _rate(power)
    rate = -fit.slope if power else fit.slope
    conductance = np.exp(fit.level) if power else fit.level
    groups = [cells for _, cells in by_level(_level(measured))]
    dims = ("level",)
    told: Variables = {}
    for variable, values, estimate, unit, long_name in (
        ("conductance", conductance, estimators.median, "S", "median over cells of the conductance at the time `at`"),
        ("rate", rate, estimators.median, units, f"median over cells of the {name}"),
        ("rate_mean", rate, estimators.mean, units, f"mean over cells of the {name}"),
        ("rate_spread", rate, estimators.robust_spread, units, f"robust spread over cells of the {name}"),
    ):
        told |= estimated(variable, dims, [estimate(values[cells]) for cells in groups], unit, long_name)
    target = np.array([level for level, _ in by_level(_level(measured))])
    told |= plain(
        "target", dims, target, "S", "mean target of the level; without targets what cells were programmed to"
    )
    return told | plain("n", dims, np.array([np.isfinite(rate[cells]).sum() for cells in groups]), "1", "cells fitted")


def _rate(power: bool) -> tuple[str, str]:
    return ("drift exponent nu", "1") if power else ("change of the conductance a decade of time", "S")


def _level(measured: xr.Dataset) -> np.ndarray:
    """(cells,) the target; of a cell without one what it was programmed to."""
    target = measured["target"].values.astype(np.float64)
    return np.where(np.isfinite(target), target, measured["conductance"].values[:, 0])
