"""Read the whole array, a number of times over: mean and spread per cell."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from labctl.array import Capability, Geometry, MemoryArray, Scale
from labctl.steps import Cost, Procedure, Step, Steps, Variable
from labctl.units import Siemens


class ReadSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """repeats: how often each cell is read. pristine_below: cells under it count as never formed."""

    repeats: int = 1
    pristine_below: Siemens = Siemens(0.5e-6)

    def __post_init__(self) -> None:
        if not 1 <= self.repeats <= 1_000_000:
            raise ValueError(f"repeats must be 1 to 1000000, not {self.repeats}")


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: ReadSettings) -> Cost:  # noqa: ARG001
    return Cost(0, geometry.cells * settings.repeats, {}, {}, {})


def _steps(array: MemoryArray, settings: ReadSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    """One step a repeat, so that memory does not grow with their number; mean and variance by Welford's update."""
    shape = (array.geometry.rows, array.geometry.cols)
    mean = np.zeros(array.geometry.cells, np.float32)
    squares = np.zeros(array.geometry.cells, np.float32)
    saturated = np.zeros(array.geometry.cells, np.uint32)
    for count in range(1, settings.repeats + 1):
        reading = array.read()
        conductance = reading.conductance[0]
        saturated += reading.saturated[0]
        change = conductance - mean
        mean += change / np.float32(count)
        squares += change * (conductance - mean)
        last = count == settings.repeats
        maps = _maps(mean, squares, saturated, count, shape) if last else {}
        values = {"mean_conductance": float(mean.mean(dtype=np.float64)), "reads": array.geometry.cells}
        yield Step("read", values, maps, (count, settings.repeats))
    return _summary(mean, saturated, settings)


def _maps(
    mean: np.ndarray, squares: np.ndarray, saturated: np.ndarray, count: int, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    spread = np.sqrt(squares / (count - 1)) if count > 1 else np.full_like(mean, np.nan)
    return {
        "conductance": mean.reshape(shape),
        "conductance_spread": spread.reshape(shape),
        "saturated_reads": saturated.reshape(shape),
    }


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
)
