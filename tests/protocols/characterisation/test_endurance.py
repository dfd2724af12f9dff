"""Cycling: which cycles are read, that none is left out, when a cell has failed, and when it is enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import ScriptedArray
from hypothesis import given
from hypothesis import strategies as st
from measured import Recorded, finish, record

from labctl.array import Operation, PulseBatch, PulseLimits
from labctl.errors import LimitError, SettingsError
from labctl.protocols.characterisation.endurance import EnduranceSettings, endurance

CHOSEN: dict[str, Any] = {"cells": 30, "cycles": 200, "every": 8, "reads_per_decade": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("cycles"), "endurance", **CHOSEN)


class Wearing:
    """Cells that switch between 4 and 40 uS for `life` SET pulses each, then stay."""

    def __init__(self, life: list[int]) -> None:
        self.life = np.array(life)
        self.done = np.zeros(len(life), int)
        self.array = ScriptedArray(len(life), 40e-6, self.react)

    def react(self, conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
        self.done[batch.cells] += batch.operation is Operation.SET
        alive = self.done[batch.cells] <= self.life[batch.cells]
        return np.where(alive, 40e-6 if batch.operation is Operation.SET else 4e-6, conductance)


def finished(cells: Wearing, **chosen: Any) -> tuple[dict[str, Any], np.ndarray]:
    """(summary, failed_at)."""
    steps = endurance.steps(cells.array, EnduranceSettings(**chosen), np.random.default_rng(0))
    summary, maps, _ = finish(steps)
    return summary, maps["failed_at"][0]


@given(st.integers(1, 2_000_000), st.integers(1, 500), st.integers(1, 50))
def test_the_first_cycles_are_read_each_and_later_ones_at_even_ratios(cycles: int, every: int, decade: int) -> None:
    read = EnduranceSettings(cycles=cycles, every=every, reads_per_decade=decade).read_cycles
    first = min(cycles, every)
    assert read[:first].tolist() == list(range(1, first + 1))
    assert read[-1] == cycles
    assert np.all(np.diff(read) > 0)
    assert len(read) <= first + 2 + decade * np.log10(cycles / first)
    ratio = 10 ** (1 / decade)
    later = read[first - 1 :].astype(float)
    # from one read to the next at most one ratio; both ends are rounded to whole cycles
    assert np.all(later[1:] <= later[:-1] * ratio + (1 + ratio) / 2 + 1e-6)


def test_the_cycles_asked_for_are_read_after_each_half(run: Recorded) -> None:
    assert run.attrs["measurement"] == "endurance"
    expected = EnduranceSettings(**CHOSEN).read_cycles.tolist()
    for phase in ("set", "reset"):
        there = np.flatnonzero(run.phase == phase)
        assert run.steps["cycle"].values[there].tolist() == expected
        for step in there:
            (operation,) = run.operations_of(step)
            assert run.operations["kind"].values[operation] == Operation[phase.upper()]
            assert np.all(np.isfinite(run.events["reading"].values[run.events_of(operation)]))


def test_no_cycle_is_left_out_and_set_and_reset_alternate(run: Recorded) -> None:
    """Up to the last SET, which leaves the cells conducting."""
    kinds = run.operations["kind"].values
    cycling = kinds[np.isin(kinds, [Operation.SET, Operation.RESET])]
    assert cycling.tolist() == [Operation.SET, Operation.RESET] * 200 + [Operation.SET]


def test_every_pulse_is_recorded_and_within_the_plan(run: Recorded) -> None:
    assert run.pulses == run.counted.sum() <= run.cost.max_pulses
    assert run.counted.max() <= run.cost.max_pulses_per_cell
    assert run.readings <= run.cost.max_reads
    assert run.summary["cycles"] == 200


def test_the_medians_after_set_and_after_reset_are_a_window_apart(run: Recorded) -> None:
    low, high = (run.steps["conductance"].values[run.phase == phase] for phase in ("set", "reset"))
    assert np.all(low > 2 * high)


def test_several_pulses_a_half_are_all_given_and_the_last_reading_counts() -> None:
    cells = Wearing([100, 100])
    steps = endurance.steps(cells.array, EnduranceSettings(cycles=3, pulses=4), np.random.default_rng(0))
    summary, _, done = finish(steps)
    assert cells.array.pulses.tolist() == [3 * 2 * 4 + 4] * 2
    assert [step.values["conductance"] for step in done if step.phase == "reset"] == pytest.approx([4e-6] * 3, abs=5e-9)
    assert summary["set_median_siemens"] == pytest.approx(40e-6, abs=5e-9)


def test_a_cell_has_failed_where_its_window_closed_for_good() -> None:
    summary, failed_at = finished(Wearing([10, 60, 500]), cycles=80, every=80, failures=3)
    assert failed_at[:2].tolist() == [11, 61]
    assert failed_at[2] == 2**32 - 1  # nothing written: has not failed
    assert summary["failed"] == 2


def test_a_window_that_opens_again_was_no_failure() -> None:
    """Four cycles in a row, from the tenth on, in which nothing switches."""

    def react(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
        switched = cells.react(conductance, batch)
        return conductance if 10 <= cells.done[0] <= 13 else switched

    for failures, expected in ((4, 10), (5, 2**32 - 1)):
        cells = Wearing([1000])
        cells.array._react = react
        _, failed_at = finished(cells, cycles=30, every=30, failures=failures)
        assert failed_at.tolist() == [expected]


def test_the_run_ends_when_all_cells_have_failed() -> None:
    cells = Wearing([20, 30, 40])
    summary, failed_at = finished(cells, cycles=100_000, every=100, failures=5)
    assert failed_at.tolist() == [21, 31, 41]
    assert summary["cycles"] == 45
    assert cells.array.pulses.max() == 91


def test_cycles_that_are_not_read_go_out_many_a_message() -> None:
    cells = Wearing([10**9] * 4)
    exchanges: list[int] = []
    pulse = cells.array.pulse
    cells.array.pulse = lambda *batches: exchanges.append(len(batches)) or pulse(*batches)  # type: ignore[method-assign]
    finished(cells, cycles=20_000, every=10, reads_per_decade=5)
    unread = 20_000 - len(EnduranceSettings(cycles=20_000, every=10, reads_per_decade=5).read_cycles)
    assert sum(exchanges) >= 2 * unread
    assert len(exchanges) < 2 * unread / 100


@pytest.mark.parametrize("phase", ["forming", "unread", "set", "reset", "restore", "done"])
def test_a_stop_in_any_phase_leaves_a_file_that_says_what_was_given(phase: str, tmp_path: Path) -> None:
    run = record(tmp_path, "endurance", stop_at=phase, **CHOSEN)
    assert run.attrs["outcome"] == "interrupted"
    assert run.pulses == run.counted.sum()
    if phase == "unread":
        assert np.count_nonzero(run.phase == "set") < len(EnduranceSettings(**CHOSEN).read_cycles)
    if phase != "forming":
        assert run.phase[-1] == "done"


def test_more_cycles_than_the_cells_stand_are_refused_before_the_first() -> None:
    cells = Wearing([100])
    cells.array.limits = PulseLimits(max_pulses=1000)
    with pytest.raises(
        LimitError, match=r"500 cycles are 1001 pulses a cell, above the max_pulses of 1000; nothing was"
    ):
        finished(cells, cycles=500)
    cells.array.limits = PulseLimits(max_dose=1e-4)
    with pytest.raises(LimitError, match=r"500 cycles are a dose of 240\.\d uVs a cell, above the max_dose of 100 uVs"):
        finished(cells, cycles=500)
    assert not cells.array.pulses.any()
    finished(cells, cycles=20)
    assert cells.array.pulses.max() == 41


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"cycles": 0}, "cycles must be at least 1, not 0"),
        ({"window": 0.5}, "window must be a ratio of at least 1, not 0.5"),
        ({"cycles": 10**10}, "cycles must be at most a thousand million"),
        ({"reset": {"amplitude": "-1 V", "width": "1 us", "gate": "2 V"}}, "amplitude must be more than 0 V"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=sentence):
        record(tmp_path, "endurance", **wrong)
