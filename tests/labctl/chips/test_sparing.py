"""A run leaves alone what earlier runs found bad and what people exclude, says so, and warns of wear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benches import write_bench

import labctl
from labctl.bench.settings import WearSettings, check_text, read_bench
from labctl.chips import Defect, Exclusion, chip_record
from labctl.chips.exclusions import exclude
from labctl.chips.wear import wear_of
from labctl.errors import BenchError, SettingsError
from labctl.recording import read_summary
from labctl.runner import RunResult

KEPT = 'state = "T-4.h5"'
CYCLED = {"cells": "all", "cycles": 1}
"""Settings of endurance that form every cell, and pulse it three times more."""


def run(bench_path: Path, protocol: str, **settings: object) -> tuple[RunResult, np.ndarray]:
    """The run, and how many pulses it gave each cell, by the chip itself."""
    with labctl.load_bench(bench_path) as bench, bench.array() as array:
        counter = array.driver.link
        before = counter.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4").astype(int)
        result = labctl.run(protocol, array, **settings)
        return result, counter.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4") - before


@pytest.fixture
def bench_path(tmp_path: Path) -> Path:
    return write_bench(tmp_path, rows=24, cols=24, chip="T-4", simulated=KEPT)


def test_what_the_first_run_found_stuck_the_second_leaves_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench_path = write_bench(tmp_path, chip="T-1", simulated=KEPT)
    target = np.random.default_rng(2).uniform(5e-6, 35e-6, (32, 32))
    run(bench_path, "write_verify", target=target)
    assert capsys.readouterr().err == ""
    bad = chip_record("T-1", tmp_path / "runs").defects
    assert set(np.unique(bad)) == {Defect.NONE, Defect.NEVER_FORMED, Defect.STUCK_LOW, Defect.STUCK_HIGH}
    result, given = run(bench_path, "write_verify", target=target, max_pulses=5, reverify=[])
    assert given[bad == 0].any()
    assert not given[bad > 0].any()
    assert result.summary["outcomes"]["excluded"] == np.count_nonzero(bad)
    assert read_summary(result.path).attributes["excluded_cells"] == np.count_nonzero(bad)
    said = capsys.readouterr().err
    assert said == (
        "labctl: chip T-1: left alone: 4 never formed, 1 stuck low, 1 stuck high (labctl chip show T-1; --all-cells)\n"
    )
    _, given = run(bench_path, "forming")
    assert np.array_equal(given > 0, bad == Defect.NEVER_FORMED)  # which it is there to try again
    result, given = run(bench_path, "endurance", **CYCLED, all_cells=True)
    assert given[bad > 0].all()
    assert read_summary(result.path).attributes["excluded_cells"] == 0


def test_people_and_settings_exclude_beside_the_record(bench_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exclude(bench_path.parent / "runs", "T-4", Exclusion(because="scratch", rows=(3,), cells=((5, 5),)))
    own = np.zeros((24, 24), bool)
    own[:, 7] = True
    result, given = run(bench_path, "endurance", **CYCLED, exclude=own)
    assert "left alone: 25 excluded by people (labctl chip show T-4; --all-cells)" in capsys.readouterr().err
    expected = own.copy()
    expected[3], expected[5, 5] = True, True
    assert not given.reshape(24, 24)[expected].any()
    assert given.reshape(24, 24)[~expected].all()
    assert read_summary(result.path).attributes["excluded_cells"] == np.count_nonzero(expected)
    _, given = run(bench_path, "endurance", **CYCLED, exclude=own, all_cells=True)
    assert np.array_equal(given.reshape(24, 24) == 0, own)


def test_a_map_shows_defects_but_not_what_people_exclude(bench_path: Path) -> None:
    folder = bench_path.parent / "runs"
    run(bench_path, "forming")
    assert (chip_record("T-4", folder).defects > 0).any()
    exclude(folder, "T-4", Exclusion(because="scratch", rows=(3,)))
    result, _ = run(bench_path, "read")
    with labctl.open_run(result.path) as tree:
        known = np.isfinite(tree["maps"]["conductance"].values)
    assert not known[3].any()
    assert np.delete(known, 3, axis=0).all()


def test_a_chip_that_is_fresh_each_time_has_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_bench(tmp_path, rows=24, cols=24, chip="T-4")
    result, _ = run(path, "forming")
    assert read_summary(result.path).attributes["chip_volatile"]
    _, given = run(path, "endurance", **CYCLED)
    assert given.all()
    assert capsys.readouterr().err == ""
    record = chip_record("T-4", tmp_path / "runs")
    assert not record.excluded.any()
    assert all("fresh each time" in each.not_counted for each in record.runs)
    exclude(tmp_path / "runs", "T-4", Exclusion(because="asked for by hand", rows=(1,)))
    _, given = run(path, "endurance", **CYCLED)
    assert not given.reshape(24, 24)[1].any()


def test_runs_recorded_elsewhere_are_known_there_and_in_the_benchs_own_folder(bench_path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    run(bench_path, "forming", out=elsewhere)
    bad = chip_record("T-4", elsewhere).defects > 0
    exclude(bench_path.parent / "runs", "T-4", Exclusion(because="scratch", rows=(3,)))
    _, given = run(bench_path, "endurance", **CYCLED, out=elsewhere)
    assert bad.any()
    assert not given[bad].any()
    assert not given.reshape(24, 24)[3].any()


def test_a_replay_leaves_alone_what_was_known_when_it_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded runs found cells that never form: were they left alone now, other bytes would go out."""
    path = write_bench(tmp_path, rows=24, cols=24, chip="T-4", simulated=KEPT, instrument='wire_log = "first.log"')
    events = {}
    for log, next_log in (("first.log", "second.log"), ("second.log", "none.log")):
        with labctl.load_bench(path) as bench, bench.array() as array:
            events[log] = read_summary(labctl.run("endurance", array, **CYCLED).path).events
        path.write_text(path.read_text().replace(log, next_log), encoding="utf-8")
    assert events["first.log"] > events["second.log"]
    for log, expected in events.items():
        monkeypatch.setenv("LABCTL_REPLAY", f"board={tmp_path / log}")
        with labctl.load_bench(path) as bench, bench.array() as array:
            result = labctl.run("endurance", array, **CYCLED, out=tmp_path / "replays")
        assert read_summary(result.path).events == expected


