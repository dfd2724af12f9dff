"""Every kind of measurement has a figure that shows its numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_runs import (
    Writing,
    square,
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

import labctl
from labctl.analysis.figures import draw, save_figure

RNG = np.random.default_rng(1)
LEVELS = np.repeat([10e-6, 30e-6], 60)
RAMP = 20e-6 + 1e-6 * np.arange(11)
STATE = np.cumsum(RNG.random((3, 3000)) < 0.02, axis=1) % 2


def _changed(times: int) -> np.ndarray:
    return LEVELS[:, None] + np.cumsum(RNG.normal(0, 1e-6, (len(LEVELS), 1 + times)), axis=1)


KINDS: dict[str, tuple[Callable[[Path], Path], set[str]]] = {
    "retention": (
        lambda path: write_retention(path, _changed(3), np.array([0.01, 1.0, 1e4]), LEVELS),
        {"median and 5 to 95 % of each level", "spread, by level", "tails, all levels"},
    ),
    "iv": (
        lambda path: write_iv(
            path, np.arange(0.1, 0.6, 0.1), np.outer(RNG.uniform(1e-5, 9e-5, 40), np.arange(1, 6) / 10)
        ),
        {"current of 40 cells", "deviation from ohmic, offset off", "current extrapolated to 0 V"},
    ),
    "pulse-response": (
        lambda path: write_pulse_response(path, np.stack([RAMP, RAMP[::-1]]) + RNG.normal(0, 2e-7, (6, 3, 2, 11))),
        {"median ramp and 5 to 95 %, pulses of 100 ns", "step against conductance", "ends of the trains"},
    ),
    "endurance": (
        lambda path: write_endurance(path, RNG.lognormal(-9, 0.1, (20, 30)), RNG.lognormal(-12, 0.5, (20, 30))),
        {"median of 20 cells and 5 to 95 %", "distributions", "cells on the wrong side of the border"},
    ),
    "read-noise": (
        lambda path: write_read_noise(path, 5e-5 * (1 + 0.05 * STATE + RNG.normal(0, 0.005, STATE.shape)), 400.0),
        {"3 of 3 cells; red: jumps between levels", "spectrum", "what averaging gains", "how much, by cell"},
    ),
    "map": (
        lambda path: write_map(path, RNG.normal(6e-5, 2e-6, (3, 12, 14))),
        {"conductance (µS)", "defects", "sd between repeats (µS)", "median of each row"},
    ),
    "step-size": (
        lambda path: write_step_size(
            path, np.repeat([0.01, 0.1], 60), LEVELS, LEVELS, RNG.integers(1, 99, 120), RNG.random(120) < 0.95
        ),
        {"cost", "success", "tails"},
    ),
    "forming": (
        lambda path: write_forming(path, RNG.normal(3.2, 0.1, 120), LEVELS, np.tile([1.2, 1.5], 60)),
        {"where cells formed", "after forming"},
    ),
    "programming": (
        lambda path: write_programming(path, LEVELS, LEVELS + 1e-7, RNG.integers(1, 99, 120), RNG.random(120) < 0.95),
        {"outcome", "reached by level", "convergence", "pulses per cell"},
    ),
}


def axes_of(path: Path) -> dict[str, Any]:
    with labctl.open_run(path) as tree:
        return {axis.get_title(): axis for axis in draw(tree).axes}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_figure_of_its_own_that_can_be_drawn(kind: str, tmp_path: Path) -> None:
    write, titles = KINDS[kind]
    path = write(tmp_path / "run.h5")
    assert titles <= axes_of(path).keys()
    assert save_figure(path).stat().st_size > 20_000


def test_retention_shows_the_median_of_each_level(tmp_path: Path) -> None:
    conductance = _changed(2)
    axis = axes_of(write_retention(tmp_path / "run.h5", conductance, np.array([1.0, 100.0]), LEVELS))[
        "median and 5 to 95 % of each level"
    ]
    for line, level in zip(axis.lines, (10e-6, 30e-6), strict=False):
        expected = np.median(conductance[level == LEVELS], axis=0) * 1e6
        assert np.allclose(line.get_ydata(), expected, atol=0.02)  # readings are rounded to 0.02 uS
        assert np.allclose(line.get_xdata(), [0.1, 1.0, 100.0])


def test_a_region_of_a_map_is_drawn_where_it_lies(tmp_path: Path) -> None:
    region = (np.arange(4, 9)[:, None] * 14 + np.arange(3, 8)).ravel()
    path = write_map(tmp_path / "run.h5", np.full((1, 12, 14), 2e-5), region)
    image = axes_of(path)["conductance (µS)"].images[0]
    assert image.get_array().shape == (5, 5)
    assert tuple(image.get_extent()) == (2.5, 7.5, 8.5, 3.5)


def test_a_run_that_broke_off_before_it_measured_shows_its_steps(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "run.h5", "retention", square(4), ("program", "read"), ())
    writing.step("program")
    writing.close()
    assert save_figure(tmp_path / "run.h5").exists()
