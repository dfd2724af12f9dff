"""A small run to write, and one that was killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import RunWriter
from labctl.steps import Variable

GEOMETRY = Geometry(8, 16, "1T1R RRAM")
DAC = Scale(1e-3, 0.0, 12, "V")
ADC = Scale(1e-7, 0.0, 12, "S")
START = 1_700_000_000.0

StartRun = Callable[..., RunWriter]


@pytest.fixture
def start_run(tmp_path: Path) -> StartRun:
    """Starts a run in `tmp_path`; keywords replace what `RunWriter.create` is given."""

    def start(name: str = "run.h5", **replaced: Any) -> RunWriter:
        given: dict[str, Any] = {
            "protocol": "write_verify",
            "title": "Program and verify",
            "phases": ("form", "program"),
            "variables": (
                Variable("active", "cells still active", dtype="u4"),
                Variable("error", "largest error", unit="S"),
                Variable("target", "target conductance", ("row", "col"), unit="S"),
            ),
            "geometry": GEOMETRY,
            "dac": DAC,
            "adc": ADC,
            "started": START,
            "provenance": {
                "chip_serial": "C7",
                "operator": "Jürgen",
                "snapshot": {"board": {"idn": "A,B,C,D"}},
            },
        }
        return RunWriter.create(tmp_path / name, **(given | replaced))

    return start


@pytest.fixture
def exchange() -> Callable[..., tuple[PulseBatch, Readout]]:
    """Builds a batch on the first `cells` cells and the readout that verifies it."""

    def build(cells: int = 5, time: float = START) -> tuple[PulseBatch, Readout]:
        where = np.arange(cells, dtype=np.uint32)
        amplitude = (1000 + where).astype(np.uint16)
        codes = (2000 + where).astype(np.uint16)
        return (
            PulseBatch(Operation.SET, where, amplitude, 1e-7, 1.2),
            Readout(where, codes[None], ADC, time, 1e-6),
        )

    return build


_KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import RunWriter
from labctl.steps import Step, Variable

adc = Scale(1e-7, 0.0, 12, "S")
writer = RunWriter.create(
    Path(sys.argv[1]), protocol="write_verify", title="Killed", phases=("program",),
    variables=(Variable("target", "target", ("row", "col"), unit="S"),),
    geometry=Geometry(8, 16, "1T1R RRAM"), dac=Scale(1e-3, 0.0, 12, "V"), adc=adc, started=1.7e9,
    provenance={"chip_serial": "C7", "snapshot": {"idn": "A,B,C,D"}},
)
cells = np.arange(5, dtype=np.uint32)
batch = PulseBatch(Operation.SET, cells, (1000 + cells).astype(np.uint16), 1e-7, 1.2)
writer.intend([batch])
writer.complete([Readout(cells, (2000 + cells).astype(np.uint16)[None], adc, 1.7e9, 1e-6)])
writer.step(Step("program", maps={"target": np.ones((8, 16), np.float32)}), time=1.7e9 + 1)
writer.intend([batch, batch], time=1.7e9 + 2)
os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
"""


@pytest.fixture
def killed_run(tmp_path: Path) -> Path:
    """A run killed after one exchange of 5 cells, one step, and the intent of two more batches."""
    path = tmp_path / "killed.h5"
    subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    return path
