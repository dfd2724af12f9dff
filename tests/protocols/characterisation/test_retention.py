"""Retention: every read when it is due, what was programmed when, and one honest file whatever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import ScriptedArray
from benches import served
from measured import Recorded, finish, record

import labctl
from labctl.array import Operation, PulseBatch
from labctl.errors import RunError, SettingsError, TargetError
from labctl.protocols.characterisation.retention import RetentionSettings, retention
from labctl.protocols.write_verify_settings import CellOutcome

TIMES = [0.01, 0.1, 1.0, 3.0, 20.0, 100.0]
CHOSEN: dict[str, Any] = {
    "cells": 60,
    "group": 8,
    "times": TIMES,
    "interleave": "1 s",
    "levels": ["5 uS", "15 uS", "30 uS"],
}
CLOCK = 1e-6
"""s: a moment is a float64 since 1970, to 0.24 us, and the file's and the board's answers round it again."""


def moved(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
    return conductance + (0.4e-6 if batch.operation is Operation.SET else -0.4e-6)


def seconds(run: Recorded, operation: int) -> tuple[float, float]:
    """When an operation began and ended, since the run's first."""
    start = run.operations["start"].values
    began = (start[operation] - start[0]) / np.timedelta64(1, "s")
    size = int(run.operations["events"].values[operation])
    return began, began + size * float(run.operations["seconds_per_cell"].values[operation])


def programmed_until(run: Recorded, group: int) -> tuple[float, float]:
    """When programming of a group began and ended."""
    steps = np.flatnonzero((run.phase == "program") & (run.steps["group"].values == group))
    operations = np.concatenate([run.operations_of(step) for step in steps])
    return seconds(run, operations[0])[0], seconds(run, operations[-1])[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("retention"), "retention", **CHOSEN)


def test_every_group_is_read_at_every_time_in_one_operation(run: Recorded) -> None:
    assert run.attrs["measurement"] == "retention"
    reads = np.flatnonzero(run.phase == "read")
    groups = run.summary["groups"]
    asked = {(group, time) for group in range(groups) for time in TIMES}
    done = list(
        zip(run.steps["group"].values[reads].tolist(), run.steps["scheduled"].values[reads].tolist(), strict=True)
    )
    assert len(done) == len(asked) == run.summary["reads_done"]
    assert set(done) == asked
    members: dict[int, list[int]] = {}
    for step in reads:
        (operation,) = run.operations_of(step)
        cells = run.events["cell"].values[run.events_of(operation)].tolist()
        assert members.setdefault(int(run.steps["group"].values[step]), cells) == cells
    assert (
        sorted(cell for cells in members.values() for cell in cells)
        == np.flatnonzero(np.isfinite(run.maps["target"].values)).tolist()
    )
    assert max(map(len, members.values())) == 8


def test_reads_are_due_from_the_end_of_their_groups_programming_and_the_lateness_is_recorded(run: Recorded) -> None:
    for step in np.flatnonzero(run.phase == "read"):
        (operation,) = run.operations_of(step)
        _, ended = programmed_until(run, int(run.steps["group"].values[step]))
        late = seconds(run, operation)[0] - ended - float(run.steps["scheduled"].values[step])
        assert late == pytest.approx(float(run.steps["late"].values[step]), abs=CLOCK)


def test_no_read_is_early_and_none_later_than_the_work_that_was_under_way(run: Recorded) -> None:
    """Whatever else is being done takes at most one group's programming, and reads of the others that are due."""
    spans = [programmed_until(run, group) for group in range(run.summary["groups"])]
    longest = max(ended - began for began, ended in spans)
    a_read = 8 * float(run.operations["seconds_per_cell"].values[0])
    late = run.steps["late"].values[run.phase == "read"]
    assert late.min() >= -CLOCK
    assert late.max() <= longest + len(spans) * a_read + CLOCK
    soon = run.steps["scheduled"].values[run.phase == "read"] <= 1.0
    # nothing is programmed between a group and its early reads
    assert late[soon].max() <= len(spans) * a_read + CLOCK
    assert run.summary["latest_read_s"] == pytest.approx(max(late.max(), 0), abs=CLOCK)


