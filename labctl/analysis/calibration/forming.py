"""Forming: the distribution of breakdown voltages, cells that never form, and what the compliance leaves.

A cell that forms at a voltage of the ramp broke down between the voltage before and this one, and one that never did
above the last, or never at all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.calibration import faults
from labctl.analysis.calibration.parameters import (
    Base,
    Fit,
    Floats,
    Parameter,
    between,
    bootstrap,
    bootstrap_half,
    factor,
    scalar,
    share,
)
from labctl.analysis.calibration.switching import compliance_ratio
from labctl.analysis.calibration.tailed_normal import Intervals, Tailed, fit_tailed, logistic
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr

_FEWEST_FORMED = 30
_BINS = 8  # a standard deviation, of the logarithm of conductance


def fit(dataset: xr.Dataset, base: Base) -> Fit:
    """`breakdown_*`, `unformable_fraction`, `compliance_*` and `thin_*` of a forming measurement.

    `stuck_*_fraction` are not told by one: a shorted cell is never tried, and most cells stuck low count as never
    formed. Raises RecordingError where fewer than 30 cells formed.
    """
    voltage = dataset["forming_voltage"].values.astype(np.float64)
    conductance = dataset["conductance"].values.astype(np.float64)
    gate = dataset["gate"].values.astype(np.float64)
    found = faults.of_forming(voltage, conductance)
    formed = int(np.isfinite(voltage).sum())
    if formed < _FEWEST_FORMED:
        raise RecordingError(f"forming: {formed} of {len(voltage)} cells formed; a fit needs {_FEWEST_FORMED}")
    used = found.usable
    parameters, notes = _breakdown(Intervals.of_ramp(voltage), base)
    compliance, further = _compliance(conductance[used], gate[used], base)
    stuck = f"forming: tells no stuck cell from others: stuck_low_fraction and stuck_high_fraction are {base.name}'s"
    return Fit(parameters | compliance, (found.note("forming"), *notes, stuck, *further))


def _breakdown(cells: Intervals, base: Base) -> tuple[dict[str, Parameter], list[str]]:
    found, total = fit_tailed(cells, base.number("breakdown_early_tail")), cells.total
    source = f"ramp of {len(cells.high)} voltages up to {cells.high[-1]:.4g} V, {total} cells"
    device = math.sqrt(max(found.spread**2 - base.number("breakdown_cycle_spread") ** 2, (0.1 * found.spread) ** 2))
    parameters = {
        "breakdown_voltage": scalar(found.mean, "V", source, total, found.halves[0], f"KS {found.distance:.3f}"),
        "breakdown_device_spread": factor(device, found.halves[1], "V", source, total),
        "unformable_fraction": _unformable(cells, found, total),
    }
    if base.number("unformable_chip_spread"):
        own = "no spread between chips: the fraction is this chip's own"
        parameters["unformable_chip_spread"] = scalar(0.0, "1", own, total)
    tail, notes = _tail(found, "breakdown_early_fraction", "breakdown_early_tail", "V", source, total, base)
    return parameters | tail, [f"forming: {each}" for each in notes]


def _unformable(cells: Intervals, found: Tailed, total: int) -> Parameter:
    """Cells that form at no voltage: those that did not, less those of the ramp's end."""
    source = f"{cells.never} of {total} cells did not form"
    if not cells.never:
        return share(0, total, source)
    return _probability(found.never, found.halves[2], source, total)


def _tail(
    found: Tailed, fraction: str, length: str, unit: str, source: str, cells: int, base: Base
) -> tuple[dict[str, Parameter], list[str]]:
    """The two parameters of a tail to lower values, and sentences on what is not known of it."""
    if not found.early:
        most = 3 / max(cells, 1)
        return {fraction: between(0.0, (0.0, most), "1", f"no tail; {source}", cells)}, []
    parameters = {fraction: _probability(found.early, found.halves[3], source, cells)}
    if math.isfinite(found.halves[4]):
        parameters[length] = factor(found.tail, found.halves[4], unit, source, cells)
        return parameters, []
    return parameters, [f"too few cells in the tail to tell how long it is: {length} is that of {base.name}"]


