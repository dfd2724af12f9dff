"""Trains of identical pulses: what is given, what is read after which pulse, and within what bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import ScriptedArray
from measured import Recorded, finish, record

from labctl.array import Operation, PulseBatch
from labctl.errors import LimitError, SettingsError
from labctl.protocols.characterisation.pulse_response import PulseResponseSettings, pulse_response

CHOSEN: dict[str, Any] = {"cells": 40, "trains": 2, "pulses": 6}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("train"), "pulse_response", **CHOSEN)


def reaction(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
    return np.maximum(conductance + (2e-6 if batch.operation is Operation.SET else -2e-6), 1e-6)


def test_every_train_is_a_read_and_pulses_numbered_from_one_in_both_directions(run: Recorded) -> None:
    assert run.attrs["measurement"] == "pulse-response"
    for phase in ("set", "reset"):
        there = run.phase == phase
        assert run.steps["train"].values[there].tolist() == [0] * 7 + [1] * 7
        assert run.steps["pulse"].values[there].tolist() == [*range(7)] * 2
    kinds = run.operations["kind"].values
    for step in np.flatnonzero((run.phase == "set") | (run.phase == "reset")):
        (operation,) = run.operations_of(step)
        given = 0 if run.steps["pulse"].values[step] == 0 else Operation[str(run.phase[step]).upper()]
        assert kinds[operation] == given
        assert np.all(np.isfinite(run.events["reading"].values[run.events_of(operation)]))


def test_the_pulses_of_a_direction_are_all_alike_and_recorded_as_what_they_are(run: Recorded) -> None:
    for phase in ("set", "reset"):
        for step in np.flatnonzero((run.phase == phase) & (run.steps["pulse"].values > 0)):
            (operation,) = run.operations_of(step)
            amplitude = run.events["amplitude"].values[run.events_of(operation)]
            assert np.allclose(amplitude, run.steps["amplitude"].values[step], rtol=1e-6)
            assert run.operations["width"].values[operation] == 1e-7


def test_set_pulses_raise_and_reset_pulses_lower_the_median(run: Recorded) -> None:
    median = run.steps["conductance"].values
    for phase, sign in (("set", 1), ("reset", -1)):
        there = (run.phase == phase) & (run.steps["train"].values == 0)
        assert sign * (median[there][-1] - median[there][0]) > 0


def test_a_train_begins_with_a_reset_ramp_that_nothing_reads(run: Recorded) -> None:
    ramp = PulseResponseSettings().prepare
    assert ramp is not None
    for step in np.flatnonzero(run.phase == "prepare"):
        operations = run.operations_of(step)
        assert len(operations) == ramp.steps
        assert np.all(run.operations["kind"].values[operations] == Operation.RESET)
        first, last = run.events_of(operations[0]).start, run.events_of(operations[-1]).stop
        assert np.all(np.isnan(run.events["reading"].values[first:last]))


def test_the_plan_is_what_cells_that_conduct_cost_and_bounds_the_forming(run: Recorded) -> None:
    assert run.pulses == run.counted.sum() <= run.cost.max_pulses
    assert run.readings <= run.cost.max_reads
    assert run.counted.max() <= run.cost.max_pulses_per_cell
    measured = np.count_nonzero(run.counted > 14)  # forming gives at most 9 + 2
    assert measured == run.summary["cells"]
    ramp = PulseResponseSettings().prepare
    assert ramp is not None
    formed = np.count_nonzero(run.operations["kind"].values[run.events["operation"].values] == Operation.FORM)
    assert run.pulses - formed == measured * (2 * (2 * 6 + ramp.steps) + 6)


def test_the_cells_are_left_set() -> None:
    array = ScriptedArray(8, 20e-6, reaction)
    finish(pulse_response.steps(array, PulseResponseSettings(**CHOSEN), np.random.default_rng(0)))
    assert np.all(array.conductance > 10e-6)


def test_without_a_ramp_the_train_begins_where_the_cells_are() -> None:
    array = ScriptedArray(8, 20e-6, reaction)
    chosen = PulseResponseSettings(**CHOSEN, prepare=None)
    summary, _, steps = finish(pulse_response.steps(array, chosen, np.random.default_rng(0)))
    conductance = [step.values["conductance"] for step in steps if step.phase == "set"][:7]
    assert np.allclose(conductance, 20e-6 + 2e-6 * np.arange(7), atol=1e-8)
    assert summary["set_last_siemens"] == pytest.approx(32e-6, abs=1e-8)
    cost = pulse_response.plan(array.geometry, array.dac, array.adc, chosen)
    form = chosen.form.ramp.steps + chosen.form.hold
    assert cost.max_pulses_per_cell == array.pulses.max() + form


@pytest.mark.parametrize("phase", ["forming", "prepare", "set", "reset", "restore"])
def test_a_stop_in_any_phase_leaves_a_file_that_says_what_was_given(phase: str, tmp_path: Path) -> None:
    run = record(tmp_path, "pulse_response", stop_at=phase, **CHOSEN)
    assert run.attrs["outcome"] == "interrupted"
    assert run.pulses == run.counted.sum()
    assert run.phase[-1] == phase


def test_amplitudes_beyond_the_converter_or_a_limit_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"pulse_response: \$.set.amplitude: 9 V is not within the board's 0 V to 5 V"
    ):
        record(tmp_path, "pulse_response", set={"amplitude": "9 V", "width": "100 ns", "gate": "2 V"})
    with pytest.raises(LimitError, match=r"SET pulse of 4.5 V is above"):
        record(tmp_path, "pulse_response", set={"amplitude": "4.5 V", "width": "100 ns", "gate": "2 V"})
    with pytest.raises(SettingsError, match=r"pulses must be at least 1, not 0"):
        record(tmp_path, "pulse_response", pulses=0)
    assert not (tmp_path / "runs").exists()
