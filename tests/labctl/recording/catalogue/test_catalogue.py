"""A catalogue says what the files say, whatever became of its cache and whoever writes at the same time."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import msgspec
import pytest

from labctl.array import PulseBatch, Readout
from labctl.recording import Outcome, RunWriter
from labctl.recording.catalogue import Catalogue, Query, tag_run
from labctl.recording.catalogue.cache import NAME

StartRun = Callable[..., RunWriter]
Exchange = Callable[..., tuple[PulseBatch, Readout]]

LONG_AGO = 1_600_000_000


@pytest.fixture
def folder(start_run: StartRun, exchange: Exchange, tmp_path: Path) -> Path:
    """Six runs of two chips, a day apart, in two folders; other HDF5 files and hidden ones among them."""
    batch, readout = exchange()
    (tmp_path / "older").mkdir()
    for number in range(6):
        with start_run(
            f"{'older/' if number < 2 else ''}run{number}.h5",
            protocol="retention" if number == 3 else "write_verify",
            provenance={
                "chip_serial": f"C{number % 2}",
                "operator": "Jürgen",
                "wall_time_start": f"2026-03-0{number + 1}T09:00:00+0100",
                "settings": {"tolerance": 1e-6 * (number + 1), "set": {"stop": 2.5}, "reverify": [0.0, 1.0]},
            },
        ) as writer:
            writer.intend([batch])
            writer.complete([readout])
            outcome = Outcome.FAILED if number == 4 else Outcome.FINISHED
            writer.close(outcome, message="the probe lifted" if number == 4 else "", summary={"fraction": number / 10})
    (tmp_path / ".hidden").mkdir()
    shutil.copy(tmp_path / "run2.h5", tmp_path / ".hidden" / "run.h5")
    shutil.copy(tmp_path / "run2.h5", tmp_path / "._run2.h5")
    shutil.copy(tmp_path / "run2.h5", tmp_path / "run9.h5.part")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1.0]
    age(tmp_path)
    return tmp_path


def age(folder: Path) -> None:
    """Files that did not just change: the catalogue reads those again."""
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture(autouse=True)
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's change of a moment ago counts as long ago, or no test could see the cache being used."""
    monkeypatch.setattr("labctl.recording.catalogue.folder._TOO_RECENT_NS", -60_000_000_000)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of run files that are opened."""
    from labctl.recording.catalogue import reading

    names: list[str] = []
    real = reading.read_entry

    def noted(path: Path) -> object:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(reading, "read_entry", noted)
    return names


def names(catalogue: Catalogue, query: Query | None = None) -> list[str]:
    return [entry.path.stem for entry in catalogue.find(query)]


def answers(folder: Path) -> list[bytes]:
    with Catalogue(folder) as catalogue:
        return [msgspec.json.encode(entry, enc_hook=str) for entry in catalogue.find()]


def test_runs_are_found_by_what_their_files_say(folder: Path) -> None:
    catalogue = Catalogue(folder)
    assert names(catalogue) == ["run0", "run1", "run2", "run3", "run4", "run5"]
    assert catalogue.damaged == {}
    assert names(catalogue, Query(chip="C1")) == ["run1", "run3", "run5"]
    assert names(catalogue, Query(chip="C*", protocol="reten*")) == ["run3"]
    assert names(catalogue, Query(protocol="write-verify", outcome="failed")) == ["run4"]
    assert names(catalogue, Query(text=("probe", "JÜRGEN"))) == ["run4"]
    assert names(catalogue, Query(where=("tolerance<=2uS", "fraction>0"))) == ["run1"]
    since = catalogue.find()[2].started
    assert names(catalogue, Query(since=since, until=since + 86400)) == ["run2"]
    entry = catalogue.find()[1]
    assert (entry.path, entry.rows, entry.pulses, entry.elapsed) == (folder / "older/run1.h5", 8, 5, 0)
    assert entry.settings == {"tolerance": 2e-6, "set.stop": 2.5, "reverify": [0.0, 1.0]}


def test_only_what_is_new_or_changed_is_read_again(folder: Path, read: list[str], start_run: StartRun) -> None:
    Catalogue(folder)
    assert len(read) == 7
    read.clear()
    catalogue = Catalogue(folder)
    assert names(catalogue) == [f"run{number}" for number in range(6)]
    assert read == []
    with start_run("new.h5") as writer:
        writer.close(Outcome.FINISHED)
    (folder / "run3.h5").unlink()
    shutil.copy(folder / "run4.h5", folder / "run2.h5")
    catalogue.refresh()
    assert sorted(read) == ["new.h5", "run2.h5"]
    assert "run3" not in names(catalogue)
    assert names(catalogue, Query(outcome="failed")) == ["run2", "run4"]


@pytest.mark.usefixtures("folder")
def test_a_file_that_changed_a_moment_ago_is_read_again(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change again within the same tick of the file system's clock."""
    monkeypatch.setattr("labctl.recording.catalogue.folder._TOO_RECENT_NS", 2_000_000_000)
    (tmp_path / "run0.h5").write_bytes((tmp_path / "run2.h5").read_bytes())
    Catalogue(tmp_path)
    read.clear()
    Catalogue(tmp_path)
    assert "run0.h5" in read


