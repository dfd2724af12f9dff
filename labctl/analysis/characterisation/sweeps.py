"""How far cells are from ohmic, and the current that is there without a voltage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic

REFERENCE_VOLTAGE = 0.2
"""V near which the conductance is told: the read voltage of most boards."""

_THIRDS = 3
_FEW = 30


@dataclass(frozen=True, slots=True)
class CurrentFit:
    """I = offset + conductance V (1 + nonlinearity V^2), (cells,) each; NaN where a cell has too few readings.

    offset: A. conductance: S at small voltage. nonlinearity: 1/V^2. residual: A, root mean square.
    """

    offset: NDArray[np.float64]
    conductance: NDArray[np.float64]
    nonlinearity: NDArray[np.float64]
    residual: NDArray[np.float64]


def fit_currents(voltage: ArrayLike, current: ArrayLike) -> CurrentFit:
    """Least squares of each cell's `current` (cells, voltages) A at `voltage` (voltages,) V; NaN readings left out.

    The odd cubic is the first term of a sinh, as of Poole-Frenkel or trap-assisted conduction at small voltages
    (Ielmini, Semicond. Sci. Technol. 31 (2016) 063002, section 4); the offset is the bench's.
    """
    volts, amperes = np.asarray(voltage, np.float64), np.asarray(current, np.float64)
    known = np.isfinite(amperes)
    scale = np.abs(volts).max() or 1.0
    terms = np.stack([np.ones_like(volts), volts / scale, (volts / scale) ** 3], axis=1)
    matrix = np.einsum("cv,vi,vj->cij", known.astype(np.float64), terms, terms)
    right = np.where(known, amperes, 0.0) @ terms
    solvable = (known.sum(axis=1) > terms.shape[1]) & (np.linalg.cond(matrix) < 1e12)
    found = np.full((len(amperes), 3), np.nan)
    found[solvable] = np.linalg.solve(matrix[solvable], right[solvable][..., None])[..., 0]
    residual = np.where(known, amperes - found @ terms.T, 0.0)
    free = np.maximum(known.sum(axis=1) - terms.shape[1], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        curvature = found[:, 2] / found[:, 1] / scale**2
    return CurrentFit(found[:, 0], found[:, 1] / scale, curvature, np.sqrt(np.sum(residual**2, axis=1) / free))


def statistics(measured: xr.Dataset) -> list[Statistic]:
    voltage = measured["voltage"].values
    reference = int(np.argmin(np.abs(voltage - REFERENCE_VOLTAGE)))
    at = quantity(float(voltage[reference]), "V")
    conductance = measured["conductance"].values[:, reference]
    found = [
        statistic("conductance_median", "S", estimators.median(conductance), voltage=at),
        statistic("conductance_spread", "S", estimators.robust_spread(conductance), "robust, of cells", voltage=at),
        plain("read_voltages", "1", len(voltage), len(voltage)),
        plain("saturated_readings", "1", measured.attrs["saturated"], measured["conductance"].size),
    ]
    if len(voltage) < 4:
        return found
    fit = fit_currents(voltage, measured["current"].values)
    model = "I = I0 + G V (1 + a V^2)"
    found += [
        statistic("nonlinearity_median", "1/V2", estimators.median(fit.nonlinearity), f"a of {model}"),
        statistic("nonlinearity_spread", "1/V2", estimators.robust_spread(fit.nonlinearity), "robust, of cells"),
        statistic("offset_current_median", "A", estimators.median(fit.offset), f"I0 of {model}"),
        statistic("offset_current_spread", "A", estimators.robust_spread(fit.offset), "robust, of cells"),
        statistic("fit_residual_median", "A", estimators.median(fit.residual), "root mean square about the fit"),
    ]
    return found + _by_conductance(fit)


def _by_conductance(fit: CurrentFit) -> list[Statistic]:
    """The nonlinearity of thirds of the cells, by conductance: high ones are mostly closer to ohmic."""
    known = np.flatnonzero(np.isfinite(fit.nonlinearity))
    if len(known) < _FEW:
        return []
    ordered = known[np.argsort(fit.conductance[known])]
    found = []
    for part in np.array_split(ordered, _THIRDS):
        level = quantity(float(np.median(fit.conductance[part])), "S")
        estimate = estimators.median(fit.nonlinearity[part])
        found.append(statistic("nonlinearity_median", "1/V2", estimate, "of a third of the cells", level=level))
    return found
