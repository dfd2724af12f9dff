"""Current against read voltage: how much a cell's conductance grows with the voltage, and how that fades with G.

    I = I_0 + G V (1 + a V^2) / (1 + 0.04 a),  a = nonlinearity / (1 + G / nonlinearity_level),  G at 0.2 V

Both parameters are fitted to all cells at once, each with a G of its own: a bend fitted cell by cell would share its
error with the cell's G and tilt the line through them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.calibration.parameters import (
    Z95,
    Base,
    Fit,
    Floats,
    Parameter,
    factor,
    robust_spread,
    scalar,
)
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr

_FEWEST_CELLS, _FEWEST_VOLTAGES = 30, 3
_OFFSET_VOLTAGES = 6  # from so many on, a current at 0 V can be told from a bend
_REFERENCE = 0.2  # V, at which conductances are meant
_BELIEVED = 6.0  # robust standard deviations
_ROUNDS = 40
_TOLD = 0.5  # of ln G between cells, its standard deviation: with less the two parameters cannot be told apart


def fit(dataset: xr.Dataset, base: Base) -> Fit:
    """`nonlinearity` and `nonlinearity_level`. Raises RecordingError for fewer than 30 cells or 3 voltages."""
    current = dataset["current"].transpose("cell", "voltage").values.astype(np.float64)
    volts = dataset["voltage"].values.astype(np.float64)
    current, volts = current[:, volts > 0], volts[volts > 0]
    whole = np.asarray(np.isfinite(current).all(axis=1))
    if len(volts) < _FEWEST_VOLTAGES or whole.sum() < _FEWEST_CELLS:
        raise RecordingError(
            f"iv: {int(whole.sum())} of {len(whole)} cells read at every one of {len(volts)} voltages; a fit needs "
            f"{_FEWEST_CELLS} cells and {_FEWEST_VOLTAGES} voltages"
        )
    used = current[whole]
    offset, error = _offset(used, volts)
    conducts = (used > offset + 3 * error).all(axis=1)
    used = used[conducts]
    follows = _follows((used - offset) / volts)
    used = used[follows]
    note = (
        f"iv: {len(used)} of {len(whole)} cells used; {int((~whole).sum())} lack readings, "
        f"{int((~conducts).sum())} do not conduct, {int((~follows).sum())} jumped"
    )
    if len(used) < _FEWEST_CELLS:
        raise RecordingError(f"{note}; a fit needs {_FEWEST_CELLS}")
    source = f"current at {len(volts)} read voltages from {volts[0]:g} to {volts[-1]:g} V, offset {offset:.2g} A"
    return Fit(_parameters(used, (offset, error), volts, base, source), (note,))


def _offset(current: Floats, volts: Floats) -> tuple[float, float]:
    """The current at 0 V that the median over cells shows, and its standard error, A.

    0 where it cannot be told from 0, or there are too few voltages to tell it from a bend.
    """
    if len(volts) < _OFFSET_VOLTAGES:
        return 0.0, 0.0
    design = np.stack([np.ones_like(volts), volts, volts**3], axis=1)
    weight = 1 / volts
    starts = np.linalg.lstsq(design * weight[:, None], (current * weight).T, rcond=None)[0][0]
    error = 1.25 * robust_spread(starts) / math.sqrt(len(starts))
    middle = float(np.median(starts))
    return (middle, error) if abs(middle) > 3 * error else (0.0, 0.0)


def _follows(ratio: Floats) -> NDArray[np.bool_]:
    """(cells,) whose readings at the voltages lie about the median course: no jump in between."""
    logs = np.log(ratio)
    residual = logs - np.median(logs, axis=1, keepdims=True)
    residual -= np.median(residual, axis=0)
    worst = np.abs(residual).max(axis=1)
    follows: NDArray[np.bool_] = worst <= _BELIEVED * max(robust_spread(residual), 1e-6) + 0.1
    return follows


def _parameters(
    current: Floats, offset: tuple[float, float], volts: Floats, base: Base, source: str
) -> dict[str, Parameter]:
    ratio = (current - offset[0]) / volts
    conductance = np.exp(np.log(ratio).mean(axis=1))
    usual = base.number("nonlinearity_level")
    wide = float(np.std(np.log(conductance))) >= _TOLD or usual <= 0
    fixed = None if wide else usual
    start = np.array([max(base.number("nonlinearity"), 0.1), math.log(usual or float(np.median(conductance)))])
    point = _law(ratio, volts, start, fixed)
    rng = np.random.default_rng(0)
    rounds = []
    for _ in range(_ROUNDS):
        moved = offset[0] + offset[1] * np.clip(rng.standard_normal(), -2.5, 2.5)
        cells = current[rng.integers(0, len(current), len(current))]
        rounds.append(_law((cells - moved) / volts, volts, point, fixed))
    drawn = np.array(rounds)
    half = Z95 * drawn.std(axis=0, ddof=1)
    misfit = robust_spread(_residual(point, np.log(ratio), volts).ravel())
    goodness = f"robust sd of a current about the fit {misfit:.2%}"
    if not wide:
        source += f"; cells too alike to tell the level, which stays {usual:.3g} S as in {base.name}"
    found = {"nonlinearity": scalar(point[0], "1/V2", source, len(ratio), half[0], goodness)}
    if wide:
        found["nonlinearity_level"] = factor(math.exp(point[1]), half[1], "S", source, len(ratio))
    return found


def _law(ratio: Floats, volts: Floats, start: Floats, level: float | None) -> Floats:
    """nonlinearity and ln of its level (given: kept) by least squares with soft ends."""
    from scipy.optimize import least_squares

    logs = np.log(ratio)
    scale = max(robust_spread(_residual(start, logs, volts).ravel()), 1e-4)
    fixed = None if level is None else math.log(level)

    def misses(point: Floats) -> Floats:
        both = point if fixed is None else np.array([point[0], fixed])
        return _residual(both, logs, volts).ravel() / scale

    first = start if fixed is None else start[:1]
    found = least_squares(misses, first, loss="soft_l1", x_scale=np.array([1.0, 1.0])[: len(first)])
    return found.x if fixed is None else np.array([found.x[0], fixed])


def _residual(point: Floats, logs: Floats, volts: Floats) -> Floats:
    """(cells, voltages) of ln I / V about the law, each cell with the G that suits it best."""
    conductance = np.exp(logs.mean(axis=1))
    for _ in range(3):
        bend = point[0] / (1 + conductance * math.exp(-point[1]))
        course = np.log(np.maximum(1 + np.multiply.outer(bend, volts**2), 0.1))
        course -= np.log(np.maximum(1 + bend * _REFERENCE**2, 0.1))[:, None]
        middle = (logs - course).mean(axis=1)
        conductance = np.exp(middle)
    residual: Floats = logs - course - middle[:, None]
    return residual
