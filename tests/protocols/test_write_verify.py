"""Program-and-verify ends for every cell, honestly, within its budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays import ScriptedArray
from direct import DirectArray
from technologies import STILL

from labctl.array import Operation, PulseBatch
from labctl.errors import RunError, SettingsError, TargetError
from labctl.protocols.write_verify import write_verify
from labctl.protocols.write_verify_settings import CellOutcome, Confirm, WriteVerifySettings
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.steps import Step, StopRequested

ROWS = 64
STEP = 0.4e-6  # S a pulse moves a well-behaved scripted cell


def settings(**chosen: Any) -> WriteVerifySettings:
    chosen.setdefault("target", np.full((1, 16), 20e-6))
    return WriteVerifySettings(**chosen)


def run(array: Any, chosen: WriteVerifySettings) -> tuple[dict[str, Any], dict[str, np.ndarray], list[Step]]:
    """(summary, last maps, steps)."""
    steps, maps = [], {}
    generator = write_verify.steps(array, chosen, np.random.default_rng(0))
    while True:
        try:
            step = next(generator)
        except StopIteration as end:
            return end.value, maps, steps
        steps.append(step)
        maps.update(step.maps)


def outcomes(summary: dict[str, Any]) -> dict[str, int]:
    return {name: count for name, count in summary["outcomes"].items() if count}


def well_behaved(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
    if batch.operation is Operation.FORM:
        return np.maximum(conductance, 12e-6)
    return conductance + (STEP if batch.operation is Operation.SET else -STEP)


@pytest.fixture(scope="module")
def programmed() -> tuple[DirectArray, dict[str, Any], dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A chip programmed once, with some cells excluded and some not targeted, for several tests to look at."""
    rng = np.random.default_rng(3)
    target = rng.uniform(2e-6, 40e-6, (ROWS, ROWS))
    exclude = rng.random((ROWS, ROWS)) < 0.05
    wanted = rng.random((ROWS, ROWS)) < 0.9
    array = DirectArray(CrossbarMacro.buy("T-7", STILL, rows=ROWS, cols=ROWS))
    summary, maps, _ = run(array, settings(target=target, exclude=exclude, cells=wanted, max_pulses=150))
    return array, summary, maps, exclude, wanted


def test_every_cell_ends_with_one_outcome(programmed: Any) -> None:
    _, summary, maps, exclude, wanted = programmed
    assert sum(summary["outcomes"].values()) == summary["cells"] == np.count_nonzero(wanted)
    assert summary["outcomes"]["excluded"] == np.count_nonzero(exclude & wanted)
    assert summary["outcomes"]["unfinished"] == 0
    not_targeted = maps["outcome"] == CellOutcome.NOT_TARGETED
    assert np.array_equal(not_targeted, ~wanted)


def test_nearly_every_formable_cell_is_in_its_window_at_the_first_verify(programmed: Any) -> None:
    _, summary, maps, _, _ = programmed
    assert summary["fraction_in_window"] > 0.97
    assert summary["fraction_in_window_at_first_verify"] > 0.95
    inside = maps["outcome"] == CellOutcome.IN_WINDOW
    assert np.mean(np.abs(maps["error"][inside]) <= 1.1e-6) > 0.97


def test_relaxation_takes_cells_out_of_their_windows_and_programming_them_again_brings_most_back() -> None:
    """At the levels of the reference 42 % of cells change by more than 1 uS within a second."""
    array = DirectArray(CrossbarMacro.buy("T-7", rows=ROWS, cols=ROWS))
    target = np.random.default_rng(3).uniform(5e-6, 40e-6, (ROWS, ROWS))
    summary = run(array, settings(target=target, reverify=(0.0, 1.0, 2.0)))[0]
    kept = [each["in_window"] / each["cells"] for each in summary["verifies"]]
    assert kept[0] < 0.9
    assert kept[-1] > kept[0] + 0.05
    assert summary["fraction_in_window"] > 0.9


