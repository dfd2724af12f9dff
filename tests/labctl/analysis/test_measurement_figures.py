"""Every kind of measurement has a figure that shows its numbers."""

from __future__ import annotations

import re
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
from labctl.analysis.figures.panels import edges_between

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
        {
            "3 of 3 cells; red: jumps between levels",
            "spectrum",
            "what averaging gains",
            "how much, by cell; 100% of cells jump between two levels (95 %: 44% to 100%)",
        },
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


def test_bins_hold_as_many_steps_of_the_converter_each() -> None:
    rng = np.random.default_rng(2)
    values = (np.float32(0.37) * rng.integers(20, 170, 200_000) + np.float32(0.1)).astype(np.float32)
    edges = edges_between(values, 5.0, 65.0, 60)
    counts, _ = np.histogram(values, edges)
    inner = counts[counts > 0][1:-1]
    # of 150 equally likely values some 60 bins hold 3 each: Poisson's scatter is 1.6 %; one more or less would be 33 %
    assert inner.size > 40
    assert np.ptp(inner) < 10 * np.sqrt(inner.mean())


def test_bins_of_what_has_no_steps_are_even() -> None:
    values = np.random.default_rng(3).normal(0, 1, 5000)
    assert np.allclose(np.diff(edges_between(values, -3.0, 3.0, 60)), 0.1)


def test_a_map_read_once_has_square_cells_and_no_empty_panel(tmp_path: Path) -> None:
    levels = np.full((1, 30, 30), 1e-7)
    levels[:, :10] = 5e-5
    with labctl.open_run(write_map(tmp_path / "run.h5", levels)) as tree:
        axes = draw(tree).axes
    assert {axis.get_aspect() for axis in axes if axis.images and axis.get_xlabel() == "column"} == {1.0}
    (noted,) = (axis for axis in axes if any("read once" in text.get_text() for text in axis.texts))
    assert not noted.axison
    assert any(axis.get_title().startswith("300 of 900 cells are formed:\ntheir median 50") for axis in axes)


def test_one_train_stands_on_a_whole_number(tmp_path: Path) -> None:
    ramps = np.stack([RAMP, RAMP[::-1]]) + RNG.normal(0, 2e-7, (6, 1, 2, 11))
    axis = axes_of(write_pulse_response(tmp_path / "run.h5", ramps))["ends of the trains"]
    low, high = axis.get_xlim()
    assert high - low == 1.0
    ticks = [tick for tick in axis.get_xticks() if low <= tick <= high]
    assert ticks == [(low + high) / 2]


def test_labels_of_near_levels_stand_apart(tmp_path: Path) -> None:
    targets = np.repeat(np.arange(1, 9) * 1e-6, 20)
    table = targets[:, None] + RNG.normal(0, 1e-7, (160, 3))
    axis = axes_of(write_retention(tmp_path / "run.h5", table, np.array([1.0, 100.0]), targets))[
        "median and 5 to 95 % of each level"
    ]
    labels = [each.get_text() for each in axis.get_legend().get_texts()]
    assert labels == [f"{each} µS\n20 cells" for each in range(8, 0, -1)]


def test_noise_beyond_the_mean_is_written_without_exponent(tmp_path: Path) -> None:
    values = 5e-5 * (1 + 1.5 * STATE + RNG.normal(0, 0.005, STATE.shape))
    labels = [
        text.get_text()
        for axis in axes_of(write_read_noise(tmp_path / "run.h5", values, 400.0)).values()
        for text in axis.texts
        if "strip of" in text.get_text()
    ]
    assert labels
    assert all(re.fullmatch(r".*strip of \d{2,3} %", each) for each in labels)
