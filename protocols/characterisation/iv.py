"""Current against read voltage, well below what switches a cell: every chosen cell read at every voltage."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np

from labctl.array import Capability, Geometry, MemoryArray, Readout, Scale
from labctl.protocols import forming
from labctl.protocols.characterisation.cells import chosen
from labctl.protocols.characterisation.formed import FormedChoice, formed_cells, with_forming
from labctl.steps import Cost, Procedure, Step, Steps, Variable
from labctl.units import Volt


class IvSettings(FormedChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """read_voltages: increasing, V."""

    cells: int | Literal["all"] = 1024
    read_voltages: tuple[Volt, ...] = tuple(Volt(step / 20) for step in range(1, 11))

    def __post_init__(self) -> None:
        volts = self.read_voltages
        if not volts or not volts[0] > 0 or any(after <= before for before, after in pairwise(volts)):
            raise ValueError("read_voltages must be one or more voltages above 0 V that increase")


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: IvSettings) -> Cost:  # noqa: ARG001
    reads = len(chosen(settings, geometry)) * (1 + len(settings.read_voltages))
    measuring = Cost(0, reads, {}, {}, {}, read_voltages=settings.read_voltages)
    return with_forming(measuring, geometry, dac, settings)


def _steps(array: MemoryArray, settings: IvSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    cells = yield from formed_cells(array, settings, chosen(settings, array.geometry))
    usual = array.read(cells)
    conductance = np.full(array.geometry.cells, np.nan, np.float32)
    conductance[cells] = usual.conductance[0]
    yield Step("usual_read", {}, {"conductance": conductance.reshape(array.geometry.rows, array.geometry.cols)})
    curves: list[np.ndarray] = []
    saturated = 0
    for count, volts in enumerate(settings.read_voltages, 1):
        readout = array.read(cells, voltage=volts)
        curves.append(_within_range(readout))
        saturated += int(np.count_nonzero(readout.saturated))
        yield Step("read", {"read_voltage": volts}, progress=(count, len(settings.read_voltages)))
    return _summary(_within_range(usual), curves, saturated)


def _within_range(readout: Readout) -> np.ndarray:
    """(n,) S, NaN where the converter was at its top."""
    return np.where(readout.saturated[0], np.float32("nan"), readout.conductance[0])


def _summary(usual: np.ndarray, curves: list[np.ndarray], saturated: int) -> dict[str, Any]:
    """The ratio is of conductances at the highest and the lowest voltage: 1 for cells that obey Ohm's law."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = curves[-1] / curves[0]
    return {
        "cells": len(usual),
        "voltages": len(curves),
        "saturated": saturated,
        "conductance_median_siemens": _median(usual),
        "highest_over_lowest_median": _median(ratio),
    }


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


iv = Procedure(
    name="iv",
    title="Current against read voltage",
    settings=IvSettings,
    phases=(*forming.PHASES, "usual_read", "read"),
    variables=(
        *forming.VARIABLES,
        Variable("read_voltage", "read voltage of this step", unit="V"),
        Variable("conductance", "conductance at the array's own read voltage", ("row", "col"), unit="S"),
    ),
    needs=Capability.READ | Capability.READ_VOLTAGE,
    steps=_steps,
    plan=_plan,
    measurement="iv",
)
