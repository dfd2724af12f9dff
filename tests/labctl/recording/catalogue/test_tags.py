"""Tags and notes stand beside a run, survive several writers, and never touch the run's own file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.errors import NoRunError, RecordingError, UsageError
from labctl.recording.catalogue import Catalogue, Query, Tags, read_tags, tag_run
from labctl.recording.catalogue.tags import tags_path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Something to tag; what is in it is never looked at."""
    (tmp_path / "run.h5").touch()
    return tmp_path / "run.h5"


def test_tags_are_added_taken_away_and_kept_once(run: Path) -> None:
    assert read_tags(run) == Tags()
    assert tag_run(run, add=["b", "a", "b"], note=" the probe lifted ") == Tags(("a", "b"), "the probe lifted")
    assert tag_run(run, add=["c"], remove=["a", "never"]) == Tags(("b", "c"), "the probe lifted")
    assert tag_run(run, note="") == read_tags(run) == Tags(("b", "c"))
    assert sorted(path.name for path in run.parent.glob("[!.]*")) == ["run.h5", "run.tags.json"]


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "line\nbreak", "\x07"])
def test_what_cannot_be_a_tag_is_refused(run: Path, tag: str) -> None:
    with pytest.raises(UsageError, match="cannot be a tag: write one word"):
        tag_run(run, add=[tag])
    assert not tags_path(run).exists()


def test_spoilt_tags_are_neither_read_nor_overwritten(run: Path) -> None:
    beside = tags_path(run)
    beside.write_text('{"tags": 3}')
    for attempt in (read_tags, lambda run: tag_run(run, add=["x"])):
        with pytest.raises(RecordingError, match="does not hold the tags of a run"):
            attempt(run)
    assert beside.read_text() == '{"tags": 3}'


def test_tags_that_cannot_be_written_are_said(run: Path) -> None:
    with pytest.raises(NoRunError, match="there is no file"):
        tag_run(run.with_name("none.h5"), add=["x"])
    run.with_name("run.tags.json.part").mkdir()
    with pytest.raises(RecordingError, match=r"cannot write .*run.tags.json"):
        tag_run(run, add=["x"])


def test_a_catalogue_finds_tags_that_changed_without_reading_the_run(killed_run: Path) -> None:
    before = os.stat(killed_run)
    catalogue = Catalogue(killed_run.parent)
    tag_run(killed_run, add=["good"], note="Later: compare with R41")
    catalogue.refresh()
    (entry,) = catalogue.find(Query(tags=("good",), text="r41"))
    assert (entry.tags, entry.note) == (("good",), "Later: compare with R41")
    tag_run(killed_run, remove=["good"])
    catalogue.refresh()
    assert catalogue.find(Query(tags=("good",))) == []
    assert os.stat(killed_run).st_mtime_ns == before.st_mtime_ns


_TAGGING = """
import sys
from pathlib import Path
from labctl.recording.catalogue import tag_run
for turn in range(40):
    tag_run(Path(sys.argv[1]), add=[f"{sys.argv[2]}{turn}"], remove=[f"{sys.argv[2]}{turn - 20}"])
"""


def test_no_tag_of_several_writers_is_lost(run: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _TAGGING, str(run), who]) for who in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert set(read_tags(run).tags) == {f"{who}{turn}" for who in "abc" for turn in range(20, 40)}
