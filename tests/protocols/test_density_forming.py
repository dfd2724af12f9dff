"""A density of formed cells is what was asked for, on every chip, whatever state it is in, and told honestly."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import ScriptedArray
from benches import write_bench
from measured import finish, record

import labctl
from labctl.analysis.characterisation import statistics
from labctl.analysis.figures import draw
from labctl.analysis.report import render, run_page
from labctl.array import Geometry, Operation, PulseBatch
from labctl.chips import Defect, chip_record
from labctl.cli import _run
from labctl.errors import Interrupted, LimitError, RunError, SettingsError
from labctl.protocols.density_forming import OUTCOMES, DensityChoice, DensitySettings, form_to_density, forming_density
from labctl.runner import resume
from labctl.simulated_instruments.cells.rram_traits import RramTraits
from labctl.steps import Step

MEAN, SD = 3.433, 0.114


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """What `form-array --json` prints."""
    code = _run(["form-array", "--json", "--no-plot", "-q", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def most_off(density: float, cells: int, sample: int) -> float:
    """Four standard deviations of the density of `cells` at a voltage that a sample told."""
    return 4 * float(np.sqrt(density * (1 - density) * (1 / cells + 1 / sample)))


@pytest.mark.parametrize(("chip", "density"), [("D-1", 0.1), ("D-2", 0.3), ("D-3", 0.5), ("D-4", 0.7), ("D-5", 0.9)])
def test_the_command_forms_the_density_and_finds_the_breakdown_voltage(
    chip: str, density: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = write_bench(tmp_path, rows=128, cols=128, chip=chip)
    found = told(capsys, "--bench", bench, "--density", density)
    assert abs(found["density"] - density) < most_off(density, 128 * 128, 8 * 128)
    assert found["density_low"] < found["density"] < found["density_high"]
    # the chip's own sample of 1,024 cells: within 95 % intervals widened to 4 standard deviations
    for name, true in (("mean", MEAN), ("sd", SD)):
        value, low, high = (found[f"breakdown_{name}{end}_volts"] for end in ("", "_low", "_high"))
        assert value - 2.1 * (value - low) < true < value + 2.1 * (high - value)
    assert found["conductance_mean_siemens"] == pytest.approx(12.34e-6, rel=0.05)
    assert found["conductance_lognormal_sigma"] == pytest.approx(0.1474, rel=0.1)
    assert found["row_density_sd"] == pytest.approx(found["row_density_sd_of_chance"], rel=0.35)
    assert found["formed_before"] + found["formed_now"] + found["left_pristine"] == found["cells"] == 128 * 128


def test_the_file_says_the_same_and_its_bounds_hold(tmp_path: Path) -> None:
    run = record(tmp_path, "forming_density", rows=64, cols=64, density=0.4, sample_rows=6)
    voltage, outcome = run.maps["forming_voltage"].values, run.maps["forming_outcome"].values
    now = np.isfinite(voltage)
    assert np.array_equal(now, outcome == OUTCOMES["formed"])
    assert np.count_nonzero(now) == run.summary["formed_now"]
    assert np.all(run.maps["conductance"].values[now] >= 0.5e-6)
    assert run.pulses == run.counted.sum() == run.summary["pulses"] <= run.cost.max_pulses
    assert run.readings == run.summary["reads"] <= run.cost.max_reads
    assert run.counted.max() <= run.cost.max_pulses_per_cell
    assert np.nanmax(run.events["amplitude"].values) <= run.cost.amplitudes[Operation.FORM] + 1e-6
    assert run.steps["density"].values[-2] == pytest.approx(run.summary["density"])
    sampled = np.unique(np.flatnonzero((run.counted > 2).reshape(64, 64).any(axis=1)))
    assert sampled.tolist() == [5, 16, 26, 37, 48, 58]


def test_its_statistics_are_those_of_its_summary(tmp_path: Path) -> None:
    bench = write_bench(tmp_path, rows=64, cols=64)
    with labctl.load_bench(bench) as live, live.array() as array:
        result = labctl.run("forming_density", array, out=tmp_path, density=0.6)
    with labctl.open_run(result.path) as tree:
        found = {each.name: each for each in statistics(tree)}
    summary = result.summary
    assert found["density"].value == summary["density"]
    assert found["density"].low == pytest.approx(summary["density_low"])
    assert found["density"].high == pytest.approx(summary["density_high"])
    for name in ("mean", "sd"):
        each = found[f"breakdown_{name}"]
        assert each.n == summary["sample_cells"]
        ends = [summary[f"breakdown_{name}{end}_volts"] for end in ("", "_low", "_high")]
        np.testing.assert_allclose([each.value, each.low, each.high], ends, rtol=1e-6)  # float32 in the file
    assert found["formed_conductance_mean"].value == pytest.approx(summary["conductance_mean_siemens"], rel=1e-3)
    assert found["density_sd_of_rows"].value == pytest.approx(summary["row_density_sd"], rel=0.05)


def test_a_part_of_the_array_alone_is_touched(tmp_path: Path) -> None:
    exclude = np.zeros((64, 64), bool)
    exclude[20:24] = True
    choice = {"cols": [8, 48], "exclude": exclude}
    with labctl.load_bench(write_bench(tmp_path, rows=64, cols=64)) as bench, bench.array() as array:
        result = labctl.run("forming_density", array, out=tmp_path, density=0.5, **choice)
        counted = array.driver.link.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4").reshape(64, 64)
    wanted = np.zeros((64, 64), bool)
    wanted[:, 8:56] = ~exclude[:, 8:56]
    assert not counted[~wanted].any()
    assert (counted[wanted] > 0).mean() > 0.99
    with labctl.open_run(result.path) as tree:
        outcome = tree["maps"]["forming_outcome"].values
    assert np.all((outcome == OUTCOMES["not_chosen"]) == ~wanted)
    assert result.summary["cells"] == 60 * 48
    assert abs(result.summary["density"] - 0.5) < most_off(0.5, 60 * 48, 8 * 48)


def with_dead_rows(monkeypatch: pytest.MonkeyPatch, cols: int, *rows: int) -> None:
    """From now on no cell of these rows of a simulated chip forms."""
    draw = RramTraits.draw.__func__  # type: ignore[attr-defined]

    def drawn(cls: type[RramTraits], *given: Any) -> RramTraits:
        traits: RramTraits = draw(cls, *given)
        traits.breakdown_voltage.reshape(-1, cols)[list(rows)] = np.inf
        traits.stuck_high.reshape(-1, cols)[list(rows)] = False
        return traits

    monkeypatch.setattr(RramTraits, "draw", classmethod(drawn))


def test_dead_rows_neither_bend_the_sample_nor_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_dead_rows(monkeypatch, 64, 12, 40)  # of which 12 is a row of the sample
    bench = write_bench(tmp_path, rows=64, cols=64, simulated='state = "chip.h5"')
    found = told(capsys, "--bench", bench, "--density", 0.5)
    assert found["dead_rows"] == [12, 40]
    assert found["dead_cols"] == []
    assert found["never_formed"] == 2 * 64
    assert found["sample_cells"] <= 7 * 64
    assert abs(found["density"] - 0.5) < most_off(0.5, 62 * 64, 7 * 64)
    assert found["fraction_formed"] == pytest.approx(found["density"] * 62 / 64)
    known = chip_record("T-1", tmp_path / "runs")
    assert known.dead_rows == (12, 40)
    bad = known.defects.reshape(64, 64) == Defect.NEVER_FORMED
    assert bad[[12, 40]].all()
    assert np.count_nonzero(bad) == 128  # cells left pristine are no defects


def test_cells_formed_before_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half the columns formed wholly; then a higher density of the rest of a chip formed to a lower one."""
    bench = write_bench(tmp_path, rows=64, cols=64, simulated='state = "chip.h5"')
    with labctl.load_bench(bench) as live, live.array() as array:
        labctl.run("forming", array, out=tmp_path, cols=[0, 32])
    found = told(capsys, "--bench", bench, "--density", 0.75, "--all-cells")
    assert found["formed_before"] > 0.95 * 2048
    assert abs(found["density"] - 0.75) < most_off(0.75, 2048, 8 * 32)
    again = told(capsys, "--bench", bench, "--density", 0.9, "--all-cells")
    # but for a few that hardly conduct, which one reading takes for formed and another does not
    assert again["formed_before"] == pytest.approx(found["formed_before"] + found["formed_now"], abs=6)
    assert abs(again["density"] - 0.9) < most_off(0.9, 1024, 8 * 16)
    lower = told(capsys, "--bench", bench, "--density", 0.3, "--all-cells")
    assert lower["pulses"] == lower["formed_now"] == 0
    assert lower["density"] == again["density"]


