"""I-V curves: of formed cells, at every voltage, within the board's range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from arrays import ScriptedArray
from benches import write_bench

import labctl
from labctl.array import Operation, PulseBatch
from labctl.errors import CapabilityError, LimitError, RunError, SettingsError
from labctl.protocols.characterisation.iv import IvSettings, iv

VOLTS = [0.1, 0.2, 0.4]


def forming(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
    return np.full_like(conductance, 20e-6) if batch.operation is Operation.FORM else conductance


def never(conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:  # noqa: ARG001
    return conductance


def test_on_a_board_the_curves_of_formed_cells_are_recorded(tmp_path: Path) -> None:
    with labctl.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        result = labctl.run("iv", array, cells=100, read_voltages=VOLTS)
    summary = result.summary
    assert 90 <= summary["cells"] <= 100  # yields of 98 % and more: 90 would be 5 sigma away
    with labctl.open_run(result.path) as tree:
        assert tree.attrs["measurement"] == "iv"
        operations, steps = tree["operations"].to_dataset(), tree["steps"].to_dataset()
        read = steps["phase"].values == 3
        assert steps["read_voltage"].values[read].tolist() == np.float32(VOLTS).tolist()
        at_voltage = np.isfinite(operations["read_voltage"].values)
        assert np.array_equal(operations["read_voltage"].values[at_voltage], np.float32(VOLTS))
        assert np.array_equal(read[operations["step"].values], at_voltage)
        owner = tree["events/operation"].values
        curves = [tree["events/reading"].values[owner == each] for each in np.flatnonzero(at_voltage)]
        usual = tree["maps/conductance"].values
        measured = usual[np.isfinite(usual)]
    assert [len(each) for each in curves] == [summary["cells"]] * 3 == [len(measured)] * 3
    # the array's own read voltage is 0.2 V too: the same conductance but for the noise of two readings
    change = np.median(np.abs(curves[1] - measured) / measured)
    assert change < 0.15


def test_an_ohmic_cell_conducts_the_same_at_every_voltage() -> None:
    array = ScriptedArray(8, 0.0, forming)
    settings = IvSettings(read_voltages=tuple(VOLTS))  # type: ignore[arg-type]
    steps = iv.steps(array, settings, np.random.default_rng(0))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            summary = end.value
            break
    assert summary["cells"] == 8
    assert summary["highest_over_lowest_median"] == pytest.approx(1, abs=1e-3)  # a step at 0.1 V is 10 nS of 20 uS
    assert summary["conductance_median_siemens"] == pytest.approx(20e-6, rel=1e-3)


def test_without_forming_pristine_cells_are_measured_as_they_are(tmp_path: Path) -> None:
    with labctl.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        result = labctl.run("iv", array, cells=50, form_pristine=False)
    assert result.summary["cells"] == 50
    assert labctl.recording.read_summary(result.path).pulses == 0


def test_cells_that_never_form_are_an_error_not_an_empty_measurement() -> None:
    with pytest.raises(RunError, match="none of the 8 chosen cells reads 500 nS or more after forming"):
        list(iv.steps(ScriptedArray(8, 0.0, never), IvSettings(), np.random.default_rng(0)))


def test_a_board_that_cannot_form_says_what_to_do() -> None:
    array = ScriptedArray(8, 0.0, never)
    array.capabilities = iv.needs
    with pytest.raises(CapabilityError, match="say form_pristine=false"):
        list(iv.steps(array, IvSettings(), np.random.default_rng(0)))


def test_a_read_voltage_out_of_range_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    limits = '[arrays.main.cell_limits]\nmax_read_voltage = "0.45 V"'
    with labctl.load_bench(write_bench(tmp_path, arrays=limits)) as bench, bench.array() as array:
        with pytest.raises(
            LimitError, match=r"500 mV is above the cell's max_read_voltage of 450 mV; nothing was sent"
        ):
            labctl.run("iv", array)
        with pytest.raises(LimitError, match="20 mV is below the instrument's min_read_voltage of 50 mV"):
            labctl.run("iv", array, read_voltages=["20 mV"])
        with pytest.raises(LimitError, match="max_read_voltage"):
            array.read(voltage=0.5)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("volts", [[], [0.2, 0.1], [0.0, 0.1], [0.1, 0.1]])
def test_voltages_that_do_not_increase_are_refused(tmp_path: Path, volts: list[float]) -> None:
    with (
        labctl.load_bench(write_bench(tmp_path)) as bench,
        bench.array() as array,
        pytest.raises(SettingsError, match="read_voltages must be one or more voltages above 0 V that increase"),
    ):
        labctl.run("iv", array, read_voltages=volts)
