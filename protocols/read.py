"""Read the array or a part of it, a number of times over: mean and spread per cell."""

from __future__ import annotations

from typing import Any

import numpy as np

from labctl.array import Capability, Cells, Geometry, MemoryArray, Scale
from labctl.protocols.characterisation.cells import CellChoice, chosen
from labctl.protocols.moments import RunningMoments
from labctl.steps import Cost, Procedure, Step, Steps, Variable
from labctl.units import Siemens


class ReadSettings(CellChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """repeats: how often each cell is read. pristine_below: cells under it count as never formed."""

    repeats: int = 1
    pristine_below: Siemens = Siemens(0.5e-6)

    def __post_init__(self) -> None:
        if not 1 <= self.repeats <= 1_000_000:
            raise ValueError(f"repeats must be 1 to 1000000, not {self.repeats}")


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: ReadSettings) -> Cost:  # noqa: ARG001
    return Cost(0, len(chosen(settings, geometry)) * settings.repeats, {}, {}, {})


def _steps(array: MemoryArray, settings: ReadSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    """One step a repeat, so that memory does not grow with their number."""
    cells = chosen(settings, array.geometry)
    moments = RunningMoments(len(cells))
    saturated = np.zeros(len(cells), np.uint32)
    for count in range(1, settings.repeats + 1):
        readout = array.read(cells if len(cells) < array.geometry.cells else None)
        moments.add(readout.conductance)
        saturated += readout.saturated[0]
        last = count == settings.repeats
        maps = _maps(array.geometry, cells, moments, saturated) if last else {}
        values = {"mean_conductance": float(moments.mean.mean()), "reads": len(cells)}
        yield Step("read", values, maps, (count, settings.repeats))
    return _summary(moments.mean, saturated, settings)


def _maps(geometry: Geometry, cells: Cells, moments: RunningMoments, saturated: np.ndarray) -> dict[str, np.ndarray]:
    """Cells that were not read have NaN, and the largest count, which stands for none."""
    quantities = {"conductance": moments.mean, "conductance_spread": moments.spread, "saturated_reads": saturated}
    maps = {name: np.full(geometry.cells, np.nan, np.float32) for name in quantities}
    maps["saturated_reads"] = np.full(geometry.cells, np.iinfo(np.uint32).max, np.uint32)
    for name, values in quantities.items():
        maps[name][cells] = values
    return {name: values.reshape(geometry.rows, geometry.cols) for name, values in maps.items()}


def _summary(mean: np.ndarray, saturated: np.ndarray, settings: ReadSettings) -> dict[str, Any]:
    """Quantiles are of formed cells that were read within the converter's range."""
    pristine = mean < settings.pristine_below
    known = mean[~pristine & (saturated == 0)]
    quantiles = np.quantile(known, [0.05, 0.5, 0.95]) if len(known) else [float("nan")] * 3
    return {
        "cells": len(mean),
        "repeats": settings.repeats,
        "pristine": int(np.count_nonzero(pristine)),
        "saturated": int(np.count_nonzero(saturated)),
        "conductance_p5_siemens": float(quantiles[0]),
        "conductance_median_siemens": float(quantiles[1]),
        "conductance_p95_siemens": float(quantiles[2]),
    }


read = Procedure(
    name="read",
    title="Read the array",
    settings=ReadSettings,
    phases=("read",),
    variables=(
        Variable("mean_conductance", "mean over cells of the running mean conductance", unit="S"),
        Variable("reads", "cells read in this step", dtype="u4"),
        Variable("conductance", "mean conductance of the cell", ("row", "col"), unit="S"),
        Variable("conductance_spread", "standard deviation over repeats", ("row", "col"), unit="S"),
        Variable("saturated_reads", "reads at the top of the converter", ("row", "col"), "u4"),
    ),
    needs=Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="map",
    retries=("never_formed", "stuck_low", "stuck_high", "worn", "dead_line"),  # a map is to show them
)