def test_a_choice_all_of_which_is_excluded_is_refused(bench_path: Path) -> None:
    exclude(bench_path.parent / "runs", "T-4", Exclusion(because="scratch", rows=(3,)))
    with pytest.raises(SettingsError, match=r"endurance: \$.exclude: all of the chosen cells are excluded"):
        run(bench_path, "endurance", rows=(3, 1), cycles=2)


@pytest.mark.parametrize(
    ("simulated", "of_the_other", "is_volatile"),
    [("", "", True), (KEPT, "", False), ("", KEPT, True), (KEPT, KEPT, False)],
)
def test_a_bench_knows_whether_its_chip_forgets(
    tmp_path: Path, simulated: str, of_the_other: str, is_volatile: bool
) -> None:
    path = write_bench(tmp_path, simulated=simulated)
    address = 'resource_name = "TCPIP::10.0.0.1::5025::SOCKET"'
    other = f'\n[simulated.other]\nsimulator = "test_board"\n{address}\n{of_the_other}'
    path.write_text(path.read_text() + other, encoding="utf-8")
    assert labctl.load_bench(path).array().is_volatile is is_volatile


def test_only_what_is_simulated_in_this_process_forgets(tmp_path: Path) -> None:
    assert labctl.load_bench().array().is_volatile
    assert not labctl.load_bench(write_bench(tmp_path, library="@py")).array().is_volatile


def test_wear_is_told_before_a_run_takes_cells_that_far(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = '[arrays.main.wear]\nmax_pulses = 400\nmax_dose = "1 mVs"\nwarn_at = 0.9'
    path = write_bench(tmp_path, rows=24, cols=24, chip="T-4", simulated=KEPT, arrays=table)
    long = {"cells": 20, "cycles": 100, "every": 1, "reads_per_decade": 2}
    run(path, "endurance", **long)  # 201 pulses, and at most 11 that form
    assert capsys.readouterr().err == ""
    run(path, "endurance", **long)
    most = int(chip_record("T-4", tmp_path / "runs").pulses.max())
    said = capsys.readouterr().err
    assert "wear: this run may take up to 20 cells past 90% of a lifetime of 400 pulses, the most worn at 10" in said
    assert "mVs" not in said
    assert most < 425


def test_wear_is_told_of_no_more_cells_than_a_run_can_pulse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All cells come too close to the end of a life of 20 pulses, but of 576 the run takes 20."""
    path = write_bench(
        tmp_path, rows=24, cols=24, chip="T-4", simulated=KEPT, arrays="[arrays.main.wear]\nmax_pulses = 20"
    )
    run(path, "endurance", cells=20, cycles=10)
    assert "wear: this run may take up to 20 cells past 80% of a lifetime of 20 pulses" in capsys.readouterr().err


def test_wear_counts_what_is_beyond_the_share() -> None:
    pulses, dose = np.array([0, 79, 80, 81, 200], np.uint64), np.array([0.0, 1e-3, 8e-4, 7.9e-4, 0.0])
    by_pulses, by_dose = wear_of(WearSettings(max_pulses=100, max_dose=1e-3), pulses, dose)
    assert (by_pulses.beyond, by_pulses.worst) == (2, 2.0)
    assert (by_dose.beyond, by_dose.worst) == (1, 1.0)
    (later,) = wear_of(WearSettings(max_pulses=100, warn_at=1.0), pulses, dose, more_pulses=20)
    assert (later.beyond, later.worst) == (2, 2.2)
    assert wear_of(WearSettings(), pulses, dose) == []


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("max_pulses = 0", r"\$.arrays.main.wear: max_pulses must be more than 0, not 0"),
        ("warn_at = 1.5", r"\$.arrays.main.wear: warn_at must be more than 0 and at most 1, not 1.5"),
        ('max_dose = "1 V"', r"\$.arrays.main.wear.max_dose: '1 V' is not in Vs"),
    ],
)
def test_a_lifetime_that_cannot_be_one_is_a_mistake_of_the_bench_file(tmp_path: Path, table: str, said: str) -> None:
    path = write_bench(tmp_path, arrays=f"[arrays.main.wear]\n{table}")
    with pytest.raises(BenchError, match=said):
        read_bench(path)
    assert check_text(path.read_text().replace(table, ""), path)
