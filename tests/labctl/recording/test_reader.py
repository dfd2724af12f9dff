"""Finished, live and killed files open alike, with the tools everybody has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from labctl.array import PulseBatch, Readout
from labctl.errors import RecordingError
from labctl.recording import Outcome, RunWriter, State, open_run, read_summary
from labctl.recording.catalogue import Catalogue
from labctl.steps import Step

Exchange = Callable[..., tuple[PulseBatch, Readout]]
StartRun = Callable[..., RunWriter]


@pytest.fixture
def finished_run(start_run: StartRun, exchange: Exchange) -> Path:
    batch, readout = exchange()
    with start_run() as writer:
        writer.record_read(readout)
        writer.intend([batch])
        writer.complete([readout])
        writer.step(Step("program", {"active": 3}, {"target": np.ones((8, 16))}), time=1.7e9)
        writer.close(Outcome.FINISHED, time=1.7e9 + 1, summary={"fraction": 0.75})
    return writer.path


def test_a_finished_run_is_plain_hdf5(finished_run: Path) -> None:
    with h5py.File(finished_run) as file:
        assert file.attrs["outcome"] == b"finished"
        assert file.attrs["chip_serial"] == "C7"
        assert file["events/cell"][:].tolist() == [0, 1, 2, 3, 4] * 2
        assert file["maps"].attrs["NX_class"] == "NXdata"
        assert file[file.attrs["default"]].attrs["signal"] == "target"


def test_a_finished_run_is_plain_netcdf(finished_run: Path) -> None:
    with xarray.open_datatree(finished_run, engine="h5netcdf") as tree:
        tree.load()
        assert np.isnan(tree["events/amplitude"][0])
        assert tree["events/amplitude"][5] == pytest.approx(1.0)
        assert tree["maps/target"].dims == ("row", "col")
        assert tree["operations/start"].dtype == "M8[ns]"
        assert tree["events"].sizes["event"] == 10


@pytest.mark.parametrize(("tool", "says"), [("ncdump", "event = UNLIMITED ; // (10 currently)"), ("h5dump", "GROUP")])
def test_other_programs_read_a_finished_run(finished_run: Path, tool: str, says: str) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    shown = subprocess.run([tool, finished_run], check=True, capture_output=True, text=True)
    assert says in shown.stdout


@pytest.fixture
def run_at_voltages(start_run: StartRun, exchange: Exchange) -> Path:
    """Code 2000 to 2004 of cells 0 to 4: read at the array's own 0.2 V, verified, and read at 0.1 V and 0.5 V."""
    batch, readout = exchange()
    with start_run() as writer:
        writer.record_read(readout)
        writer.intend([batch])
        writer.complete([readout])
        for volts in (0.1, 0.5):
            scale = replace(readout.scale, step=readout.scale.step * 0.2 / volts)
            writer.record_read(replace(readout, scale=scale), volts)
        writer.close(Outcome.FINISHED)
    return writer.path


def test_readings_at_any_voltage_are_in_siemens(run_at_voltages: Path) -> None:
    usual = np.arange(2000, 2005) * 1e-7
    with open_run(run_at_voltages) as tree:
        reading = tree["events/reading"]
        expected = np.concatenate([usual, usual, usual * 2, usual * 0.4])
        np.testing.assert_allclose(reading, expected, rtol=1e-12)
        np.testing.assert_allclose(reading[[19, 3, 10]], expected[[19, 3, 10]], rtol=1e-12)
        assert reading.attrs["units"] == "S"
        voltage = tree["operations/read_voltage"].values
        assert np.isnan(voltage[:2]).all()
        assert voltage[2:].tolist() == [np.float32(0.1), 0.5]
        assert not tree["events/status"].values.any()


def test_a_run_recorded_before_there_were_read_voltages_opens(finished_run: Path) -> None:
    with h5py.File(finished_run, "a") as file:
        for name in ("read_voltage", "reading_factor"):
            file["operations"][name].dims[0].detach_scale(file["operations/operation"])
            del file["operations"][name]
    with open_run(finished_run) as tree:
        np.testing.assert_allclose(tree["events/reading"][:5], np.arange(2000, 2005) * 1e-7)


def test_derived_columns_are_lazy_and_index_as_any_other(finished_run: Path) -> None:
    with open_run(finished_run) as tree:
        events = tree["events"].to_dataset()
        whole = events["operation"].values.tolist()
        assert whole == [0] * 5 + [1] * 5
        assert events["operation"].isel(event=slice(None, None, -2)).values.tolist() == whole[::-2]
        assert events["operation"].isel(event=[7, 0]).values.tolist() == [1, 0]
        assert events["operation"].isel(event=-1).item() == 1
        assert events["status"].isel(event=slice(3, 7)).values.tolist() == [0] * 4


def test_a_run_without_events_opens(start_run: StartRun) -> None:
    with start_run(variables=()) as writer:
        writer.close(Outcome.FAILED, message="nothing done")
    with open_run(writer.path) as tree:
        tree.load()
        assert tree["events/time"].size == 0


