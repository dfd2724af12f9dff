"""`labctl report`: where the page goes, over what it may be written, and one sentence for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benches import write_bench
from measured_runs import write_map
from pages import ReadPage

import labctl
from labctl.cli import _run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a small bench, where the command runs; its runs are in `runs`."""
    monkeypatch.chdir(tmp_path)
    write_bench(tmp_path, rows=16, cols=16)
    monkeypatch.setenv("LABCTL_BENCH", "bench.toml")
    return tmp_path


def recorded(folder: Path) -> Path:
    """A small run of chip MADE-UP-1 in `runs`."""
    (folder / "runs").mkdir(exist_ok=True)
    return write_map(folder / "runs" / "20260101T000000Z_read_X.h5", np.full((2, 12, 14), 2e-5))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = _run(["report", *arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return code, err


def test_a_report_stands_beside_its_run_and_is_made_anew(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded(here)
    assert _run(["report", str(run)]) == 0
    page = run.with_suffix(".html")
    assert capsys.readouterr().out == f"{page}\n"
    assert ReadPage.of(page).problems == []
    page.write_text(page.read_text(encoding="utf-8")[:500], encoding="utf-8")
    assert _run(["report", "last"]) == 0  # over an older report
    assert len(page.read_text(encoding="utf-8")) > 20_000
    assert not list(run.parent.glob("*.tmp"))


def test_what_is_no_report_is_only_overwritten_by_force(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded(here)
    precious = here / "thesis.html"
    precious.write_text("<p>my thesis</p>")
    code, said = refused(capsys, str(run), "-o", str(precious))
    assert code == 2
    assert "thesis.html exists already and is no report" in said
    assert precious.read_text() == "<p>my thesis</p>"
    assert _run(["report", str(run), "-o", str(precious), "--force"]) == 0
    assert ReadPage.of(precious).problems == []


def test_a_serial_number_gives_the_page_of_the_chip(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with labctl.load_bench() as bench, bench.array() as array:
        labctl.run("read", array, out=here / "runs")
    assert _run(["report", "T-1"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == here / "runs" / "chip-T-1.html"
    assert "Chip T-1" in ReadPage.of(page).text


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["absent.h5"], 2, "there is no file absent.h5"),
        (["bench.toml"], 2, "is not a run file"),
        ([], 2, "Missing argument"),
        (["runs/20260101T000000Z_read_X.h5", "-o", "runs"], 2, "runs is a folder: name a file to write"),
        (["runs/20260101T000000Z_read_X.h5", "-o", "absent/page.html"], 2, "there is no folder absent"),
        (["runs/20260101T000000Z_read_X.h5", "-o", "page.pdf", "--force"], 2, "a report is an HTML file"),
        (["runs/20260101T000000Z_read_X.h5", "-o", "page"], 2, "a report is an HTML file"),
    ],
)
def test_every_mistake_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    recorded(here)
    found, said = refused(capsys, *arguments)
    assert found == code
    assert sentence in said


def test_a_path_that_exists_needs_no_bench(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recorded(here)
    monkeypatch.setenv("LABCTL_BENCH", "gone.toml")
    assert _run(["report", str(run), "-o", "page.htm"]) == 0
    assert capsys.readouterr().out == "page.htm\n"
    assert ReadPage.of(here / "page.htm").problems == []
    code, said = refused(capsys, "last")
    assert code == 2
    assert "gone.toml: cannot be read as a bench file" in said


_TELLING_IMPORTS = """
import sys
from labctl.cli import _run
code = _run(sys.argv[1:])
print(code, *sorted({"matplotlib", "scipy", "xarray"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("report", "nosuch"),
        ("report", "RUN", "-o", "thesis.html"),
        ("export", "nosuch", "--to", "csv"),
        ("export", "RUN", "--to", "netcdf", "-o", "thesis.html"),
    ],
)
def test_a_no_is_said_before_anything_heavy_is_imported(here: Path, words: tuple[str, ...]) -> None:
    run = recorded(here)
    (here / "thesis.html").write_text("<p>my thesis</p>")
    given = [str(run) if word == "RUN" else word for word in words]
    done = subprocess.run([sys.executable, "-c", _TELLING_IMPORTS, *given], capture_output=True, text=True, check=False)
    assert done.stdout == "2\n", done.stderr
