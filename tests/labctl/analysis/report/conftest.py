"""Runs of every kind of measurement, as real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from measured_runs import (
    write_endurance,
    write_forming,
    write_iv,
    write_map,
    write_programming,
    write_pulse_response,
    write_read_noise,
    write_retention,
    write_step_size,
)
from pages import ReadPage

from labctl.analysis.report import render, run_page

CELLS = 120


def _writers() -> dict[str, Callable[[Path], Path]]:
    rng = np.random.default_rng(4)
    levels = np.repeat([10e-6, 30e-6], CELLS // 2)
    voltage = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    ramp = np.linspace(5e-6, 40e-6, 11)
    trains = np.stack([ramp, ramp[::-1]]) + rng.normal(0, 2e-7, (6, 2, 2, 11))
    cycles = 10 ** rng.normal([[-4.4], [-6.0]], 0.05, (20, 2, 40))
    drift = levels[:, None] + np.cumsum(rng.normal(0, 3e-7, (CELLS, 4)), axis=1)
    noise = 2e-5 * (1 + rng.normal(0, 0.01, (8, 2048)))
    pulses, success = rng.integers(1, 99, CELLS), rng.random(CELLS) < 0.95
    reached = levels + rng.normal(0, 3e-7, CELLS)
    volts = np.where(rng.random(CELLS) < 0.97, rng.normal(3.3, 0.1, CELLS), np.nan)
    grown = 2e-5 + rng.normal(0, 1e-6, (3, 12, 14))
    return {
        "programming": lambda path: write_programming(path, levels, reached, pulses, success),
        "step-size": lambda path: write_step_size(
            path, np.repeat([0.01, 0.1], CELLS // 2), levels, reached, pulses, success
        ),
        "forming": lambda path: write_forming(path, volts, levels, np.tile([1.2, 1.5], CELLS // 2)),
        "map": lambda path: write_map(path, grown),
        "iv": lambda path: write_iv(path, voltage, np.outer(levels, voltage * (1 + 0.5 * voltage**2))),
        "pulse-response": lambda path: write_pulse_response(path, trains),
        "endurance": lambda path: write_endurance(path, cycles[:, 0], cycles[:, 1]),
        "retention": lambda path: write_retention(path, drift, np.array([0.1, 10.0, 1000.0]), levels),
        "read-noise": lambda path: write_read_noise(path, noise, 400.0),
    }


KINDS = _writers()


@pytest.fixture(params=list(KINDS))
def run_of_a_kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A kind of measurement, and a run of it."""
    return request.param, KINDS[request.param](tmp_path / "run.h5")


SERIAL = "<script>alert(1)</script>\x07"
"""Of a chip that somebody wants to do harm with."""


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of programming of which there is much to tell: two cells far off, resumed, from a changed source."""
    target = np.full(60, 2e-5)
    reached = target + np.linspace(-1e-7, 1e-7, 60)
    reached[[7, 30]] = 5e-5, 1e-6
    return write_programming(
        tmp_path_factory.mktemp("marked") / "run.h5",
        target,
        reached,
        np.arange(1, 61),
        np.abs(reached - target) < 1e-6,
        chip_serial=SERIAL,
        resumptions=[{"wall_time_start": "2026-01-02T03:04:05+0000", "before": {"outcome": "killed"}}],
        labctl_dirty=True,
        labctl_commit="abcdef0123456789",
        excluded_cells=5,
    )


@pytest.fixture(scope="session")
def marked_page(marked: Path) -> ReadPage:
    return ReadPage(render(run_page(marked)))


@pytest.fixture
def programmed(tmp_path: Path) -> Path:
    """A run of programming to two levels."""
    return KINDS["programming"](tmp_path / "run.h5")
