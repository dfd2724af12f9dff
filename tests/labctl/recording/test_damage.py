"""Files cut short, lacking a part, or not files at all are refused in one sentence, and at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from labctl.array import PulseBatch, Readout
from labctl.errors import RecordingError
from labctl.recording import Outcome, RunWriter, names, open_run, read_summary, recover
from labctl.recording.catalogue import Catalogue
from labctl.steps import Step, Variable

Exchange = Callable[..., tuple[PulseBatch, Readout]]
StartRun = Callable[..., RunWriter]


@pytest.fixture
def finished_run(start_run: StartRun, exchange: Exchange) -> Path:
    batch, readout = exchange()
    with start_run() as writer:
        writer.intend([batch])
        writer.complete([readout])
        writer.step(Step("program", {"active": 3}, {"target": np.ones((8, 16))}), time=1.7e9)
        writer.close(Outcome.FINISHED, summary={"fraction": 0.75})
    return writer.path


_READ_PREFIXES = """
import sys
from pathlib import Path
from labctl.errors import RecordingError
from labctl.recording import open_run, read_summary, recover

whole, cut, copy = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])

def show(path):
    found = read_summary(path)
    return found.events, found.steps, found.pulses, found.unsettled, found.outcome.value

def load(path):
    with open_run(path) as tree:
        tree.load()
        events = tree["events"].to_dataset()
        return [events[name].values.tobytes() for name in ("cell", "reading", "amplitude")], (
            tree["maps/target"].values.tobytes())

def recovered(path):
    recover(path, copy, overwrite=True)
    return load(copy)

readers = (show, load, recovered)
right = [reader(whole) for reader in readers]
content = whole.read_bytes()
lengths = sorted({*range(0, len(content), len(content) // 40), 7, 47, 48, 49, len(content) - 1})
for length in lengths:
    cut.write_bytes(content[:length])
    for reader, truth in zip(readers, right):
        try:
            assert reader(cut) == truth, (length, reader)
        except RecordingError as error:
            assert str(cut) in str(error) and "\\n" not in str(error), error
print(len(lengths))
"""


@pytest.mark.parametrize("which", ["finished_run", "killed_run"])
def test_a_file_cut_short_anywhere_neither_hangs_nor_lies(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole = request.getfixturevalue(which)
    command = [sys.executable, "-c", _READ_PREFIXES, *map(str, (whole, tmp_path / "cut.h5", tmp_path / "copy.h5"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 40


@pytest.mark.parametrize("opener", [open_run, read_summary, lambda path: names.lock_path(Path(path))])
@pytest.mark.parametrize("folder", [".", "", "here"])
def test_a_folder_is_no_run(
    opener: Callable[[str], object], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordingError, match="is a folder, not a run file"):
        opener(folder)


def _without(name: str) -> Callable[[h5py.File], None]:
    def remove(file: h5py.File) -> None:
        del file[name]

    return remove


def _without_protocol(file: h5py.File) -> None:
    del file.attrs["protocol"]


def _garbled(file: h5py.File) -> None:
    file["provenance/summary"][:] = np.frombuffer(b"\xff" * len(file["provenance/summary"]), "S1")


def _not_json(file: h5py.File) -> None:
    file["provenance/summary"][:] = np.frombuffer(b"x" * len(file["provenance/summary"]), "S1")


@pytest.mark.parametrize("damage", [_without("commit"), _without("maps"), _without_protocol, _garbled, _not_json])
def test_a_file_lacking_a_part_is_refused_and_not_listed(
    finished_run: Path, killed_run: Path, damage: Callable[[h5py.File], None]
) -> None:
    with h5py.File(finished_run, "r+") as file:
        damage(file)
    with pytest.raises(RecordingError, match="is not a whole run file"):
        read_summary(finished_run)
    catalogue = Catalogue(finished_run.parent)
    assert [run.path for run in catalogue.find()] == [killed_run]
    assert list(catalogue.damaged) == [finished_run]


@pytest.mark.parametrize("name", ["commit", "maps"])
def test_a_file_lacking_a_part_is_neither_opened_nor_recovered(finished_run: Path, tmp_path: Path, name: str) -> None:
    with h5py.File(finished_run, "r+") as file:
        del file[name]
    with pytest.raises(RecordingError, match="is not a whole run file"):
        open_run(finished_run)
    with pytest.raises(RecordingError, match="is not a whole run file"):
        recover(finished_run, tmp_path / "copy.h5")


def test_a_list_needs_a_folder(finished_run: Path) -> None:
    with pytest.raises(RecordingError, match="is a file, not a folder"):
        Catalogue(finished_run)
    with pytest.raises(RecordingError, match="there is no folder"):
        Catalogue(finished_run.parent / "none")


def test_runs_are_listed_by_the_clock_on_the_wall(start_run: StartRun, tmp_path: Path) -> None:
    clocks: tuple[tuple[str, float, dict[str, str]], ...] = (
        ("third.h5", 1.7e9, {"wall_time_start": "2024-03-01T09:00:00+0100"}),
        ("second.h5", 1.8e9, {"wall_time_start": "2024-03-01T08:30:00+0100"}),
        ("first.h5", 1.7e9, {}),
        ("fourth.h5", 1.75e9, {"wall_time_start": "some day"}),
    )
    for name, started, provenance in clocks:
        with start_run(name, started=started, provenance=provenance) as writer:
            writer.close(Outcome.FINISHED)
    assert [run.path.stem for run in Catalogue(tmp_path).find()] == ["first", "second", "third", "fourth"]


def test_a_map_not_written_is_not_zero(start_run: StartRun) -> None:
    where = ("row", "col")
    flags = {"not_targeted": 0, "in_window": 1}
    variables = (
        Variable("pulses", "pulses", where, "u2"),
        Variable("outcome", "what became of it", where, "u1", flags=flags),
        Variable("bias", "given fill", where, "i2", fill=-1),
    )
    zeros = {name: np.zeros((8, 16)) for name in ("pulses", "outcome", "bias")}
    for name, maps in (("unwritten.h5", {}), ("written.h5", zeros)):
        with start_run(name, variables=variables) as writer:
            writer.step(Step("program", maps=maps), time=1.7e9)
            writer.close(Outcome.FAILED)
        with open_run(writer.path) as tree:
            outcome = tree["maps/outcome"]
            assert outcome.dtype == np.uint8
            assert outcome.attrs["flag_meanings"] == "not_targeted in_window not_written"
            assert outcome.attrs["flag_values"].tolist() == [0, 1, 255]
            assert (outcome == (0 if maps else 255)).all()
            for masked in ("pulses", "bias"):
                values = tree["maps"][masked].values
                assert (values == 0).all() if maps else np.isnan(values).all()
