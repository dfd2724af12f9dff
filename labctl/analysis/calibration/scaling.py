"""Bring a technology of other conductances into reach: the base's conductances, scaled as a whole.

A chip made of a base can only be programmed to what the base's compliance allows. Where the runs show levels beyond
that, or far below it, every conductance of the base is multiplied by one factor, so that the chip is the base in other
units; what is fitted afterwards takes its own place.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from labctl.analysis.calibration import faults
from labctl.analysis.calibration.parameters import Base, Fit, Floats, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

WRITE_GATE = 2.2
"""V on the word line of a SET pulse unless a protocol is told otherwise."""

_REACHED = 1.1  # times what the compliance leaves a median cell: so far programming gets most cells
_FULL = 1.05  # levels as high in the scaled range as a technology is usually written to
_SMALL = 0.25  # of the base's range: below, its levels are another world
_SWITCHED = ("endurance", "pulse-response")
_CONDUCTANCES = {
    "compliance_conductance": "S",
    "compliance_limit": "S",
    "floor_conductance": "S",
    "stuck_high_conductance": "S",
    "access_transconductance": "S/V",
    "nonlinearity_level": "S",
    "read_noise_floor": "S",
    "relaxation_levels": "S",
    "relaxation_quantiles": "S",
}
_ONLY_DOWN = {"pristine_conductance": "S"}
"""A pristine cell of larger filaments does not conduct better."""


def needed(datasets: Iterable[xr.Dataset], base: Base) -> tuple[float, float]:
    """The conductance S that cells have to reach and what the base reaches there, of the run that asks for most.

    Of programmed cells nearly the highest (99 %), of cells that were switched the middle of the higher state, at the
    gate of their SET pulses. NaN without any.
    """
    found: list[tuple[float, float]] = []
    for dataset in datasets:
        levels, switched = _levels(dataset), dataset.attrs["measurement"] in _SWITCHED
        if len(levels):
            gate = float(dataset.attrs.get("pulse_gate_set", WRITE_GATE)) if switched else WRITE_GATE
            found.append((float(np.quantile(levels, 0.75 if switched else 0.99)), reach(base, gate)))
    return max(found, key=lambda each: each[0] / max(each[1], 1e-30), default=(math.nan, math.nan))


def lowest_level(datasets: Iterable[xr.Dataset]) -> float:
    """The 2nd percentile of programmed cells, the lowest over runs; NaN without any."""
    levels = [_levels(each) for each in datasets if each.attrs["measurement"] not in _SWITCHED]
    return min((float(np.quantile(each, 0.02)) for each in levels if len(each)), default=math.nan)


def _levels(dataset: xr.Dataset) -> Floats:
    """Conductances that cells were brought to, S: of programmed cells without a fault their targets where known, as a
    cell that was driven beyond its own says nothing of what the technology is written to."""
    kind = dataset.attrs["measurement"]
    if kind == "retention":
        states = dataset["conductance"].transpose("cell", "time").values.astype(np.float64)
        target = dataset["target"].values.astype(np.float64) if "target" in dataset else np.full(len(states), np.nan)
        usable = faults.of_states(states, target).usable
        values = np.where(np.isfinite(target), target, states[:, 0])[usable]
    elif kind in _SWITCHED:
        values = dataset["conductance"].values.ravel()
    else:
        return np.empty(0)
    known: Floats = values[np.isfinite(values)].astype(np.float64)
    return known


def reach(base: Base, gate: float = WRITE_GATE) -> float:
    """The conductance that a SET pulse with that `gate` V, the usual one, leaves, S."""
    threshold = base.number("gate_threshold")
    drive = max(gate - threshold, 0.0) / (base.number("gate_reference") - threshold)
    most = base.number("compliance_conductance") * math.pow(drive, base.number("gate_exponent"))
    return min(most, base.number("compliance_limit"))


def fit(datasets: list[xr.Dataset], base: Base) -> Fit:
    """The base's conductances as `datasets` need them; nothing where the base's own will do."""
    highest, top = needed(datasets, base)
    if not math.isfinite(highest) or top <= 0 or _SMALL * top <= highest <= _REACHED * top:
        return Fit()
    factor = float(f"{highest * _FULL / top:.3g}")
    names = _CONDUCTANCES | (_ONLY_DOWN if factor < 1 else {})
    source = f"{base.name}'s times {factor:g}: the runs show levels up to {highest:.3g} S, where it reaches {top:.3g} S"
    parameters = {
        name: Parameter(np.array(base.values[name], np.float64) * factor, unit, source, 0, tag="assumed")
        for name, unit in names.items()
        if name in base.values and np.size(base.values[name])
    }
    lowest = lowest_level(datasets)
    if factor > 1 and 0 < lowest < base.number("floor_conductance") * factor * 2:
        floor = np.asarray(max(lowest / 2, 1e-3 * base.number("floor_conductance")))
        parameters["floor_conductance"] = Parameter(
            floor,
            "S",
            f"half of the lowest level of the runs, {lowest:.3g} S",
            0,
            tag="assumed",
        )
    return Fit(parameters, (f"conductances scaled by {factor:g}: the runs show levels up to {highest:.3g} S",))