def test_a_ramp_that_ends_too_low_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = write_bench(tmp_path, rows=64, cols=64)
    arguments = ["form-array", "--bench", str(bench), "--density", "0.5", "--no-plot", "-q", "--set", "ramp.stop=3.35V"]
    assert _run(arguments) == 0
    out, err = capsys.readouterr()
    assert "wanted 0.5" in out
    assert err == "labctl: fewer cells formed than wanted: raise ramp.stop, or further, to go on\n"


def test_limits_of_the_bench_are_checked_before_anything_is_sent(tmp_path: Path) -> None:
    bench = write_bench(tmp_path, arrays='[arrays.main.limits]\nmax_form_voltage = "3.5 V"')
    with (
        labctl.load_bench(bench) as live,
        live.array() as array,
        pytest.raises(LimitError, match=r"FORM pulse of 3.9 V is above the bench's max_form_voltage of 3.5 V"),
    ):
        labctl.run("forming_density", array, out=tmp_path, density=0.5)


def test_a_start_that_forms_more_than_wanted_ends_the_run_with_the_others_spared(tmp_path: Path) -> None:
    with labctl.load_bench(write_bench(tmp_path, rows=64, cols=64)) as bench, bench.array() as array:
        ramp = {"start": 3.5, "stop": 3.9, "step": 0.1, "width": 1e-6, "gate": 1.2}
        with pytest.raises(RunError, match=r"% of the sample rows formed at the first 3.5 V, .*: set a lower ramp"):
            labctl.run("forming_density", array, out=tmp_path, density=0.3, ramp=ramp)
        counted = array.driver.link.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4")
    assert np.count_nonzero(counted) == pytest.approx(8 * 64, abs=8)