def test_excluded_and_untargeted_cells_are_never_pulsed(programmed: Any) -> None:
    array, _, _, exclude, wanted = programmed
    assert np.all(array.chip.pulse_counts[exclude | ~wanted] == 0)


def test_the_pulse_map_is_what_the_chip_counted_and_within_budget(programmed: Any) -> None:
    array, summary, maps, _, _ = programmed
    formed = np.isfinite(maps["forming_voltage"])
    forming_pulses = np.rint((np.nan_to_num(maps["forming_voltage"]) - 3.1) / 0.1) + 1
    counted = array.chip.pulse_counts.astype(int)
    assert np.array_equal((counted - maps["pulses_per_cell"])[formed], forming_pulses[formed])
    assert maps["pulses_per_cell"].max() <= 150
    assert summary["pulses"] - summary["forming_pulses"] == maps["pulses_per_cell"].sum()
    assert summary["pulses"] == array.pulses == counted.sum()


def test_cells_that_never_form_get_no_programming_pulse(programmed: Any) -> None:
    _, _, maps, _, _ = programmed
    never = maps["outcome"] == CellOutcome.NEVER_FORMED
    assert never.any()
    assert np.all(maps["pulses_per_cell"][never] == 0)


def test_a_dead_array_ends_as_stuck_after_one_ramp() -> None:
    array = ScriptedArray(16, 12e-6, lambda conductance, _: conductance)
    summary, _, _ = run(array, settings(form_pristine=False))
    assert outcomes(summary) == {"stuck_low": 16}
    ramp = settings().set.steps + settings().hold
    assert array.pulses.max() == ramp
    array = ScriptedArray(16, 60e-6, lambda conductance, _: conductance)
    assert outcomes(run(array, settings(form_pristine=False))[0]) == {"stuck_high": 16}


