"""A killed run becomes an ordinary file, and nothing acknowledged is lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray

from labctl.errors import RecordingError
from labctl.recording import Outcome, RunWriter, State, open_run, read_summary, recover


def test_the_copy_holds_what_the_killed_run_held(killed_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    recover(killed_run, copy)
    with open_run(killed_run) as before, open_run(copy) as after:
        for name in ("events", "operations", "steps", "maps"):
            xarray.testing.assert_identical(before[name].to_dataset(), after[name].to_dataset())
        assert (after.attrs["outcome"], after.attrs["unsettled"]) == ("killed", 0)
        assert after["provenance"].attrs == before["provenance"].attrs
    assert read_summary(copy).pulses == 15


def test_the_copy_is_an_ordinary_file(killed_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    recover(killed_run, copy)
    with xarray.open_datatree(copy, engine="h5netcdf") as tree:
        tree.load()
        assert tree.attrs["outcome"] == "killed"
        assert tree["operations/state"].values.tolist() == [State.DONE, *[State.UNKNOWN_DOSE] * 2]
        assert tree["maps/target"].coords["row"].values.tolist() == list(range(8))
    for tool in ("ncdump", "h5dump"):
        if shutil.which(tool):
            subprocess.run([tool, copy], check=True, capture_output=True)


def test_nothing_is_overwritten_without_being_told(killed_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_text("precious")
    with pytest.raises(RecordingError, match="exists already"):
        recover(killed_run, copy)
    assert copy.read_text() == "precious"
    recover(killed_run, copy, overwrite=True)
    assert read_summary(copy).steps == 1


def test_a_file_can_take_its_own_place(killed_run: Path) -> None:
    recover(killed_run, killed_run, overwrite=True)
    with xarray.open_datatree(killed_run, engine="h5netcdf") as tree:
        assert tree["events"].sizes["event"] == 15


def test_a_live_run_is_left_alone(start_run: Callable[..., RunWriter], tmp_path: Path) -> None:
    with start_run() as writer:
        with pytest.raises(RecordingError, match="being written"):
            recover(writer.path, tmp_path / "copy.h5")
        writer.close(Outcome.FINISHED)
    assert not (tmp_path / "copy.h5").exists()
    assert not (tmp_path / "copy.h5.part").exists()


def test_a_finished_run_is_copied_as_it_is(start_run: Callable[..., RunWriter], tmp_path: Path) -> None:
    with start_run() as writer:
        writer.close(Outcome.FINISHED, summary={"fraction": np.float32(0.5)}, message="done")
    recover(writer.path, tmp_path / "copy.h5")
    copy, original = read_summary(tmp_path / "copy.h5"), read_summary(writer.path)
    assert (copy.outcome, copy.message, copy.summary) == (original.outcome, "done", {"fraction": 0.5})
