"""Forming with one compliance or several, on the cells that were chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from arrays import ScriptedArray
from measured import finish, record

from labctl.array import Geometry, Operation, PulseBatch
from labctl.errors import SettingsError
from labctl.protocols.forming import FormingChoice, forming

GATES = (1.0, 1.2, 1.5)


def by_compliance(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
    """Every cell forms at once, to what the gate allows."""
    assert batch.operation is Operation.FORM
    return np.maximum(conductance, 10e-6 * batch.gate)


def test_the_columns_take_the_compliances_in_turn_and_form_to_what_each_allows() -> None:
    array = ScriptedArray(12, 0.1e-6, by_compliance)
    summary, maps, steps = finish(forming.steps(array, FormingChoice(gates=GATES), np.random.default_rng(0)))
    assert np.allclose(maps["gate"], np.resize(GATES, (1, 12)))
    assert np.allclose(array.conductance, 10e-6 * np.resize(GATES, 12))
    pulsed = [step for step in steps if "gate" in step.values]
    assert [step.values["gate"] for step in pulsed] == list(GATES)
    assert [step.values["unformed"] for step in pulsed] == [8, 4, 0]
    assert summary["formed_now"] == summary["pulses"] == 12


def test_the_columns_of_a_region_are_shared_out_not_those_of_the_array() -> None:
    array = ScriptedArray(12, 0.1e-6, by_compliance)
    settings = FormingChoice(gates=GATES, cols=(5, 6))
    summary, maps, _ = finish(forming.steps(array, settings, np.random.default_rng(0)))
    expected = np.full(12, np.nan)
    expected[5:11] = np.resize(GATES, 6)
    assert np.allclose(maps["gate"][0], expected, equal_nan=True)
    assert np.array_equal(array.pulses, np.isfinite(expected))
    assert summary["cells"] == summary["formed_now"] == 6


def test_with_one_compliance_every_cell_tried_has_the_ramps(tmp_path: Path) -> None:
    run = record(tmp_path, "forming", rows=16, cols=16)
    tried = run.counted > 0
    assert np.array_equal(np.isfinite(run.maps["gate"].values.ravel()), tried)
    assert np.unique(run.maps["gate"].values[np.isfinite(run.maps["gate"].values)]).tolist() == [np.float32(1.2)]


def test_a_run_with_compliances_says_what_each_cell_and_each_step_had(tmp_path: Path) -> None:
    run = record(tmp_path, "forming", rows=16, cols=16, gates=["1.1 V", "1.4 V"])
    gate = run.maps["gate"].values
    for column in range(16):
        known = gate[np.isfinite(gate[:, column]), column]
        assert np.all(known == np.float32((1.1, 1.4)[column % 2]))
    pulses = run.operations["kind"].values == Operation.FORM
    of_step = run.steps["gate"].values[run.operations["step"].values[pulses]]
    assert np.array_equal(of_step, run.operations["gate"].values[pulses].astype(np.float32))
    assert set(np.unique(of_step)) == {np.float32(1.1), np.float32(1.4)}
    assert run.cost.gates[Operation.FORM] == 1.4
    assert run.counted.sum() <= run.cost.max_pulses
    assert run.readings <= run.cost.max_reads
    assert run.counted.max() <= run.cost.max_pulses_per_cell


def test_more_compliance_leaves_more_conductance(tmp_path: Path) -> None:
    run = record(tmp_path, "forming", rows=24, cols=24, gates=[1.0, 1.6])
    conductance, gate = run.maps["conductance"].values, run.maps["gate"].values
    formed = np.isfinite(run.maps["forming_voltage"].values)
    weak, strong = (np.median(conductance[formed & (gate == np.float32(each))]) for each in (1.0, 1.6))
    assert strong > weak


def test_a_stop_leaves_what_was_formed_and_with_what(tmp_path: Path) -> None:
    run = record(tmp_path, "forming", rows=16, cols=16, gates=[1.1, 1.4], stop_at="forming")
    assert run.attrs["outcome"] == "interrupted"
    assert np.array_equal(np.isfinite(run.maps["gate"].values.ravel()), run.counted > 0)
    assert 0 < np.count_nonzero(run.counted) <= 128


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"gates": (1.0, 1.0)}, "gates must be different voltages above 0 V"),
        ({"gates": (0.0,)}, "gates must be different voltages above 0 V"),
    ],
)
def test_compliances_that_cannot_be_meant_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FormingChoice(**wrong)


def test_a_region_that_is_not_on_the_array_is_refused() -> None:
    array = ScriptedArray(12, 0.1e-6, by_compliance)
    with pytest.raises(SettingsError, match=r"\$.cols: first 5 and count 9 are not within"):
        forming.plan(Geometry(1, 12, ""), array.dac, array.adc, FormingChoice(cols=(5, 9)))