def _probability(value: float, half: float, source: str, cells: int) -> Parameter:
    """A share whose logit is known to +- half."""
    if not math.isfinite(half):
        return share(round(value * cells), cells, source)
    logit = math.log(value / (1 - value))
    return between(value, (logistic(logit - half), logistic(logit + half)), "1", source, cells)


# -- what the compliance leaves -----------------------------------------------------------------------------------


def _compliance(conductance: Floats, gate: Floats, base: Base) -> tuple[dict[str, Parameter], list[str]]:
    """At the base's reference gate. Spread of cell and cycle together: one forming cannot tell them apart."""
    known = np.isfinite(conductance) & np.isfinite(gate) & (conductance > 0)
    logs, gate = np.log(conductance[known]), gate[known]
    if len(logs) < _FEWEST_FORMED:
        return {}, ["forming: too few readings of formed cells for the compliance"]
    exponent = base.number("gate_exponent")
    drive = np.array([math.log(compliance_ratio(base, each)) / exponent for each in gate])
    several = len(np.unique(np.round(gate, 4))) > 1

    def law(cells: NDArray[np.intp]) -> Floats:
        return _law(logs[cells], drive[cells], None if several else exponent)

    middle = law(np.arange(len(logs)))
    half = bootstrap_half(bootstrap(law, len(logs), 100))
    residual = logs - middle[0] - middle[1] * drive
    found = fit_tailed(Intervals.of_values(residual, float(np.std(residual)) / _BINS), base.number("thin_tail"))
    spread = math.sqrt(max(found.spread**2 - base.number("read_noise") ** 2, (0.1 * found.spread) ** 2))
    source = (
        f"conductance after forming at a gate of {', '.join(f'{each:g}' for each in np.unique(np.round(gate, 4)))} V"
    )
    if not several:
        source += f", brought to the reference gate with the exponent {exponent:g} of {base.name}"
    goodness = f"KS {found.distance:.3f}"
    middle[0] += found.mean
    parameters = {
        "compliance_conductance": factor(math.exp(middle[0]), half[0], "S", source, len(logs), goodness),
        **_split(spread, found.halves[1], base, len(logs)),
    }
    if several:
        parameters["gate_exponent"] = scalar(middle[1], "1", source, len(logs), half[1])
    if "thin_fraction" not in base.values:
        return parameters, []
    tail, notes = _tail(found, "thin_fraction", "thin_tail", "1", "tail of the same", len(logs), base)
    return parameters | tail, [f"forming: {each}" for each in notes]


def _law(logs: Floats, drive: Floats, exponent: float | None) -> Floats:
    """ln of the conductance at the reference gate, and the exponent; of medians, gate by gate."""
    if exponent is not None:
        return np.array([np.median(logs - exponent * drive), exponent])
    levels = np.unique(drive)
    middles = np.array([np.median(logs[drive == each]) for each in levels])
    weights = np.sqrt([np.count_nonzero(drive == each) for each in levels])
    slope, start = np.polyfit(levels, middles, 1, w=weights)
    return np.array([start, slope])


def _split(spread: float, half: float, base: Base, cells: int) -> dict[str, Parameter]:
    """The spread of formed cells, in the base's proportion of device to cycle."""
    names = ("compliance_device_spread", "compliance_cycle_spread")
    parts = [base.number(name) for name in names]
    whole = math.hypot(*parts) or 1.0
    source = f"spread {spread:.3g} of formed cells, split between cell and cycle as in {base.name}"
    return {
        name: factor(spread * part / whole, half, "1", source, cells, tag="assumed")
        for name, part in zip(names, parts, strict=True)
    }