def test_a_live_run_is_always_read_anew(start_run: StartRun, exchange: Exchange, tmp_path: Path) -> None:
    batch, readout = exchange()
    with start_run() as writer:
        catalogue = Catalogue(tmp_path)
        assert catalogue.find()[0].outcome is Outcome.LIVE
        writer.intend([batch])
        writer.complete([readout])
        catalogue.refresh()
        assert catalogue.find()[0].pulses == 5
        writer.close(Outcome.FINISHED)
    catalogue.refresh()
    assert catalogue.find()[0].outcome is Outcome.FINISHED


def test_a_killed_run_is_one(killed_run: Path) -> None:
    for _ in range(2):
        (entry,) = Catalogue(killed_run.parent).find()
        assert (entry.outcome, entry.unsettled, entry.unknown_dose) == (Outcome.KILLED, 2, 10)


def deleted(cache: Path) -> None:
    cache.unlink()


def emptied(cache: Path) -> None:
    cache.write_bytes(b"")


def halved(cache: Path) -> None:
    os.truncate(cache, cache.stat().st_size // 2)


def noise(cache: Path) -> None:
    cache.write_bytes(random.Random(1).randbytes(20_000))


def of_another_schema(cache: Path) -> None:
    with sqlite3.connect(cache) as database:
        database.execute("PRAGMA user_version = 1")
        database.execute("DROP TABLE files")
        database.execute("CREATE TABLE files (path TEXT)")
    database.close()


def with_another_table(cache: Path) -> None:
    """The right version of a wrong table."""
    with sqlite3.connect(cache) as database:
        database.execute("DROP TABLE files")
        database.execute("CREATE TABLE files (path TEXT)")
    database.close()


def a_folder(cache: Path) -> None:
    """Where a cache can neither be read nor written nor deleted."""
    cache.unlink()
    cache.mkdir()


SPOILT = (deleted, emptied, halved, noise, of_another_schema, with_another_table, a_folder)


@pytest.mark.parametrize("spoil", SPOILT)
def test_whatever_becomes_of_the_cache_the_answers_are_the_same(
    folder: Path, read: list[str], spoil: Callable[[Path], None]
) -> None:
    tag_run(folder / "run2.h5", add=["kept"])
    before = answers(folder)
    spoil(folder / NAME)
    read.clear()
    assert answers(folder) == before
    assert len(read) == 7
    read.clear()
    assert answers(folder) == before
    assert read == ([] if spoil is not a_folder else read)


def test_no_rotten_byte_of_the_cache_changes_an_answer(folder: Path) -> None:
    before = answers(folder)
    good, chance = (folder / NAME).read_bytes(), random.Random(3)
    for _ in range(60):
        content = bytearray(good)
        for _ in range(chance.choice((1, 20, 500))):
            content[chance.randrange(len(content))] = chance.randrange(256)
        (folder / NAME).write_bytes(content)
        assert answers(folder) == before


def test_a_cache_somebody_keeps_locked_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers(folder)
    monkeypatch.setattr("labctl.recording.catalogue.cache._PATIENCE_S", 0.1)
    database = sqlite3.connect(folder / NAME, isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    assert answers(folder) == before
    assert time.monotonic() - began < 5
    database.execute("ROLLBACK")
    database.close()
    assert (folder / NAME).stat().st_size > 0


def test_a_folder_of_no_runs_gets_no_cache(tmp_path: Path) -> None:
    assert Catalogue(tmp_path).find() == []
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_named_and_not_read_twice(folder: Path, read: list[str]) -> None:
    content = (folder / "run2.h5").read_bytes()
    (folder / "cut.h5").write_bytes(content[: len(content) // 2])
    (folder / "empty.h5").write_bytes(b"")
    (folder / "text.h5").write_text("not a run")
    (folder / "run3.tags.json").write_text("{")
    (folder / "gone.h5").symlink_to(folder / "nowhere.h5")
    (folder / "dir.h5").mkdir()
    for _ in range(2):
        read.clear()
        catalogue = Catalogue(folder)
        assert len(names(catalogue)) == 6
        damaged = {path.name: problem for path, problem in catalogue.damaged.items()}
        assert damaged.keys() == {"cut.h5", "empty.h5", "text.h5", "run3.tags.json"}
        assert all(name in problem and "\n" not in problem for name, problem in damaged.items())
    assert read == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere file names are text")
def test_a_file_whose_name_is_no_text_is_found(folder: Path) -> None:
    strange = os.fsencode(folder) + b"/run\xff6.h5"
    shutil.copy(folder / "run2.h5", strange)
    for _ in range(2):
        assert strange in [os.fsencode(entry.path) for entry in Catalogue(folder).find()]


def test_files_that_vanish_or_break_while_they_are_read_are_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labctl.recording.catalogue import reading

    real = reading.read_entry

    def racing(path: Path) -> object:
        if path.name == "run2.h5":
            path.unlink()
        if path.name == "run3.h5":
            os.truncate(path, 1000)
        return real(path)

    monkeypatch.setattr(reading, "read_entry", racing)
    catalogue = Catalogue(folder)
    assert names(catalogue) == ["run0", "run1", "run4", "run5"]
    assert [path.name for path in catalogue.damaged] == ["run3.h5"]


@pytest.mark.parametrize("executable", [sys.executable, "/nowhere/python", "/bin/true"])
def test_many_new_files_are_read_by_several_processes_or_without_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    before = answers(folder)
    for number in range(20):
        shutil.copy(folder / "run2.h5", folder / f"copy{number}.h5")
    (folder / "cut.h5").write_bytes(b"")
    monkeypatch.setattr("labctl.recording.catalogue.reading._WORTH_A_PROCESS", 2)
    monkeypatch.setattr("labctl.recording.catalogue.reading._BATCH", 3)
    monkeypatch.setattr("sys.executable", executable)
    told: list[tuple[int, int]] = []
    catalogue = Catalogue(folder, lambda done, total: told.append((done, total)))
    assert len(catalogue.find()) == 26
    assert list(catalogue.damaged) == [folder / "cut.h5"]
    assert told == [(done, 21) for done in range(1, 22)]
    for number in range(20):
        (folder / f"copy{number}.h5").unlink()
    (folder / NAME).unlink()
    assert answers(folder) == before


def test_what_was_read_before_somebody_lost_patience_is_kept(folder: Path, read: list[str]) -> None:
    def impatient(done: int, total: int) -> None:
        assert total == 7
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Catalogue(folder, impatient)
    read.clear()
    assert len(Catalogue(folder).find()) == 6
    assert len(read) == 4


_CROWD = """
import shutil, sys
from pathlib import Path
from labctl.recording.catalogue import Catalogue, Query, tag_run

folder, who = Path(sys.argv[1]), sys.argv[2]
for turn in range(8):
    path = folder / f"{who}{turn}.h5"
    shutil.copy(folder / "run2.h5", folder / f"{who}.part")
    (folder / f"{who}.part").rename(path)
    tag_run(path, add=["new"])
    tag_run(folder / "run2.h5", add=[f"{who}{turn}"])
    assert len(Catalogue(folder).find(Query(tags=("new",)))) >= turn + 1
"""


def test_several_processes_add_tag_and_look_at_once(folder: Path) -> None:
    command = [sys.executable, "-c", _CROWD, str(folder)]
    crowd = [subprocess.Popen([*command, who], stderr=subprocess.PIPE, text=True) for who in ("a", "b", "c")]
    while any(process.poll() is None for process in crowd):
        assert len(Catalogue(folder).find()) >= 6
    assert [process.communicate()[1] for process in crowd] == ["", "", ""]
    catalogue = Catalogue(folder)
    assert len(catalogue.find(Query(tags=("new",)))) == 24
    assert {len(entry.tags) for entry in catalogue.find() if entry.path.stem == "run2"} == {24}
    assert catalogue.damaged == {}
