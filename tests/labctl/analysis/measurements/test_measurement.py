"""A measurement holds what was read, cell by cell, and says what it was read of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from benches import write_bench
from measured_runs import (
    ADC,
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
from labctl.analysis.measurements import measurement
from labctl.array import Operation
from labctl.errors import RecordingError
from labctl.steps import Variable

STEP = ADC.step
"""What readings are rounded to: half of it is the largest error, a whole one leaves room for float32."""


def measured(path: Path) -> xr.Dataset:
    with labctl.open_run(path) as tree:
        return measurement(tree)


def test_retention_has_the_verify_reading_and_then_each_scheduled_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    conductance, times = rng.uniform(1e-6, 40e-6, (30, 3)), np.array([0.01, 100.0])
    target = np.repeat([10e-6, 20e-6, np.nan], 10)
    found = measured(write_retention(tmp_path / "run.h5", conductance, times, target))
    assert found.attrs == {
        "measurement": "retention",
        "chip_serial": "MADE-UP-1",
        "cell": "1T1R RRAM",
        "rows": 6,
        "cols": 6,
        "temperature": 300.0,
        "saturated": 0,
    }
    assert found["cell"].values.tolist() == list(range(1, 31))
    assert found["time"].values.tolist() == [0.0, 0.01, 100.0]
    np.testing.assert_allclose(found["conductance"], conductance, atol=STEP)
    np.testing.assert_allclose(found["target"], target, rtol=1e-6)
    # programming ended 30 turns of 1 us after it began; each cell's turn in it and in a read is the same
    expected = np.array([0.0, 0.01 + 30e-6, 100.0 + 30e-6])
    np.testing.assert_allclose(found["elapsed"], np.tile(expected, (30, 1)), atol=1e-6)


def test_a_cell_that_no_read_reached_keeps_its_first_value(tmp_path: Path) -> None:
    variables = (
        Variable("scheduled", "scheduled", unit="s", dtype="f8"),
        Variable("group", "group", dtype="u4"),
        *(Variable(name, name, ("row", "col"), "f8", "S") for name in ("target", "programmed", "programmed_at")),
    )
    writing = Writing(tmp_path / "run.h5", "retention", square(3), ("program", "read"), variables)
    maps = dict.fromkeys(("target", "programmed", "programmed_at"), np.array([5e-6, np.nan, 7e-6, np.nan]))
    writing.step("program", {}, **maps)
    for group, cell in enumerate((0, 1)):
        writing.read(np.array([cell]), np.array([9e-6]))
        writing.step("read", {"scheduled": 1.0, "group": group})
    writing.close()
    found = measured(tmp_path / "run.h5")
    assert found["cell"].values.tolist() == [0, 1, 2]
    expected = [[5e-6, 9e-6], [np.nan, 9e-6], [7e-6, np.nan]]
    np.testing.assert_allclose(found["conductance"], expected, atol=STEP)


def test_endurance_keeps_the_last_reading_of_a_cell_in_a_step(tmp_path: Path) -> None:
    variables = (Variable("cycle", "cycle", dtype="u4"),)
    writing = Writing(tmp_path / "run.h5", "endurance", square(2), ("set", "reset"), variables)
    writing.pulse(Operation.SET, np.array([0, 1]), 2.0, np.array([50e-6, 10e-6]))
    writing.pulse(Operation.SET, np.array([1]), 2.2, np.array([55e-6]))
    writing.step("set", {"cycle": 7})
    writing.pulse(Operation.RESET, np.array([0, 1]), 2.0, np.array([2e-6, 1.0]))  # 1 S is beyond the converter
    writing.step("reset", {"cycle": 7})
    writing.pulse(Operation.SET, np.array([0]), 2.0, np.array([90e-6]))  # its step was never done
    writing.close()
    found = measured(tmp_path / "run.h5")
    assert found["state"].values.tolist() == ["lrs", "hrs"]
    assert found["cycle"].values.tolist() == [7]
    np.testing.assert_allclose(found["conductance"][..., 0], [[50e-6, 2e-6], [55e-6, np.nan]], atol=STEP)
    assert found.attrs["saturated"] == 1


def test_endurance_of_many_cycles(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lrs, hrs = rng.uniform(100e-6, 200e-6, (9, 12)), rng.uniform(1e-6, 10e-6, (9, 12))
    found = measured(write_endurance(tmp_path / "run.h5", lrs, hrs))
    np.testing.assert_allclose(found["conductance"].sel(state="lrs"), lrs, atol=STEP)
    np.testing.assert_allclose(found["conductance"].sel(state="hrs"), hrs, atol=STEP)
    assert found["cycle"].values.tolist() == list(range(1, 13))


def test_pulse_response_has_every_pulse_of_every_train(tmp_path: Path) -> None:
    conductance = np.random.default_rng(3).uniform(1e-6, 200e-6, (5, 2, 2, 8))
    found = measured(write_pulse_response(tmp_path / "run.h5", conductance))
    assert found["conductance"].dims == ("cell", "train", "direction", "pulse")
    np.testing.assert_allclose(found["conductance"], conductance, atol=STEP)
    said = {name: found.attrs[name] for name in ("amplitude_set", "amplitude_reset", "width")}
    assert said == pytest.approx({"amplitude_set": 1.5, "amplitude_reset": 1.2, "width": 1e-7}, rel=1e-6)


def test_current_follows_from_conductance_and_voltage(tmp_path: Path) -> None:
    voltage = np.array([-0.2, 0.1, 0.2])
    current = np.outer(np.linspace(10e-6, 90e-6, 6), voltage)
    found = measured(write_iv(tmp_path / "run.h5", voltage[::-1], current[:, ::-1]))
    np.testing.assert_allclose(found["voltage"], voltage, atol=1e-6)
    np.testing.assert_allclose(found["current"], current, atol=0.2 * STEP)


def test_read_noise_is_a_sample_a_pass_with_its_time(tmp_path: Path) -> None:
    conductance = np.random.default_rng(4).normal(50e-6, 1e-6, (3, 25))
    found = measured(write_read_noise(tmp_path / "run.h5", conductance, rate=400.0, samples_a_step=10))
    np.testing.assert_allclose(found["conductance"], conductance, atol=STEP)
    np.testing.assert_allclose(found["time"], np.arange(25) / 400, atol=1e-6)


def test_read_noise_of_changing_cells_is_refused(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "run.h5", "read-noise", square(3), ("read",), ())
    for cells in ([0, 1], [0, 2]):
        writing.read(np.array(cells), np.array([1e-5, 1e-5]))
        writing.step("read")
    writing.close()
    with pytest.raises(RecordingError, match="different cells"):
        measured(tmp_path / "run.h5")


def test_a_map_has_mean_and_spread_where_it_was_read(tmp_path: Path) -> None:
    conductance = np.random.default_rng(5).uniform(1e-6, 200e-6, (4, 6, 7))
    conductance[2, 0, 3] = 1.0
    region = np.arange(0, 42, 2)
    found = measured(write_map(tmp_path / "run.h5", conductance, region))
    mean, spread = conductance.mean(axis=0).ravel(), conductance.std(axis=0, ddof=1).ravel()
    outside = np.setdiff1d(np.arange(42), region)
    for values, expected in (("conductance", mean), ("spread", spread)):
        got = found[values].values.ravel()
        expected[outside] = np.nan
        np.testing.assert_allclose(got[region[region != 3]], expected[region[region != 3]], atol=STEP)
        assert np.isnan(got[outside]).all()
    assert found.attrs["saturated"] == 0  # cell 3 is odd, so outside


def test_a_cell_of_a_map_that_saturated_once_has_no_mean(tmp_path: Path) -> None:
    conductance = np.full((4, 2, 2), 1e-5)
    conductance[2, 0, 1] = 1.0
    found = measured(write_map(tmp_path / "run.h5", conductance))
    assert np.isnan(found["conductance"].values).ravel().tolist() == [False, True, False, False]
    assert np.isnan(found["spread"].values).ravel().tolist() == [False, True, False, False]
    assert found.attrs["saturated"] == 1


def test_forming_tells_cells_tried_from_cells_formed(tmp_path: Path) -> None:
    voltage = np.array([3.1, np.nan, 2.9, 3.3])
    conductance, gate = np.array([120e-6, 0.0, 130e-6, 1.0]), np.array([1.2, 1.2, 1.5, 1.5])
    found = measured(write_forming(tmp_path / "run.h5", voltage, conductance, gate))
    assert found["cell"].values.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(found["forming_voltage"], voltage, rtol=1e-6)
    np.testing.assert_allclose(found["gate"], gate, rtol=1e-6)
    np.testing.assert_allclose(found["conductance"], [120e-6, 0.0, 130e-6, np.nan], atol=STEP)
    assert found.attrs["saturated"] == 1


def test_programming_and_step_size_are_of_targeted_cells(tmp_path: Path) -> None:
    target, reached = np.array([10e-6, 20e-6, 30e-6]), np.array([11e-6, 1.0, 29e-6])
    pulses, success, volts = np.array([4, 60, 9]), np.array([True, False, True]), np.array([0.05, 0.05, 0.1])
    found = measured(write_programming(tmp_path / "programming.h5", target, reached, pulses, success))
    np.testing.assert_allclose(found["target"], target, rtol=1e-6)
    np.testing.assert_allclose(found["reached"], [11e-6, np.nan, 29e-6], rtol=1e-6)
    assert found["pulses"].values.tolist() == [4, 60, 9]
    assert found["success"].values.tolist() == [True, False, True]
    assert found.attrs["saturated"] == 1
    found = measured(write_step_size(tmp_path / "steps.h5", volts, target, reached, pulses, success))
    np.testing.assert_allclose(found["step_voltage"], volts, rtol=1e-6)


def test_a_programming_run_of_the_runner_is_a_measurement(tmp_path: Path) -> None:
    target = np.random.default_rng(6).uniform(5e-6, 30e-6, (24, 24))
    with labctl.load_bench(write_bench(tmp_path, rows=24, cols=24)) as bench, bench.array() as array:
        result = labctl.run("write_verify", array, target=target)
    found = measured(result.path)
    np.testing.assert_allclose(found["target"], target.ravel(), rtol=1e-6)
    assert int(found["success"].sum()) == result.summary["outcomes"]["in_window"]
    assert int(found["pulses"].sum()) == result.summary["pulses"] - result.summary["forming_pulses"]


@pytest.mark.parametrize(
    ("kind", "variables", "sentence"),
    [
        ("", (), "is no measurement"),
        ("telepathy", (), "no kind of measurement known here"),
        ("retention", (), "has no readings"),
        ("programming", (), "has no map `target`"),
        ("programming", (Variable("target", "t", ("row", "col")),), "wrote nothing into its map `target`"),
        ("forming", (), "tried no cell"),
        ("iv", (), "has no readings"),
    ],
)
def test_what_a_run_lacks_is_said_in_one_sentence(
    tmp_path: Path, kind: str, variables: tuple[Variable, ...], sentence: str
) -> None:
    Writing(tmp_path / "run.h5", kind, square(3), ("read", "set"), variables).close()
    with pytest.raises(RecordingError, match=sentence):
        measured(tmp_path / "run.h5")