def test_early_reads_come_before_the_next_group_and_late_ones_wait_for_no_group(run: Recorded) -> None:
    order = [
        (phase, int(group), float(time))
        for phase, group, time in zip(run.phase, run.steps["group"].values, run.steps["scheduled"].values, strict=True)
        if phase in ("program", "read")
    ]
    first = {group: order.index(next(each for each in order if each[:2] == ("program", group))) for group in range(4)}
    for group in range(3):
        for time in TIMES[:3]:
            assert first[group] < order.index(("read", group, time)) < first[group + 1]
    # 3 s after the first group the fourth is being worked on, as each takes 1 s
    assert first[2] < order.index(("read", 0, 3.0)) < order.index(("read", 3, 0.1))


def test_what_was_programmed_is_each_cells_last_verify_reading_and_its_time(run: Recorded) -> None:
    program = np.isin(run.operations["step"].values, np.flatnonzero(run.phase == "program"))
    of_event = program[run.events["operation"].values] & np.isfinite(run.events["amplitude"].values)
    programmed, at = run.maps["programmed"].values.ravel(), run.maps["programmed_at"].values.ravel()
    cells = np.flatnonzero(np.isfinite(run.maps["target"].values))
    assert np.array_equal(np.flatnonzero(np.isfinite(programmed)), cells)
    for cell in cells:
        last = np.flatnonzero(of_event & (run.events["cell"].values == cell))[-1]
        assert programmed[cell] == pytest.approx(float(run.events["reading"].values[last]), rel=1e-6)
        moment = run.events["time"].values[last].astype("int64") / 1e9
        assert at[cell] == pytest.approx(moment, abs=CLOCK)


def test_nearly_all_cells_are_programmed_within_tolerance(run: Recorded) -> None:
    inside = run.maps["outcome"].values == CellOutcome.IN_WINDOW
    error = run.maps["programmed"].values - run.maps["target"].values
    assert np.all(np.abs(error[inside]) <= 1e-6 * 1.001)
    assert np.count_nonzero(inside) > 0.85 * run.summary["cells"]


def test_the_levels_are_shared_out_evenly_over_the_cells_and_within_each_group() -> None:
    array = ScriptedArray(60, 12e-6, moved)
    chosen = RetentionSettings(levels=(5e-6, 15e-6, 30e-6), group=12, times=(1.0,))  # type: ignore[arg-type]
    _, maps, _ = finish(retention.steps(array, chosen, np.random.default_rng(3)))
    target = maps["target"][0]
    for first in range(0, 60, 12):
        _, counts = np.unique(target[first : first + 12], return_counts=True)
        assert counts.tolist() == [4, 4, 4]
    assert len(np.unique(target[:12].reshape(4, 3), axis=0)) > 1  # not in turn


def test_the_plan_bounds_pulses_and_reads(run: Recorded) -> None:
    assert run.pulses == run.counted.sum() <= run.cost.max_pulses
    assert run.counted.max() <= run.cost.max_pulses_per_cell
    assert run.readings <= run.cost.max_reads


def test_a_map_of_targets_programs_the_cells_that_have_one(tmp_path: Path) -> None:
    target = np.full((32, 32), np.nan)
    target[4:6, 10:20] = np.linspace(5e-6, 30e-6, 20).reshape(2, 10)
    run = record(tmp_path, "retention", target=target, cells="all", times=[0.1])
    asked = run.maps["target"].values
    formed = np.isfinite(asked)
    assert np.count_nonzero(formed) >= 16  # yields of 98 % and more
    assert np.allclose(asked[formed], target[formed])
    assert not np.any(formed & np.isnan(target))
    assert np.array_equal(np.flatnonzero(run.counted), np.flatnonzero(np.isfinite(target)))


class LateClock:
    """The array's clock, that once returns `by` s late from a sleep of more than 5 s."""

    def __init__(self, array: ScriptedArray, by: float) -> None:
        self._clock = array.clock
        self._by = by

    def now(self) -> float:
        return self._clock.now()

    def sleep_until(self, moment: float) -> None:
        late = self._by if moment - self.now() > 5 else 0.0
        self._by -= late
        self._clock.sleep_until(moment + late)


