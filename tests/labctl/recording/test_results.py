"""Arrays that a protocol returns are variables of the run file, which every program of HDF5 and netCDF reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

from labctl.errors import RecordingError
from labctl.exchange.tables.exporting import export_tables
from labctl.recording import Outcome, RunWriter, open_run, read_summary, recover
from labctl.recording.checkpoint import read_checkpoint
from labctl.recording.differences import differences
from labctl.recording.pack import pack
from labctl.recording.results import split
from labctl.recording.verify import Verdict, verify
from labctl.steps import Result, Step

StartRun = Callable[..., RunWriter]
START = 1_700_000_000.0

EPOCHS, LABELS = 7, 3
CONFUSION = np.arange(9, dtype=np.uint32).reshape(3, 3)
RESULTS = {
    "loss": Result(np.linspace(2, 1, EPOCHS).astype(np.float32), ("epoch",), "loss"),
    "epoch": Result(np.arange(1, EPOCHS + 1), ("epoch",), "number of the epoch"),
    "confusion": Result(CONFUSION, ("label", "predicted"), "how often"),
    "policy": Result(np.array([0, 1, 1], np.uint8), ("label",), "what was done", flags={"left as is": 0, "erased": 1}),
    "kept": Result(np.array([True, False, True]), ("label",), "whether it was kept"),
    "time": Result(np.array([1.0, 10.0]), ("time",), "after the last pulse", "s"),
    "accuracy": Result(np.array([[0.5, np.nan, 1.0]] * 2, np.float16), ("time", "label"), "accuracy"),
    "of_others": Result(np.zeros((4, 2)), ("epoch", "time"), "on another axis of that name"),
}


def ended(start_run: StartRun, name: str = "run.h5", arrays: Any = RESULTS, **more: Any) -> Path:
    writer = start_run(name)
    writer.step(Step("form", {"active": 3}, {"target": np.full((8, 16), 1e-5, np.float32)}), time=START)
    writer.close(Outcome.FINISHED, summary={"fraction": 0.5}, message="done", arrays=arrays, **more)
    return writer.path


@pytest.fixture
def path(start_run: StartRun) -> Path:
    return ended(start_run)


def check_results(found: xarray.Dataset) -> None:
    for name, result in RESULTS.items():
        expected = result.values.astype(np.float32) if result.values.dtype == np.float16 else result.values
        np.testing.assert_array_equal(found[name].values, expected, strict=True)
        assert found[name].attrs["long_name"] == result.long_name
    assert found["time"].attrs["units"] == "s"
    assert set(found.coords) == {"epoch", "time"}
    assert found["loss"].dims == ("epoch",)
    assert found["confusion"].dims == ("label", "predicted")
    assert found["of_others"].dims == ("epoch_4", "time")
    assert found["policy"].attrs["flag_meanings"] == "left_as_is erased"


def test_they_are_in_the_opened_run(path: Path) -> None:
    with open_run(path) as tree:
        check_results(tree["results"].to_dataset())
        assert tree.attrs["outcome"] == "finished"
        assert float(tree["maps/target"][0, 0]) == pytest.approx(1e-5)
        assert json.loads(str(tree["provenance/summary"].values)) == {"fraction": 0.5}
    assert read_summary(path).message == "done"
    assert verify(path).verdict is Verdict.WHOLE
    assert [each.name for each in path.parent.iterdir()] == ["run.h5"]


def test_other_programs_read_them(path: Path) -> None:
    with xarray.open_datatree(path, engine="h5netcdf", decode_times=False, decode_timedelta=False) as tree:
        check_results(tree["results"].to_dataset())
    for tool, options in (("ncdump", ["-v", "/results/confusion"]), ("h5dump", ["-d", "/results/confusion"])):
        if shutil.which(tool):
            told = subprocess.run([tool, *options, path], check=True, capture_output=True, text=True).stdout
            assert "6, 7, 8" in told


def test_they_outlive_packing_and_recovery(start_run: StartRun, tmp_path: Path) -> None:
    large = {**RESULTS, "picture": Result(np.zeros((200, 300), np.float32), ("y", "x"), "a picture")}
    path = ended(start_run, arrays=large)
    packed = pack(path)
    assert packed.replaced
    assert packed.ratio < 0.5
    recover(path, tmp_path / "recovered.h5")
    for each in (path, tmp_path / "recovered.h5"):
        with open_run(each) as tree:
            check_results(tree["results"].to_dataset())
        assert verify(each).verdict is Verdict.WHOLE


def test_an_empty_one_is_one(start_run: StartRun) -> None:
    path = ended(start_run, arrays={"none": Result(np.zeros((0, 3)), ("found", "axis"), "what was found")})
    with open_run(path) as tree:
        assert tree["results/none"].shape == (0, 3)
    assert pack(path).replaced
    assert verify(path).verdict is Verdict.WHOLE


@pytest.mark.parametrize("name", ["confusion", "epoch", "kept"])
def test_one_that_changed_is_noticed(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        file["results"][name][0] = 0
    assert f"results/{name} does not hold what was recorded" in str(verify(path).findings)


def test_a_run_without_any_has_no_such_group(start_run: StartRun) -> None:
    path = ended(start_run, arrays={})
    with open_run(path) as tree:
        assert "results" not in tree
    assert verify(path).verdict is Verdict.WHOLE


def test_what_differs_is_shown(path: Path, start_run: StartRun) -> None:
    changed = {**RESULTS, "confusion": Result(CONFUSION + 1, ("label", "predicted"), "how often")}
    found = differences(path, ended(start_run, "other.h5", {**changed, "more": RESULTS["time"]}))
    assert set(found) == {"results"}
    assert {"confusion.sha256", "more.shape"} <= found["results"].keys()
    assert not any(name.startswith("loss") for name in found["results"])


def test_they_are_exported_by_their_dimensions(path: Path, tmp_path: Path) -> None:
    export_tables([path], "csv", tmp_path / "tables", what=["results"])
    tables = {each.stem: each.read_text().splitlines() for each in (tmp_path / "tables").glob("*.csv")}
    assert set(tables) == {
        "results_epoch",
        "results_label",
        "results_label_predicted",
        "results_time_label",
        "results_epoch_4_time",
    }
    assert tables["results_epoch"][:2] == ["epoch,loss", "1,2.0"]
    assert tables["results_label_predicted"][-1] == "2,2,8"
    assert tables["results_label"][1:] == ["0,1,left_as_is", "1,0,erased", "2,1,erased"]
    assert tables["results_time_label"][2] == "1.0,1,"
    (told,) = (tmp_path / "tables").glob("*.json")
    assert "how often" in told.read_text()


def test_they_are_exported_whole(path: Path, tmp_path: Path) -> None:
    export_tables([path], "netcdf", tmp_path / "run.nc", what=["results"])
    with xarray.open_dataset(tmp_path / "run.nc", group="results", engine="h5netcdf") as found:
        np.testing.assert_array_equal(found["confusion"], CONFUSION)
        assert found["accuracy"].dims == ("time", "label")


def test_plain_values_and_arrays_of_a_summary_are_told_apart() -> None:
    plain, arrays = split({"epochs": 3, "loss": RESULTS["loss"], "account": {"pulses": 5, "each": RESULTS["time"]}})
    assert plain == {"epochs": 3, "account": {"pulses": 5}}
    assert arrays == {"loss": RESULTS["loss"], "account.each": RESULTS["time"]}
    for name in ("a/b", "", ".."):
        with pytest.raises(RecordingError, match="cannot be named"):
            split({name: RESULTS["loss"]})


@pytest.mark.parametrize(
    ("values", "dims", "flags", "said"),
    [
        (np.array(["a"]), ("x",), None, "an array of numbers"),
        (np.zeros((2, 2)), ("x",), None, "a dimension for each of its axes"),
        (np.zeros((2, 2)), ("x", "x"), None, "a dimension for each of its axes"),
        (np.array(1.0), (), None, "one at least"),
        (np.zeros(2), ("x",), {"no": 0}, "flags holds whole numbers"),
    ],
)
def test_what_is_no_result_is_refused(values: Any, dims: Any, flags: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Result(values, dims, "what it is", flags=flags)


_FILL = """
import resource, sys
from pathlib import Path
import numpy as np
from labctl.array import Geometry, Scale
from labctl.errors import RecordingError
from labctl.recording import Outcome, RunWriter
from labctl.steps import Result, Step