_FOLLOW = """
import sys
from labctl.recording import open_run
outcome, seen = "live", 0
while outcome == "live":
    with open_run(sys.argv[1]) as tree:
        outcome, steps = tree.attrs["outcome"], tree["steps"]["active"].values.tolist()
        readings = tree["events"]["reading"].values
    assert steps == list(range(len(steps))), steps
    assert len(steps) >= seen and len(readings) >= 5 * len(steps)
    assert (abs(readings[: 5 * len(steps)] - 7e-7) < 1e-12).all()
    seen = len(steps)
    print(outcome, seen, flush=True)
"""


def test_another_process_follows_a_live_run(start_run: StartRun, exchange: Exchange) -> None:
    batch, readout = exchange()
    same = Readout(readout.cells, np.full_like(readout.codes, 7), readout.scale, 1.7e9, 1e-6)
    with start_run() as writer:
        command = [sys.executable, "-W", "error", "-c", _FOLLOW, str(writer.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None
            seen = [reader.stdout.readline()]
            for active in range(1500):
                writer.intend([batch])
                writer.complete([same])
                writer.step(Step("program", {"active": active}), time=1.7e9)
                if active % 500 == 499:
                    seen.append(reader.stdout.readline())
            writer.close(Outcome.FINISHED)
            seen += reader.stdout.readlines()
    assert reader.returncode == 0
    assert seen[0].split() == ["live", "0"]
    assert seen[-1].split() == ["finished", "1500"]


def test_opening_again_shows_what_is_new_though_the_first_is_still_open(
    start_run: StartRun, exchange: Exchange
) -> None:
    batch, readout = exchange(100)
    with start_run() as writer, open_run(writer.path):
        for _ in range(100):
            writer.intend([batch])
            writer.complete([readout])
        with open_run(writer.path) as later:
            assert later.attrs["outcome"] == "live"
            assert later["events/reading"].values[-1] == pytest.approx(readout.conductance[0, -1])


def test_a_live_run_shows_the_exchange_in_flight(start_run: StartRun, exchange: Exchange) -> None:
    batch, readout = exchange()
    with start_run() as writer:
        writer.intend([batch])
        with open_run(writer.path) as tree:
            assert tree.attrs["unsettled"] == 1
            assert tree["operations/state"].values.tolist() == [State.INTENDED]
        assert read_summary(writer.path).outcome is Outcome.LIVE
        assert read_summary(writer.path).unknown_dose == 0
        writer.complete([readout])


def test_pulses_of_unknown_dose_are_counted(start_run: StartRun, exchange: Exchange) -> None:
    batch, readout = exchange(5)
    with start_run() as writer:
        for finish in (lambda: writer.complete([readout]), writer.fail, lambda: writer.fail([State.NOT_APPLIED])):
            writer.intend([batch])
            finish()
        writer.close(Outcome.FAILED)
    assert read_summary(writer.path).unknown_dose == 5


def test_a_killed_run_opens_and_says_what_is_unknown(killed_run: Path) -> None:
    with open_run(killed_run) as tree:
        assert tree.attrs["outcome"] == "killed"
        assert tree.attrs["unsettled"] == 2
        assert tree["operations/state"].values.tolist() == [State.DONE, *[State.UNKNOWN_DOSE] * 2]
        assert tree["events/status"].values.tolist() == [0] * 5 + [2 | 4] * 10
        assert tree["steps"].sizes["step"] == 1
        assert (tree["maps/target"] == 1).all()


@pytest.mark.usefixtures("killed_run")
def test_a_list_of_runs_comes_from_their_files(start_run: StartRun, finished_run: Path) -> None:
    folder = finished_run.parent
    (folder / "notes.h5").write_text("not a run")
    with h5py.File(folder / "other.h5", "w"):
        pass
    with start_run("live.h5", started=1.8e9) as writer:
        runs = Catalogue(folder).find()
        writer.close(Outcome.FINISHED)
    assert [(run.path.name, run.outcome.value) for run in runs] == [
        ("killed.h5", "killed"),
        ("run.h5", "finished"),
        ("live.h5", "live"),
    ]
    finished = runs[1]
    assert (finished.protocol, finished.attributes["chip_serial"]) == ("write_verify", "C7")
    assert (finished.rows, finished.cols, finished.events, finished.pulses) == (8, 16, 10, 5)
    assert finished.summary == {"fraction": 0.75}
    assert runs[0].unsettled == 2
    assert [run.unknown_dose for run in runs] == [10, 0, 0]


@pytest.mark.parametrize("opener", [open_run, read_summary])
def test_what_is_not_a_run_is_refused_in_one_sentence(tmp_path: Path, opener: Callable[[Path], object]) -> None:
    text, other = tmp_path / "text.h5", tmp_path / "other.h5"
    text.write_text("not HDF5")
    with h5py.File(other, "w", libver=("v110", "v110")) as file:
        file.attrs["title"] = "something else"
    for path, words in (
        (text, "not a run file"),
        (other, "not a run file"),
        (tmp_path / "none.h5", "no file"),
    ):
        with pytest.raises(RecordingError, match=words):
            opener(path)


def test_a_file_of_a_newer_labctl_is_refused(finished_run: Path) -> None:
    with h5py.File(finished_run, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(RecordingError, match="newer"):
        open_run(finished_run)
