"""Runs of programming, pass by pass, of readings that the test makes up; whole, or as a kill leaves them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from measured_runs import OUTCOMES, Writing

from labctl.array import Geometry, Operation
from labctl.steps import Variable

TOLERANCE = 1e-6
_VARIABLES = (
    *(Variable(name, name, ("row", "col"), unit="S") for name in ("target", "reached", "error", "initial")),
    Variable("outcome", "outcome", ("row", "col"), "u1", flags=OUTCOMES),
    Variable("pulses_per_cell", "pulses", ("row", "col"), "u2"),
)


def write_passes(
    path: Path, target: np.ndarray, readings: list[dict[int, float]], *, killed: bool = False, **attributes: Any
) -> Path:
    """A run on one row of cells: they are read (the first of `readings`, all cells), then pulsed pass by pass.

    readings: of each pass, the cells it pulsed and what they then read, S. killed: as it is after the last pass.
    """
    geometry = Geometry(1, len(target), "1T1R RRAM")
    told = {"settings": {"tolerance": TOLERANCE}} | attributes
    live = path.with_name("live.h5") if killed else path
    writing = Writing(live, "programming", geometry, ("initial_read", "program"), _VARIABLES, **told)
    last, pulses = np.array([readings[0][cell] for cell in range(len(target))]), np.zeros(len(target))
    writing.read(np.arange(len(target)), last)
    writing.step("initial_read", target=target)
    for done in readings[1:]:
        cells = np.array(list(done))
        last[cells] = list(done.values())
        pulses[cells] += 1
        writing.pulse(Operation.SET, cells, 1.5, last[cells])
        writing.step("program")
    if killed:
        shutil.copy(live, path)
    else:
        inside = np.abs(last - target) <= TOLERANCE
        outcome = np.where(np.isfinite(target), np.where(inside, 1, 2), 0)
        writing.step(
            "program", target=target, reached=last, error=last - target, outcome=outcome, pulses_per_cell=pulses
        )
    writing.close()
    if killed:
        live.unlink()
    return path
