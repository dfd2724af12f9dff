"""A packed run is smaller and holds, and shows to everybody, what it did before."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from whole_runs import CELLS, start_whole_run, write_killed_run, write_whole_run

from labctl.array import Readout, Scale
from labctl.errors import RecordingError
from labctl.recording import Outcome, open_run, read_summary, recover
from labctl.recording.checksums import checksums
from labctl.recording.pack import pack


@pytest.fixture
def long_run(tmp_path: Path) -> Path:
    """10,000 reads of five cells more."""
    codes = np.random.default_rng(1).integers(2000, 2100, (10_000, 5)).astype(np.uint16)
    with start_whole_run(tmp_path / "run.h5") as writer:
        writer.record_read(Readout(CELLS, codes, Scale(1e-7, -2.5e-6, 12, "S"), 1.7e9 + 10, 1e-6))
        writer.close(Outcome.FINISHED, summary={"fraction": 0.5})
    return writer.path


def test_a_packed_copy_shows_the_same_in_fewer_bytes(long_run: Path, tmp_path: Path) -> None:
    original = long_run.read_bytes()
    done = pack(long_run, tmp_path / "packed.h5")
    assert done.path == tmp_path / "packed.h5"
    assert done.replaced
    assert (done.bytes_before, done.bytes_after) == (len(original), done.path.stat().st_size)
    assert done.ratio < 0.5
    assert long_run.read_bytes() == original
    with open_run(long_run) as before, open_run(done.path) as after:
        xr.testing.assert_identical(before.load(), after.load())
    was, is_now = read_summary(long_run), read_summary(done.path)
    assert (was.summary, was.attributes, was.events) == (is_now.summary, is_now.attributes, is_now.events)
    with h5py.File(done.path) as packed, h5py.File(long_run) as source:
        assert packed["events/reading"].compression == "gzip"
        assert packed["events/reading"].maxshape == (None,)
        assert checksums(packed) == checksums(source)


def test_packing_in_place_replaces_the_file_once(long_run: Path) -> None:
    with h5py.File(long_run) as file:
        values = checksums(file)
    size = long_run.stat().st_size
    assert pack(long_run).replaced
    assert long_run.stat().st_size < size / 2
    with h5py.File(long_run) as file:
        assert checksums(file) == values
    packed = long_run.read_bytes()
    again = pack(long_run)
    assert not again.replaced
    assert again.ratio == 1
    assert long_run.read_bytes() == packed
    assert [path.name for path in long_run.parent.iterdir()] == ["run.h5"]


@pytest.mark.parametrize(
    ("tool", "says"), [("ncdump", "event = UNLIMITED ; // (50030 currently)"), ("h5dump", "GROUP")]
)
def test_other_programs_read_a_packed_run(long_run: Path, tool: str, says: str) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    pack(long_run)
    shown = subprocess.run([tool, long_run], check=True, capture_output=True, text=True)
    assert says in shown.stdout


def test_a_run_that_goes_on_or_was_killed_is_not_packed(tmp_path: Path) -> None:
    with start_whole_run(tmp_path / "live.h5") as writer:
        with pytest.raises(RecordingError, match="is being written: pack it once it has ended"):
            pack(writer.path)
        writer.close(Outcome.INTERRUPTED)
    assert pack(writer.path).replaced
    killed = write_killed_run(tmp_path / "killed.h5")
    with pytest.raises(RecordingError, match="was killed: resume it, or make a whole file"):
        pack(killed)
    recover(killed, tmp_path / "recovered.h5")
    assert pack(tmp_path / "recovered.h5").replaced
    assert read_summary(tmp_path / "recovered.h5").outcome is Outcome.KILLED


def test_a_run_that_was_changed_since_it_was_recorded_is_not_packed(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path / "run.h5")
    with h5py.File(run, "a") as file:
        file["events/reading"][3] = 7
    before = run.read_bytes()
    with pytest.raises(RecordingError, match="is damaged: events/reading is not as recorded"):
        pack(run)
    assert run.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_nothing_is_overwritten_unasked(long_run: Path, tmp_path: Path) -> None:
    (tmp_path / "other.h5").write_text("mine")
    with pytest.raises(RecordingError, match="exists already"):
        pack(long_run, tmp_path / "other.h5")
    assert (tmp_path / "other.h5").read_text() == "mine"
    assert pack(long_run, tmp_path / "other.h5", overwrite=True).path.stat().st_size > 1000
