"""Benches with an associative array: which kind of array they give, what they plan, and those that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from associative_boards import SHAPE, adding, write_small_bench
from benches import write_bench

from labctl.array import Capability, PulseLimits
from labctl.associative import AssociativeArray, AssociativeGeometry, Read, Run
from labctl.bench.live import AssociativeBenchArray, BenchArray, load_bench
from labctl.bench.settings import read_bench
from labctl.cli import _run
from labctl.errors import BenchError, LinkClosedError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


def test_a_driver_may_know_its_capabilities_once_it_is_connected() -> None:
    with load_bench("rram") as bench:
        driver = bench.file.drivers["board"]
        told = property(lambda self: driver.capabilities)  # noqa: ARG005
        bench.file.drivers["board"] = type("Told", (driver,), {"capabilities": told})
        assert type(bench.array()) is BenchArray


def test_an_array_of_such_a_driver_passes_actions_on(tmp_path: Path) -> None:
    with load_bench(write_small_bench(tmp_path)) as bench, bench.array() as array:
        assert isinstance(array, AssociativeBenchArray)
        assert isinstance(array, AssociativeArray)
        assert array.associative == AssociativeGeometry(**SHAPE)
        assert (array.geometry.rows, array.geometry.cols, array.geometry.cell) == (100, 48, "racetrack")
        assert array.perform(Run(adding()))[0].counters.searches == 24
        assert array.counters().searches == 24
        assert array.limits == PulseLimits()
        assert array.is_volatile
    with pytest.raises(LinkClosedError, match="the array 'main' is not connected"):
        array.perform(Read(np.array([0])))


def test_an_array_of_another_driver_does_not(tmp_path: Path) -> None:
    with load_bench(write_bench(tmp_path)) as bench:
        assert not isinstance(bench.array(), AssociativeBenchArray)
        assert not isinstance(bench.array(), AssociativeArray)


@pytest.mark.parametrize(
    ("table", "line"),
    [("limits", 'max_set_voltage = "1 V"'), ("cell_limits", "max_pulses = 10"), ("wear", "max_pulses = 10")],
)
def test_limits_that_would_not_hold_are_refused(tmp_path: Path, table: str, line: str) -> None:
    path = write_small_bench(tmp_path)
    path.write_text(path.read_text() + f"\n[arrays.main.{table}]\n{line}\n")
    with pytest.raises(BenchError, match=rf"\$\.arrays\.main\.{table}: an associative array gets no pulses to limit"):
        load_bench(path).array()


def test_a_plan_needs_no_board(tmp_path: Path) -> None:
    plan = load_bench(write_small_bench(tmp_path, library="@py")).array().nominal()
    assert plan.capabilities == Capability.ASSOCIATE
    assert (plan.geometry.rows, plan.geometry.cols) == (100, 48)


@pytest.mark.parametrize(("name", "verify_every"), [("racetrack", 1), ("racetrack-ideal", 0)])
def test_the_benches_that_ship_work(name: str, verify_every: int) -> None:
    assert read_bench(name).is_embedded
    with load_bench(name) as bench, bench.array() as array:
        assert isinstance(array, AssociativeBenchArray)
        assert array.associative == AssociativeGeometry(65_536, 128, 64, 2)
        assert array.perform(Read(np.array([8191])))[0].shape == (1, 8192)
        counted = array.counters()
        assert (counted.read_columns, counted.shifts, counted.checks) == (1, 31, 31 * verify_every)
        assert (counted.realignments > 0) == bool(verify_every)
        assert array.snapshot()["POSition:VERify"] == str(verify_every)


@pytest.mark.parametrize("cells", ["racetrack", "racetrack_ideal"])
def test_bench_init_writes_one_whose_chip_remembers(cells: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["bench", "init", "mine.toml", "--cells", cells, "--chip", "RT-7"]) == 0
    assert _run(["bench", "check", "mine.toml"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "AP-128,RT-7,1.0: chip RT-7, 65536 rows of 128 tracks of 64 domains with 2 ports, racetrack" in said
    assert Path("RT-7.h5").exists()
    with load_bench("mine.toml") as bench:
        assert not bench.array().is_volatile


def test_bench_init_for_a_real_board_names_its_driver(capsys: pytest.CaptureFixture[str]) -> None:
    resource = "TCPIP0::192.0.2.1::5025::SOCKET"
    assert _run(["bench", "init", "mine.toml", "--cells", "racetrack", "--resource", resource]) == 0
    capsys.readouterr()
    settings = read_bench("mine.toml").instruments["board"]
    assert (settings.driver, settings.address) == ("associative_board", resource)