def test_cells_that_only_jump_across_their_window_are_unreached_after_so_many_reversals() -> None:
    def jump(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
        return np.full_like(conductance, 30e-6 if batch.operation is Operation.SET else 10e-6)

    summary, maps, _ = run(ScriptedArray(16, 12e-6, jump), settings(form_pristine=False, max_reversals=7))
    assert outcomes(summary) == {"unreached": 16}
    assert np.all(maps["reversals"] == 7)


def test_a_cell_that_spends_its_budget_is_over_stressed() -> None:
    def jump(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
        return np.full_like(conductance, 30e-6 if batch.operation is Operation.SET else 10e-6)

    array = ScriptedArray(16, 12e-6, jump)
    summary, _, _ = run(array, settings(form_pristine=False, max_reversals=250, max_pulses=40))
    assert outcomes(summary) == {"over_stressed": 16}
    assert np.all(array.pulses == 40)


def test_noise_wider_than_the_window_is_called_noise_limited_not_success() -> None:
    def noisy(shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return shown + rng.normal(0, 2.5e-6, shown.shape)

    array = ScriptedArray(400, 12e-6, well_behaved, noisy)
    chosen = settings(target=np.full((1, 400), 20e-6), form_pristine=False, confirm=Confirm(needed=5, reads=5))
    summary, _, _ = run(array, chosen)
    assert summary["outcomes"]["noise_limited"] > 300
    assert summary["outcomes"]["in_window"] < 50


def test_one_lucky_reading_is_not_believed() -> None:
    """Every tenth reading of a cell far away happens to show the target."""

    def lucky(shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random(shown.shape) < 0.1, 20e-6, shown)

    believing = ScriptedArray(400, 12e-6, well_behaved, lucky)
    doubting = ScriptedArray(400, 12e-6, well_behaved, lucky)
    target = np.full((1, 400), 20e-6)
    run(believing, settings(target=target, form_pristine=False, confirm=Confirm(needed=0, reads=0), reverify=()))
    run(doubting, settings(target=target, form_pristine=False, reverify=()))
    wrong = [np.count_nonzero(np.abs(array.conductance - 20e-6) > 1e-6) for array in (believing, doubting)]
    assert wrong[0] > 200
    assert wrong[1] < 40


def test_cells_that_drift_away_are_found_at_the_delay_and_programmed_again() -> None:
    def drift(conductance: np.ndarray, seconds: float) -> np.ndarray:
        moved = conductance.copy()
        moved[:4] -= 3e-6 * (seconds > 5)
        return moved

    array = ScriptedArray(16, 12e-6, well_behaved, relax=drift)
    began = array.clock.now()
    summary, _, _ = run(array, settings(form_pristine=False, reverify=(0.0, 1.0, 10.0)))
    assert [each["left"] for each in summary["verifies"]] == [0, 0, 4]
    assert [each["after_s"] for each in summary["verifies"]] == [0, 1, 10]
    assert array.clock.now() - began == pytest.approx(10)
    assert outcomes(summary) == {"in_window": 16}
    assert np.all(np.abs(array.conductance - 20e-6) <= 1e-6)


def test_a_cell_may_have_a_tolerance_of_its_own() -> None:
    tolerances = np.full((1, 16), 0.25e-6)
    tolerances[0, 8:] = 8e-6
    array = ScriptedArray(16, 12.05e-6, well_behaved)
    run(array, settings(form_pristine=False, tolerances=tolerances, aim=1.0))
    assert np.all(np.abs(array.conductance[:8] - 20e-6) <= 0.25e-6)
    assert np.all(array.pulses[8:] <= 1)


def test_an_array_that_was_never_formed_is_an_error_that_says_so() -> None:
    array = ScriptedArray(16, 0.05e-6, lambda conductance, _: conductance)
    with pytest.raises(RunError, match="all 16 cells read below 500 nS: the array has not been formed"):
        run(array, settings(form_pristine=False))
    assert np.all(array.pulses == 0)


def test_stopping_half_way_keeps_what_is_known_and_marks_the_rest_unfinished() -> None:
    array = DirectArray(CrossbarMacro.buy("T-7", rows=ROWS, cols=ROWS))
    generator = write_verify.steps(array, settings(target=np.full((ROWS, ROWS), 20e-6)), np.random.default_rng(0))
    step = next(generator)
    while step.values.get("in_window", 0) < 500:
        step = next(generator)
    last = generator.throw(StopRequested())
    with pytest.raises(StopIteration) as end:
        next(generator)
    counts = end.value.value["outcomes"]
    assert counts["in_window"] >= 500
    assert counts["unfinished"] > 500
    unfinished = last.maps["outcome"] == CellOutcome.UNFINISHED
    assert np.all(last.maps["pulses_per_cell"][unfinished] > 0)


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"target": np.full((2, 3), 1e-6)}, TargetError, r"\$.target: has shape \(2, 3\), the array is \(1, 16\)"),
        ({"target": np.full((1, 16), np.nan)}, TargetError, r"row 0, column 0 is not a finite conductance"),
        ({"target": np.full((1, 16), -1e-6)}, TargetError, r"row 0, column 0 is negative"),
        ({"target": np.full((1, 16), 1e-3)}, TargetError, r"is above what the board can read, 79.\d+ uS"),
        (
            {"target": np.full((1, 16), 20.002e-6), "tolerance": 1e-9},
            SettingsError,
            r"\$.tolerance: narrower than one step of the converter",
        ),
        ({"cells": np.ones((4, 4), bool)}, TargetError, r"\$.cells: has shape \(4, 4\)"),
        ({"cells": np.full((1, 16), np.nan)}, TargetError, r"\$.cells: must be booleans, not float64"),
        ({"target": np.ones((1, 16), complex)}, TargetError, r"\$.target: must be real numbers in S, not complex128"),
        ({"exclude": np.ones((1, 16), bool)}, TargetError, r"nothing to program"),
    ],
)
def test_targets_that_cannot_be_meant_are_refused_before_anything_is_pulsed(
    wrong: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    array = ScriptedArray(16, 12e-6, well_behaved)
    with pytest.raises(error, match=sentence):
        write_verify.plan(array.geometry, array.dac, array.adc, settings(**wrong))


def stopped_at(phase: str, **chosen: Any) -> tuple[DirectArray, dict[str, Any], dict[str, np.ndarray]]:
    """A run that is asked to stop at its first step of `phase`."""
    array = DirectArray(CrossbarMacro.buy("T-7", rows=ROWS, cols=ROWS))
    chosen.setdefault("target", np.random.default_rng(1).uniform(2e-6, 40e-6, (ROWS, ROWS)))
    generator = write_verify.steps(array, settings(**chosen), np.random.default_rng(0))
    maps: dict[str, np.ndarray] = {}
    stopping = False
    try:
        step = next(generator)
        while True:
            maps.update(step.maps)
            if step.phase == phase and not stopping:
                stopping = True
                step = generator.throw(StopRequested())
            else:
                step = next(generator)
    except StopIteration as end:
        return array, end.value, maps


@pytest.mark.parametrize("phase", ["initial_read", "forming", "program", "reverify", "reprogram", "done"])
def test_a_stop_in_any_phase_leaves_a_summary_and_maps_that_agree(phase: str) -> None:
    array, summary, maps = stopped_at(phase)
    for name, count in summary["outcomes"].items():
        assert np.count_nonzero(maps["outcome"] == CellOutcome[name.upper()]) == count, name
    assert summary["pulses"] == array.pulses
    assert "forming_voltage" in maps
    if phase == "reverify":
        assert summary["outcomes"]["in_window"] == summary["verifies"][-1]["in_window"]


def test_no_window_reaches_down_to_where_a_cell_counts_as_pristine() -> None:
    """Else a cell programmed low would be taken for pristine, and formed, by the next run."""
    array = DirectArray(CrossbarMacro.buy("T-7", STILL, rows=ROWS, cols=ROWS))
    chosen = settings(target=np.full((ROWS, ROWS), 1e-6))
    maps = run(array, chosen)[1]
    landed = maps["outcome"] == CellOutcome.IN_WINDOW
    assert np.count_nonzero(landed) > 0.9 * landed.size
    again = np.isfinite(run(array, chosen)[1]["forming_voltage"])
    assert np.count_nonzero(again & landed) <= 0.001 * landed.size
    with pytest.raises(TargetError, match=r"below form\.formed_at, where a cell counts as pristine"):
        run(array, settings(target=np.full((ROWS, ROWS), 0.1e-6)))


def test_the_recorded_error_is_over_the_cells_that_have_formed() -> None:
    target = np.full((1, 16), 20e-6)
    array = ScriptedArray(16, 12e-6, well_behaved)
    array.conductance[:8] = 0.1e-6
    summary, maps, steps = run(array, settings(target=target, form_pristine=False, reverify=()))
    last = [step for step in steps if "rms_error" in step.values][-1]
    error = maps["error"][0, 8:]
    assert last.values["rms_error"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-3)
    assert summary["rms_error_siemens"] == pytest.approx(last.values["rms_error"], rel=1e-3)


def test_the_plan_bounds_what_the_run_does() -> None:
    array = DirectArray(CrossbarMacro.buy("T-9", rows=ROWS, cols=ROWS))
    chosen = settings(target=np.full((ROWS, ROWS), 30e-6), max_pulses=60)
    cost = write_verify.plan(array.geometry, array.dac, array.adc, chosen)
    summary, _, _ = run(array, chosen)
    assert array.pulses <= cost.max_pulses
    assert array.chip.pulse_counts.max() <= cost.max_pulses_per_cell
    assert summary["reads"] <= cost.max_reads
    assert cost.amplitudes[Operation.RESET] == pytest.approx(3.0, abs=1e-3)
