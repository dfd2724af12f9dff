"""`labctl runs`: runs are listed, found, shown, tagged, compared and verified; every mistake is one sentence."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from benches import labctl, write_bench

from labctl.cli import _run
from labctl.recording.catalogue.cache import NAME

DOCUMENT = (Path(__file__).parents[3] / "docs" / "catalogue.md").read_text(encoding="utf-8")


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench that formed its chip, programmed it and read it twice."""
    folder = tmp_path_factory.mktemp("bench")
    before = Path.cwd()
    os.chdir(folder)
    try:
        write_bench(folder, chip="T-3")
        np.save("target.npy", np.full((32, 32), 20.0))
        program = ["program-array", "target.npy", "--unit", "uS", "--yes"]
        for command in (["form-array"], program, ["read-array"], ["read-array", "--repeats", "2"]):
            assert _run([*command, "--bench", "bench.toml", "-q", "--no-plot"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of that bench, where the commands run."""
    capsys.readouterr()
    (tmp_path / "runs").mkdir()
    for path in recorded.glob("runs/*.h5"):
        (tmp_path / "runs" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "bench.toml").write_text((recorded / "bench.toml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABCTL_BENCH", "bench.toml")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What the command prints on stdout."""
    assert _run(["runs", *arguments]) == code
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The protocols of the runs that are found, oldest first."""
    return [each["protocol"] for each in json.loads(said(capsys, "find", *arguments, "--json"))]


@pytest.mark.usefixtures("here")
def test_runs_are_listed_newest_last(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "list").splitlines()
    assert lines[0].split() == ["run", "protocol", "chip", "outcome", "in", "window", "all", "pulses", "started"]
    assert [line.split()[1] for line in lines[1:]] == ["forming", "write_verify", "read", "read"]
    assert said(capsys, "list", "runs", "--limit", "1").splitlines()[1].split() == lines[4].split()
    newest = json.loads(said(capsys, "list", "--limit", "1", "--json"))
    assert (newest[0]["settings"]["repeats"], newest[0]["outcome"], newest[0]["tags"]) == (2, "finished", [])


@pytest.mark.usefixtures("here")
def test_runs_are_found_by_everything_that_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert found(capsys) == ["forming", "write_verify", "read", "read"]
    assert found(capsys, "--where", "tolerance<=1uS", "--where", "fraction_in_window>50%") == ["write_verify"]
    assert found(capsys, "--protocol", "form*") == ["forming"]
    assert found(capsys, "--measurement", "map", "--outcome", "finished", "--chip", "T-*") == ["read", "read"]
    assert found(capsys, "--since", "1h", "--until", "1d") == []
    assert found(capsys, "--since", "1h", "FORM") == ["forming"]
    assert found(capsys, "--where", "repeats>=2") == ["read"]
    assert found(capsys, "--where", "ramp.start>=1V", "--where", "pulses>0") == ["forming"]
    assert found(capsys, "--limit", "2") == ["read", "read"]
    (path,) = said(capsys, "find", "--where", "repeats=2", "--paths").splitlines()
    assert Path(path).is_file()


def test_a_tag_and_a_note_are_found_and_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {path: path.read_bytes() for path in here.glob("runs/*.h5")}
    assert "tags  good reference" in said(capsys, "tag", "last", "reference", "good", "--note", "after the probe card")
    assert found(capsys, "--tag", "good", "--tag", "reference", "CARD probe") == []
    assert found(capsys, "--tag", "good", "--tag", "reference", "PROBE", "card") == ["read"]
    assert "good reference" in said(capsys, "list").splitlines()[-1]
    shown = said(capsys, "show", "last")
    assert "after the probe card" in shown
    assert "setting repeats" in shown
    assert json.loads(said(capsys, "tag", "last", "--remove", "good", "--json"))["tags"] == ["reference"]
    assert said(capsys, "tag", "last").splitlines()[1:] == ["tags  reference", "note  after the probe card"]
    assert {path: path.read_bytes() for path in here.glob("runs/*.h5")} == files


@pytest.mark.usefixtures("here")
def test_only_what_differs_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = said(capsys, "find", "--protocol", "read", "--paths").splitlines()
    differing = json.loads(said(capsys, "diff", first, second, "--json"))
    assert differing["settings"] == {"repeats": [1, 2]}
    assert differing["run"] == {"steps": [1, 2], "operations": [1, 2], "events": [1024, 2048]}
    assert "packages" not in differing
    table = said(capsys, "diff", first, "last")
    assert "settings repeats" in table
    assert "packages" not in table
    assert said(capsys, "diff", first, first) == ""


def test_verify_tells_the_damaged_from_the_whole(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.split()[0] for line in said(capsys, "verify", "--all").splitlines()] == ["whole"] * 4
    path = min(here.glob("runs/*_read_*.h5"))
    with h5py.File(path, "r+") as file:
        file["events/reading"][7] ^= 1
    (here / "runs" / "cut.h5").write_bytes(path.read_bytes()[:20_000])
    report = json.loads(said(capsys, "verify", "runs", "--json", code=1))
    verdicts = {Path(each["run"]).name: each["verdict"] for each in report}
    assert verdicts.pop("cut.h5") == "damaged"
    assert verdicts.pop(path.name) == "damaged"
    assert list(verdicts.values()) == ["whole", "whole", "whole"]
    text = said(capsys, "verify", str(path), code=1)
    assert "error: events/reading does not hold what was recorded: its checksum is another" in text


def test_a_damaged_file_is_passed_over_and_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "runs" / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert _run(["runs", "list"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5
    assert err == f"labctl: passed over 1 file that cannot be read: labctl runs verify {here / 'runs'} says why\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("find", "--where", "repeats~1"), "--where repeats~1: write a setting or result"),
        (("find", "--where", "repeats<many"), "many is not a number"),
        (("find", "--where", "repeets<3"), "called repeets; did you mean repeats"),
        (("find", "--since", "yesterweek"), "'yesterweek' is not a time: write a date like"),
        (("find", "--outcome", "perfect"), "'perfect' is not one of"),
        (("find", "--folder", "nowhere"), "there is no folder nowhere"),
        (("list", "bench.toml"), "bench.toml is a file, not a folder of runs"),
        (("list", "--limit", "0"), "0 is not in the range"),
        (("show", "2"), "4 runs in"),
        (("show", "absent"), "there is no file absent"),
        (("tag", "last", "two words"), "'two words' cannot be a tag"),
        (("diff", "last", "absent.h5"), "there is no file absent.h5"),
        (("verify",), "write which runs to verify, or --all"),
        (("verify", "absent.h5"), "there is no file absent.h5"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert _run(["runs", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = (each for each in err.splitlines() if each and not each.startswith(("Usage:", "Try ")))
    assert sentence in line


def test_a_bench_without_runs_has_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABCTL_BENCH", raising=False)
    assert json.loads(labctl("runs", "list", "--json", cwd=tmp_path).stdout) == []
    assert labctl("runs", "find", "anything", cwd=tmp_path).stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_quick_list_imports_neither_the_benches_nor_the_protocols(here: Path) -> None:
    """Nor xarray, nor what draws: it is asked for often."""
    assert _run(["runs", "list", "runs"]) == 0
    assert (here / "runs" / NAME).exists()
    code = (
        "import sys\nfrom labctl.cli import _run\n_run(['runs', 'find', '--folder', 'runs', 'read'])\n"
        "heavy = {'xarray', 'scipy', 'matplotlib', 'labctl.bench', 'labctl.runner', 'pyvisa', 'lupa'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.usefixtures("here")
def test_the_commands_of_the_document_work(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [line for text in fences("sh") for line in text.splitlines()]
    assert len(commands) >= 8
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "labctl"
        assert _run(arguments) == 0, capsys.readouterr().err


def test_the_script_of_the_document_runs(here: Path) -> None:
    (script,) = fences("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1::2][:2] == ["whole", "whole"]
    assert "('seen',)" in done.stdout.splitlines()[-1]