path = Path(sys.argv[1])
writer = RunWriter.create(
    path, protocol="fill", title="Fill the disk", phases=("only",), variables=(),
    geometry=Geometry(64, 64, "1T1R RRAM"), dac=Scale(1e-3, 0.0, 12, "V"), adc=Scale(1e-7, 0.0, 12, "S"),
    started=1.7e9, provenance={"chip_serial": "C7"}, checkpoints=True,
)
checkpoint = {"weights": np.arange(1000.0)}
writer.step(Step("only", checkpoint=checkpoint), time=1.7e9 + 1, generator=np.random.default_rng(1))
limit = path.stat().st_size + 100_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    if sys.argv[2] == "results":
        picture = Result(np.zeros(100_000), ("x",), "more than there is room for")
        writer.close(Outcome.FINISHED, summary={"fraction": 0.5}, arrays={"picture": picture})
    else:
        checkpoint = {"weights": np.zeros(1_000_000)}
        writer.step(Step("only", checkpoint=checkpoint), time=1.7e9 + 2, generator=np.random.default_rng(1))
except RecordingError as error:
    print(error)
writer.close(Outcome.FAILED, message="disk full")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file size is a Unix thing")
@pytest.mark.parametrize("what", ["results", "checkpoint"])
def test_a_file_that_may_not_grow_keeps_what_was_committed(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run.h5"
    command = [sys.executable, "-c", _FILL, str(path), what]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"cannot write the run file {path}: File too large\n"
    assert [each.name for each in tmp_path.iterdir()] == ["run.h5"]
    summary = read_summary(path)
    assert (summary.outcome, summary.steps) == (Outcome.KILLED, 1)
    np.testing.assert_array_equal(read_checkpoint(path)["weights"], np.arange(1000.0))
    assert verify(path).verdict is Verdict.INCOMPLETE