def test_a_density_of_nearly_all_is_the_ordinary_ramp(tmp_path: Path) -> None:
    run = record(tmp_path, "forming_density", rows=32, cols=32, density=0.99)
    plain = record(tmp_path, "forming", rows=32, cols=32)
    assert run.summary["pulses"] == plain.summary["pulses"]
    assert np.array_equal(run.counted, plain.counted)
    assert run.summary["never_formed"] == plain.summary["never_formed"]
    assert run.cost == plain.cost


def test_a_stop_leaves_what_was_formed(tmp_path: Path) -> None:
    run = record(tmp_path, "forming_density", rows=32, cols=32, density=0.5, stop_at="sample")
    assert run.attrs["outcome"] == "interrupted"
    assert np.array_equal(np.isfinite(run.maps["gate"].values.ravel()), run.counted > 0)
    assert run.counted.max() == 1
    assert np.count_nonzero(run.counted) <= 8 * 32


def test_an_interrupted_run_goes_on_to_the_same_cells(tmp_path: Path) -> None:
    found = []
    for name, last in (("whole", 0), ("broken", 6)):
        folder = tmp_path / name
        folder.mkdir()
        bench = write_bench(folder, rows=64, cols=64, simulated='state = "chip.h5"')
        steps = iter(range(1, 1000))

        def stop(step: Step, steps: Iterator[int] = steps, last: int = last) -> None:  # noqa: ARG001
            if next(steps) == last:
                signal.raise_signal(signal.SIGINT)

        with labctl.load_bench(bench) as live, live.array() as array:
            try:
                result = labctl.run("forming_density", array, density=0.4, progress=stop)
            except Interrupted as stopped:
                result = resume(stopped.run_path, array)  # type: ignore[attr-defined]
        with labctl.open_run(result.path) as tree:
            found.append((result.summary, tree["maps"]["forming_voltage"].values))
    for name in ("pulses", "density", "chosen_voltage_volts", "breakdown_mean_volts", "breakdown_sd_volts"):
        assert found[0][0][name] == found[1][0][name]
    assert np.array_equal(found[0][1], found[1][1], equal_nan=True)


