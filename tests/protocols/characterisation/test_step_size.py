"""The same windows with ramps of several steps: subsets alike, each with its own step, bounded and honest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import ScriptedArray
from measured import Recorded, finish, record

from labctl.array import Operation, PulseBatch
from labctl.errors import RunError, SettingsError
from labctl.protocols.characterisation.step_size import StepSizeSettings, step_size
from labctl.protocols.write_verify_settings import CellOutcome

STEPS = (0.02, 0.1, 0.2)
CHOSEN: dict[str, Any] = {
    "cells": 240,
    "steps": ["20 mV", "100 mV", "200 mV"],
    "windows": [["0 S", "4 uS"], ["9 uS", "12 uS"], ["20 uS", "24 uS"], ["36 uS", "100 uS"]],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("steps"), "step_size", **CHOSEN)


def steps_of(run: Recorded) -> np.ndarray:
    """(cells,) V, NaN where not targeted."""
    return run.maps["step_voltage"].values.ravel()


def test_the_cells_are_divided_evenly_with_the_same_windows_in_each_subset(run: Recorded) -> None:
    assert run.attrs["measurement"] == "step-size"
    step, target = steps_of(run), run.maps["target"].values.ravel()
    assert np.array_equal(np.isfinite(step), np.isfinite(target))
    sizes = []
    for each in STEPS:
        _, counts = np.unique(target[step == np.float32(each)], return_counts=True)
        assert len(counts) == 4
        assert counts.max() - counts.min() <= 1
        sizes.append(counts.sum())
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == run.summary["cells"]


def test_the_subsets_are_spread_over_the_array_at_random(run: Recorded) -> None:
    """Means of the rows of about 80 of 32 rows: sd 32 / sqrt(12) / sqrt(80) is 1.03, so 4 sd of a difference are 6."""
    rows = np.arange(1024) // 32
    means = [rows[steps_of(run) == np.float32(each)].mean() for each in STEPS]
    assert max(means) - min(means) < 6


def test_every_ramp_goes_by_the_step_of_its_cells(run: Recorded) -> None:
    step = steps_of(run)
    kinds = run.operations["kind"].values[run.events["operation"].values]
    seen = 0
    for each in STEPS:
        for cell in np.flatnonzero(step == np.float32(each))[:20]:
            volts = run.events["amplitude"].values[(run.events["cell"].values == cell) & (kinds == Operation.SET)]
            rises = np.diff(volts)
            up = rises[rises > 1e-6]
            seen += len(up)
            assert np.all(np.abs(up - each) < 2 * 5 / 65536)  # two codes of the converter
    assert seen > 50


def test_the_maps_say_what_the_events_say(run: Recorded) -> None:
    programming = np.isin(run.operations["kind"].values, [Operation.SET, Operation.RESET])
    cells = run.events["cell"].values[programming[run.events["operation"].values]]
    pulsed = np.bincount(cells[np.isin(cells, np.arange(1024))], minlength=1024)
    pulses = run.maps["pulses_per_cell"].values.ravel()
    assert np.array_equal(np.nan_to_num(pulses), pulsed - np.where(np.isfinite(pulses), 0, pulsed))
    inside = run.maps["outcome"].values == CellOutcome.IN_WINDOW
    reached, target = run.maps["reached"].values[inside], run.maps["target"].values[inside]
    low, high = np.array([[0, 4e-6], [9e-6, 12e-6], [20e-6, 24e-6], [36e-6, 100e-6]]).T
    window = np.argmin(np.abs(target[:, None] - (low + high) / 2), axis=1)
    # the reading is the mean of the confirming ones, of which one of three may be outside
    assert np.mean((reached >= low[window]) & (reached <= high[window])) > 0.95
    assert np.count_nonzero(inside) > 0.8 * run.summary["cells"]


def test_small_steps_take_more_pulses(run: Recorded) -> None:
    small, _, large = (each["mean_pulses"] for each in run.summary["steps"])
    assert small > large


def test_the_plan_bounds_pulses_reads_and_amplitudes(run: Recorded) -> None:
    assert run.pulses == run.counted.sum() <= run.cost.max_pulses
    assert run.counted.max() <= run.cost.max_pulses_per_cell
    assert run.readings <= run.cost.max_reads
    kinds = run.operations["kind"].values[run.events["operation"].values]
    for operation, most in run.cost.amplitudes.items():
        given = run.events["amplitude"].values[kinds == operation]
        assert given.size == 0 or given.max() <= most + 1e-6


@pytest.mark.parametrize("phase", ["forming", "divide", "program", "done"])
def test_a_stop_in_any_phase_marks_the_rest_unfinished(phase: str, tmp_path: Path) -> None:
    run = record(tmp_path, "step_size", stop_at=phase, **CHOSEN)
    assert run.attrs["outcome"] == "interrupted"
    assert run.pulses == run.counted.sum()
    if phase == "forming":
        return
    unfinished = run.maps["outcome"].values == CellOutcome.UNFINISHED
    assert np.any(unfinished) == (phase != "done")
    if phase == "program":
        pulses = run.maps["pulses_per_cell"].values
        assert np.any(pulses[unfinished] > 0)
        assert np.any(pulses[unfinished] == 0)


def test_more_steps_than_cells_leave_subsets_empty() -> None:
    def moved(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
        return conductance + (0.4e-6 if batch.operation is Operation.SET else -0.4e-6)

    array = ScriptedArray(2, 12e-6, moved)
    summary, maps, _ = finish(step_size.steps(array, StepSizeSettings(), np.random.default_rng(0)))
    assert [each["cells"] for each in summary["steps"]] == [1, 1, 0, 0]
    assert np.all(maps["outcome"] == CellOutcome.IN_WINDOW)


def test_cells_that_were_never_formed_are_an_error_that_says_so() -> None:
    array = ScriptedArray(16, 0.05e-6, lambda conductance, _: conductance)
    with pytest.raises(RunError, match="all 16 chosen cells read below 500 nS: they have not been formed"):
        finish(step_size.steps(array, StepSizeSettings(form_pristine=False), np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"steps": []}, "steps must be one or more different voltages above 0 V"),
        ({"steps": ["5 mV", "5 mV"]}, "steps must be one or more different voltages above 0 V"),
        ({"windows": [["5 uS", "2 uS"]]}, "windows must be one or more pairs of a lower and a higher conductance"),
        ({"windows": [["0 S", "0.4 uS"]]}, r"\$.windows: 0 S to 400 nS has its middle below form.formed_at"),
        ({"windows": [["1 mS", "2 mS"]]}, r"\$.windows: 1 mS to 2 mS is above what the board can read"),
        ({"windows": [["10 uS", "10.001 uS"]]}, r"\$.windows: 10 uS to .* is too narrow to land in"),
        ({"max_pulses": 0}, "max_pulses must be 1 to 30000, not 0"),
        (
            {"set": {"start": "2 V", "stop": "1 V", "width": "1 us", "gate": "2 V"}},
            r"stop \(1 V\) must not be below start \(2 V\)",
        ),
        (
            {"set": {"start": "2 V", "stop": "6 V", "width": "1 us", "gate": "2 V"}},
            r"\$.set: 2 to 6 V does not fit the board's",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_in_one_sentence(wrong: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=sentence):
        record(tmp_path, "step_size", **wrong)
    assert not (tmp_path / "runs").exists()