def test_a_clock_that_is_late_once_makes_one_read_late_and_no_later_one() -> None:
    array = ScriptedArray(4, 12e-6, moved)
    array.clock = LateClock(array, 2.0)  # type: ignore[assignment]
    chosen = RetentionSettings(levels=(20e-6,), times=(1.0, 10.0, 30.0))  # type: ignore[arg-type]
    summary, _, steps = finish(retention.steps(array, chosen, np.random.default_rng(0)))
    late = [step.values["late"] for step in steps if step.phase == "read"]
    assert late == pytest.approx([0.0, 2.0, 0.0], abs=CLOCK)
    assert summary["latest_read_s"] == pytest.approx(2.0, abs=CLOCK)


def test_a_long_wait_can_be_stopped_and_keeps_what_is_known(tmp_path: Path) -> None:
    run = record(tmp_path, "retention", cells=6, times=[0.1, 1e5], stop_at="wait")
    assert run.attrs["outcome"] == "interrupted"
    assert np.count_nonzero(run.phase == "read") == 1
    assert np.array_equal(np.isfinite(run.maps["programmed"].values), np.isfinite(run.maps["target"].values))
    span = run.operations["start"].values[-1] - run.operations["start"].values[0]
    assert span < np.timedelta64(120, "s")


@pytest.mark.parametrize("phase", ["initial_read", "forming", "begin", "program", "read", "done"])
def test_a_stop_in_any_phase_leaves_maps_that_agree_with_the_events(phase: str, tmp_path: Path) -> None:
    run = record(tmp_path, "retention", stop_at=phase, **CHOSEN)
    assert run.attrs["outcome"] == "interrupted"
    assert run.pulses == run.counted.sum()
    if phase in ("initial_read", "forming"):
        assert "program" not in run.phase
        return
    verified = np.zeros(1024, bool)
    program = np.isin(run.operations["kind"].values, [Operation.SET, Operation.RESET])
    verified[run.events["cell"].values[program[run.events["operation"].values]]] = True
    assert np.array_equal(np.isfinite(run.maps["programmed"].values.ravel()), verified)
    unfinished = run.maps["outcome"].values == CellOutcome.UNFINISHED
    assert np.any(unfinished) == (phase != "done")


def test_the_same_chip_gives_the_same_run_in_process_and_over_tcp(tmp_path: Path) -> None:
    few = {**CHOSEN, "cells": 16}
    inside = record(tmp_path, "retention", **few)
    with served(tmp_path) as (path, _), labctl.load_bench(path) as bench, bench.array() as array:
        result = labctl.run("retention", array, out=tmp_path / "tcp", **few)
    with labctl.open_run(result.path) as tree:
        for column in ("cell", "amplitude", "reading", "time"):
            assert np.array_equal(tree["events"][column].values, inside.events[column].values, equal_nan=True), column
        for name in ("target", "programmed", "programmed_at"):
            assert np.array_equal(tree["maps"][name].values, inside.maps[name].values, equal_nan=True), name


def test_cells_that_were_never_formed_are_an_error_that_says_so() -> None:
    array = ScriptedArray(16, 0.05e-6, moved)
    chosen = RetentionSettings(form_pristine=False)
    with pytest.raises(RunError, match="all 16 chosen cells read below 500 nS: they have not been formed"):
        finish(retention.steps(array, chosen, np.random.default_rng(0)))
    assert not array.pulses.any()


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"times": []}, SettingsError, "times must be one or more delays above 0 s that increase"),
        ({"times": ["1 s", "1 s"]}, SettingsError, "times must be one or more delays above 0 s that increase"),
        ({"group": 0}, SettingsError, "group must be at least 1, not 0"),
        ({"levels": []}, SettingsError, "levels must be one or more conductances"),
        ({"levels": ["0.1 uS"]}, SettingsError, r"\$.levels: 1e-07 S at row 0, column \d+ is below form.formed_at"),
        ({"levels": ["1 mS"]}, SettingsError, r"\$.levels: 0.001 S .* is above what the board can read"),
        ({"max_pulses": 0}, SettingsError, "max_pulses must be 1 to 30000, not 0"),
        ({"target": np.ones((2, 2))}, SettingsError, r"\$.target: must be real numbers in S of shape \(32, 32\)"),
        ({"target": np.full((32, 32), np.nan)}, SettingsError, r"\$.target: none of the chosen cells has one"),
        ({"target": np.full((32, 32), 1.0)}, TargetError, r"\$.target: 1 S .* is above what the board can read"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_in_one_sentence(
    wrong: dict, error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=sentence):
        record(tmp_path, "retention", **wrong)
    assert not (tmp_path / "runs").exists()
