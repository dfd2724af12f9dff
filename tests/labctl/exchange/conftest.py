"""Imports of small files, with what comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import labctl
from labctl.analysis.measurements import measurement
from labctl.exchange.importing import import_file
from labctl.exchange.mapping import mapping_from

CHIP = {"chip": "X-1", "technology": "1T1R RRAM"}

Measured = Callable[..., xr.Dataset]


@pytest.fixture
def imported(tmp_path: Path) -> Measured:
    """Imports a file by a mapping (tables as keywords) and measures the run."""

    def load(path: Path, *, select: str = "", **tables: Any) -> xr.Dataset:
        done = import_file(path, mapping_from(CHIP | tables), tmp_path / "runs", select=select)
        with labctl.open_run(done.path) as tree:
            return measurement(tree).load()

    return load


LEVELS = np.array([5e-6, 15e-6, 25e-6, 35e-6])
TIMES = np.array([0, 0.01, 1, 1e4])
CELLS = 4000


@pytest.fixture
def drifting(tmp_path: Path) -> Path:
    """A retention run: at each of four levels cells programmed 0.2 uS wide, which then walk at random in log time.

    Standard deviation of the change 0.5, 1 and 2 uS after 0.01, 1 and 1e4 s, mean -0.1, -0.2 and -1 uS.
    """
    rng = np.random.default_rng(11)
    target = np.repeat(LEVELS, CELLS)
    change = np.zeros((len(target), len(TIMES)))
    before = 0.0
    for column, (spread, mean) in enumerate(((0.5e-6, -0.1e-6), (1e-6, -0.2e-6), (2e-6, -1e-6)), 1):
        step = np.sqrt(spread**2 - before**2)
        change[:, column] = change[:, column - 1] + step * rng.standard_normal(len(target))
        change[:, column] += mean - (0, -0.1e-6, -0.2e-6)[column - 1]
        before = spread
    programmed = target + 0.2e-6 * rng.standard_normal(len(target))
    np.savez(tmp_path / "drifting.npz", g=programmed[:, None] + change, target=target)
    tables = {
        "measurement": "retention",
        "conductance": {"at": "g", "unit": "S"},
        "time": {"values": TIMES.tolist(), "unit": "s"},
        "target": {"at": "target", "unit": "S"},
    }
    return import_file(tmp_path / "drifting.npz", mapping_from(CHIP | tables), tmp_path / "runs").path


@pytest.fixture
def ramps(tmp_path: Path) -> Path:
    """A pulse-response run: SET steps 0.4 uS, RESET steps -0.3 uS, each 0.1 uS wide, between 10 and 50 uS."""
    rng = np.random.default_rng(12)
    up = 10e-6 + np.cumsum(rng.normal(0.4e-6, 0.1e-6, (40, 101)), axis=1)
    down = 50e-6 + np.cumsum(rng.normal(-0.3e-6, 0.1e-6, (40, 131)), axis=1)
    np.savez(tmp_path / "ramps.npz", up=up, down=down)
    tables = {"measurement": "pulse-response", "set": {"at": "up", "unit": "S"}, "reset": {"at": "down", "unit": "S"}}
    return import_file(tmp_path / "ramps.npz", mapping_from(CHIP | tables), tmp_path / "runs").path


CHIP_FILE = """
[chip]
kind = "1T1R RRAM"
base = "rram_40nm"
serial = "T-9 twin"
[relaxation_times]
value = [1.0, 100.0]
unit = "s"
source = "[calibrated] a run"
[relaxation_levels]
value = [10e-6, 30e-6]
unit = "S"
source = "[calibrated] a run"
[relaxation_probabilities]
value = [0.02275013194817921, 0.5, 0.9772498680518208]
unit = "1"
source = "[calibrated] a run"
[relaxation_quantiles]
value = [[[-2e-6, 0, 2e-6], [-1e-6, 0, 1e-6]], [[-4e-6, -1e-6, 2e-6], [-2e-6, 0, 2e-6]]]
unit = "S"
source = "[calibrated] a run"
[relaxation_memory]
value = [0.0, 0.5]
unit = "1"
source = "[calibrated] a run"
"""


@pytest.fixture
def chip_file(tmp_path: Path) -> Path:
    """Innovations at 10 and 30 uS: N(0, 1), N(0, 0.5) uS after 1 s, N(-1, 1.5), N(0, 1) uS to 100 s; memory 0.5."""
    path = tmp_path / "chip.toml"
    path.write_text(CHIP_FILE, encoding="utf-8")
    return path