class Voltages:
    """Cells of a scripted array that form at voltages of their own."""

    def __init__(self, breakdown: np.ndarray) -> None:
        self.breakdown = breakdown
        self.most = np.zeros(len(breakdown))

    def __call__(self, conductance: np.ndarray, batch: PulseBatch) -> np.ndarray:
        volts = ScriptedArray.dac.values(batch.amplitude)
        self.most[batch.cells] = np.maximum(self.most[batch.cells], volts)
        return np.where(volts >= self.breakdown[batch.cells], 12e-6, conductance)


def scripted(rows: int, cols: int, breakdown: np.ndarray) -> ScriptedArray:
    array = ScriptedArray(rows * cols, 0.1e-6, Voltages(breakdown))
    array.geometry = Geometry(rows, cols, "scripted")
    return array


def test_further_steps_never_go_past_the_density_wanted() -> None:
    """Rows of the sample break down 20 mV earlier than the others, so that the one pulse forms too few."""
    rng = np.random.default_rng(6)
    breakdown = rng.normal(MEAN, SD, (64, 64))
    breakdown[4::8] -= 0.02
    array = scripted(64, 64, breakdown.ravel())
    formed, maps, steps = finish(form_to_density(array, DensitySettings(density=0.5)))
    portions = [step for step in steps if step.phase == "forming" and "forming_pulses" in step.values]
    assert len(portions) > 2
    densities = [step.values["density"] for step in portions]
    assert densities == sorted(densities)
    assert 0.5 - 1 / np.sqrt(4 * 4096) <= formed.density <= 0.5
    assert formed.breakdown is not None
    assert formed.breakdown.mean == pytest.approx(MEAN - 0.02, abs=0.01)
    assert np.array_equal(maps["forming_outcome"].ravel(), formed.outcome)


def test_a_sample_on_which_nothing_forms_spares_the_others() -> None:
    array = scripted(16, 32, np.full(512, 9.0))
    formed, _, _ = finish(form_to_density(array, DensitySettings(density=0.5)))
    assert formed.density == 0
    assert np.isnan(formed.chosen_voltage)
    assert np.count_nonzero(array.pulses) == 8 * 32


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"density": 0.0}, "density must be more than 0 and at most 1, not 0"),
        ({"density": 1.01}, "density must be more than 0 and at most 1, not 1.01"),
        ({"density": float("nan")}, "density must be more than 0"),
        ({"sample_rows": 0}, "sample_rows must be at least 1"),
        ({"sample_step": 0.0}, "sample_step must be more than 0 V"),
        ({"further": -1}, "further must not be negative"),
        ({"formed_at": 0.0}, "formed_at must be more than 0 S"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DensitySettings(**wrong)


def test_a_region_that_is_not_on_the_array_is_refused() -> None:
    array = scripted(8, 8, np.full(64, 3.4))
    with pytest.raises(SettingsError, match=r"\$.rows: first 5 and count 9 are not within"):
        forming_density.plan(array.geometry, array.dac, array.adc, DensityChoice(rows=(5, 9)))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--density", "1.5"], r"\$: density must be more than 0 and at most 1, not 1.5"),
        (["--density", "0.5", "--sample-rows", "0"], r"\$: sample_rows must be at least 1, not 0"),
        (["--sample-rows", "4"], r"--sample-rows: says how a --density is found, and none is given"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["form-array", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"labctl: (forming_density: )?{sentence}\n", err)


def test_the_figure_and_the_page_show_the_fit_and_the_density(tmp_path: Path) -> None:
    bench = write_bench(tmp_path, rows=32, cols=64)
    with labctl.load_bench(bench) as live, live.array() as array:
        result = labctl.run("forming_density", array, out=tmp_path, density=0.5)
    with labctl.open_run(result.path) as tree:
        figure = draw(tree)
        labels = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    fit = result.summary
    assert f"normal, mean {fit['breakdown_mean_volts']:.3f} V, sd {fit['breakdown_sd_volts'] * 1e3:.0f} mV" in labels
    assert f"all cells, after the one pulse of {fit['chosen_voltage_volts']:.3f} V" in labels
    page = render(run_page(result.path))
    assert "of 2,048 cells conduct, where 50" in page
    assert "Furthest from the median of formed cells" in page
