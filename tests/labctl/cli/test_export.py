"""`labctl export RUN --to FORMAT` and `labctl runs pack` as commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from whole_runs import start_whole_run, write_whole_run

from labctl.cli import main
from labctl.recording import Outcome, read_summary


@pytest.fixture
def whole_run(tmp_path: Path) -> Path:
    return write_whole_run(tmp_path / "20260101T000000Z_write-verify_C-7.h5")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(each) for each in arguments])
    return int(left.value.code or 0)


def test_export_prints_the_files_it_wrote(whole_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", whole_run, "--to", "csv", "--what", "steps", "--what", "auxiliaries") == 0
    printed = capsys.readouterr()
    assert [Path(line).name for line in printed.out.splitlines()] == [
        "steps.csv",
        "auxiliaries.csv",
        "datapackage.json",
    ]
    assert printed.err == ""
    assert run("export", whole_run, "--to", "csv", "--what", "steps", "--what", "auxiliaries") == 2
    assert "exists already: choose another name, or say --force" in capsys.readouterr().err
    assert run("export", whole_run, "--to", "csv", "--what", "steps", "--what", "auxiliaries", "--force") == 0


def test_a_live_run_is_noted_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with start_whole_run(tmp_path / "live.h5") as writer:
        assert run("export", writer.path, "--to", "netcdf", "-o", tmp_path / "now.nc", "--what", "steps") == 0
        assert run("runs", "pack", writer.path) == 1
        writer.close(Outcome.FINISHED)
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "now.nc")
    assert "note: live.h5 is being written: exported as of now" in printed.err
    assert "is being written: pack it once it has ended" in printed.err


@pytest.mark.parametrize(("to", "package"), [("parquet", "pyarrow"), ("zarr", "zarr")])
def test_a_missing_package_is_named_with_its_cure(
    whole_run: Path, to: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert run("export", whole_run, "--to", to, "--what", "steps") == 2
    printed = capsys.readouterr()
    assert f"needs {package}, which is not installed: pip install 'labctl[export]'" in printed.err
    assert printed.err.count("\n") == 1
    assert list(whole_run.parent.iterdir()) == [whole_run]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "csv", "--raw"), "csv has no scale for codes: --raw is for netcdf and zarr"),
        (("--to", "csv", "--g-max", "40 uS"), "--g-max is not for --to csv"),
        (("--to", "aihwkit", "--joined"), "--joined is not for --to aihwkit"),
        (("--to", "excel"), "'excel' is not one of"),
        (("--to", "csv", "--what", "all", "-o", "/nowhere/at/all.csv"), "cannot make the folder /nowhere/at/all.csv"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    whole_run: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", whole_run, *arguments) == 2
    assert said in capsys.readouterr().err


_LIMITED = """
import resource, sys
from labctl.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
@pytest.mark.parametrize("command", [("export", "--to", "netcdf", "-o"), ("runs", "pack", "--to")])
def test_a_full_disk_is_said_in_one_sentence_and_leaves_nothing(whole_run: Path, command: tuple[str, ...]) -> None:
    words = [*command, str(whole_run.parent / "out.h5"), str(whole_run)]
    done = subprocess.run([sys.executable, "-c", _LIMITED, *words], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.endswith("File too large\n")
    assert done.stderr.count("\n") == 1
    assert list(whole_run.parent.iterdir()) == [whole_run]


def test_pack_says_what_it_saved(tmp_path: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "packed.h5"
    assert run("runs", "pack", whole_run, "--to", copy, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["path"] == str(copy)
    assert told["bytes_before"] == whole_run.stat().st_size
    assert told["bytes_after"] == copy.stat().st_size
    assert run("runs", "pack", whole_run) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(whole_run)
    assert "MB to" in printed.err
    assert whole_run.stat().st_size == copy.stat().st_size
    assert read_summary(whole_run).outcome == "finished"
    assert run("runs", "pack", whole_run, copy, "--to", tmp_path / "x.h5") == 2
