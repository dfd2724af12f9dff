"""A run may be named by its path, its file's name, the beginning of it, or as the last one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labctl.errors import NoRunError
from labctl.recording import Outcome, RunWriter
from labctl.recording.catalogue import Catalogue, resolve_run

StartRun = Callable[..., RunWriter]


@pytest.fixture
def folder(start_run: StartRun, tmp_path: Path) -> Path:
    (tmp_path / "deeper").mkdir()
    for name, day in (("20260301_read_C7", 1), ("20260302_read_C7", 3), ("deeper/20260303_iv_C8", 2)):
        with start_run(f"{name}.h5", provenance={"wall_time_start": f"2026-03-0{day}T09:00:00+0100"}) as writer:
            writer.close(Outcome.FINISHED)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("last", "20260302_read_C7.h5"),
        ("20260301_read_C7.h5", "20260301_read_C7.h5"),
        ("20260301_read_C7", "20260301_read_C7.h5"),
        ("20260301", "20260301_read_C7.h5"),
        ("20260303", "deeper/20260303_iv_C8.h5"),
        ("deeper/20260303_iv_C8", "deeper/20260303_iv_C8.h5"),
    ],
)
def test_a_run_is_named_in_several_ways(folder: Path, name: str, file: str) -> None:
    assert Catalogue(folder).resolve(name) == folder / file
    assert resolve_run(name, folder) == folder / file
    assert resolve_run(name, lambda: folder) == folder / file


def test_a_path_that_exists_is_returned_without_asking_where_runs_are(folder: Path) -> None:
    def never() -> Path:
        raise AssertionError

    path = folder / "20260301_read_C7.h5"
    assert resolve_run(path, never) == resolve_run(str(path), never) == path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("2026030", "3 runs in .* begin with 2026030: .*20260301_read_C7.h5, .*; write more of its name"),
        ("", "no run in"),
        ("2027", "there is no file 2027, and no run in .* whose name begins so"),
        ("read_C7", "no run in"),
    ],
)
def test_what_names_no_run_or_several_is_usage(folder: Path, name: str, sentence: str) -> None:
    with pytest.raises(NoRunError, match=sentence):
        Catalogue(folder).resolve(name)


def test_there_is_no_last_run_of_none(tmp_path: Path) -> None:
    with pytest.raises(NoRunError, match="there is no run in"):
        Catalogue(tmp_path).resolve("last")
    with pytest.raises(NoRunError, match="there is no file last, and no folder"):
        resolve_run("last", tmp_path / "none")
