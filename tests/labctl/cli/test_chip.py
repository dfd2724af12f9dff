"""`labctl chip`: what it prints and writes, and one clear sentence for every mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from benches import labctl, write_bench
from chip_runs import CELLS, COLS, ROWS, Pulse, flat, write_run

from labctl.array import Operation
from labctl.chips import chip_record
from labctl.cli import _run
from labctl.recording import State

BAD = {5: 4, 6: 5, 7: 5}
"""Cell to the code of its outcome: stuck low, and twice stuck high."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bench that gives cells a lifetime, and two runs of chip C-1."""
    monkeypatch.chdir(tmp_path)
    write_bench(tmp_path, arrays="[arrays.main.wear]\nmax_pulses = 4")
    monkeypatch.setenv("LABCTL_BENCH", "bench.toml")
    monkeypatch.delenv("NO_COLOR", raising=False)
    runs = tmp_path / "runs"
    runs.mkdir()
    pulses = [Pulse(Operation.FORM, range(CELLS), 10e-6), *[Pulse(Operation.SET, range(20), 20e-6)] * 3]
    write_run(runs / "a.h5", *pulses, maps={"forming_voltage": flat({}, 3.3), "outcome": flat(BAD, 1, "u1")})
    write_run(runs / "b.h5", Pulse(Operation.RESET, [3], 5e-6), day=2, replay_of="wire.log")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert _run([*arguments]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


@pytest.mark.usefixtures("here")
def test_show_says_what_the_record_says(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "chip", "show", "C-1")
    lines = dict(re.findall(r"^(\S.*?|  \S.*?)  +(.+)$", out, re.MULTILINE))
    assert lines["chip"] == f"C-1, {ROWS} x {COLS} 1T1R RRAM"
    assert lines["runs"] == "2, 1 of them counted"
    assert re.fullmatch(r"100.00% \(97.\d\d% to 100.00%\) of 128 cells tried", lines["forming yield"])
    assert lines["stuck high"] == "2 (1.56%)"
    assert lines["left alone"] == "3 (2.34%), of which people exclude 0"
    assert lines["pulses"] == "188; a cell: median 1, 99 % within 4, at most 4"
    assert lines["wear"] == "20 cells past 80% of a lifetime of 4 pulses, the most worn at 100%"
    assert "not counted: a recording answered, not the chip" in out


@pytest.mark.usefixtures("here")
def test_show_as_json_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "chip", "show", "C-1", "--json")[0])
    record = chip_record("C-1", Path("runs").absolute())
    assert found["defects"] == {"never_formed": 0, "stuck_low": 1, "stuck_high": 2, "worn": 0}
    assert found["pulses"] == {"total": 188, "median": 1.0, "p99": 4.0, "max": 4}
    assert found["dose"]["total"] == pytest.approx(record.dose.sum())
    assert found["forming_yield"]["formed"] == found["forming_yield"]["tried"] == CELLS
    assert found["wear"]["main"][0]["beyond"] == 20
    assert [(run["path"], run["pulses"]) for run in found["runs"]] == [
        (str(run.path), run.pulses) for run in record.runs
    ]
    assert found["runs"][1]["not_counted"]


@pytest.mark.usefixtures("here")
def test_list_names_every_chip(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "chip", "list", "--json")[0])
    assert found == [
        {"serial": "C-1", "runs": 2, "pulses": 188, "cell": "1T1R RRAM", "rows": 8, "cols": 16, "last": "b.h5"}
    ]
    assert "C-1   8 x 16 1T1R RRAM  2     188" in said(capsys, "chip", "list")[0]


def test_show_tells_of_files_that_cannot_be_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "runs" / "z.h5").write_bytes(b"no run")
    _, err = said(capsys, "chip", "show", "C-1")
    assert "labctl: 1 file in" in err
    assert "cannot be read, and may be of this chip: z.h5 (labctl runs verify " in err
    found = json.loads(said(capsys, "chip", "show", "C-1", "--json")[0])
    assert [each for each in found["warnings"] if "z.h5" in each]


def test_list_counts_the_pulses_that_show_counts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(here / "runs/c.h5", Pulse(Operation.SET, range(7)), day=3, chip_volatile=True)
    open_end = Pulse(Operation.RESET, range(5), state=State.INTENDED)
    write_run(here / "runs/d.h5", Pulse(Operation.SET, range(7)), open_end, day=4, outcome=None)
    for _ in range(2):  # without a cache, then with one
        (row,) = json.loads(said(capsys, "chip", "list", "--json")[0])
        assert (row["runs"], row["pulses"]) == (4, 188 + 7 + 5)
    assert json.loads(said(capsys, "chip", "show", "C-1", "--json")[0])["pulses"]["total"] == row["pulses"]


def test_a_map_in_shades_has_a_character_for_every_pair_of_rows(here: Path) -> None:
    done = labctl("chip", "map", "C-1", cwd=here)
    assert done.returncode == 0, done.stderr
    title, scale, *pixels, note = done.stdout.splitlines()
    assert title == "chip C-1, 8 x 16 cells: bad cells"
    assert scale == "0.0%   ░░░░▒▒▒▒▓▓▓▓██ 100.0%"
    assert note == "a pixel: no more than a cell"
    assert "\x1b" not in done.stdout
    assert len(pixels) == 16
    assert [line[20:32] for line in pixels[:3]] == ["█" * 12, "█" * 12, " " * 12]  # cells 5, 6 and 7 of row 0, x 4


@pytest.mark.parametrize("of", ["defects", "pulses", "dose", "conductance", "forming_voltage", "excluded"])
def test_a_map_in_a_file_holds_the_values(here: Path, of: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = getattr(chip_record("C-1", here / "runs"), of).reshape(ROWS, COLS)
    said(capsys, "chip", "map", "C-1", "--of", of, "-o", "map.npy")
    assert np.array_equal(np.load(here / "map.npy"), values)
    said(capsys, "chip", "map", "C-1", "--of", of, "-o", "map.csv")
    assert np.allclose(np.loadtxt(here / "map.csv", delimiter=","), values, rtol=1e-5)
    assert (here / "map.csv").read_text().startswith("# chip C-1: ")
    assert said(capsys, "chip", "map", "C-1", "--of", of, "-o", "map.png")[0] == "map.png\n"
    assert matplotlib.image.imread(here / "map.png").std() > 0.01


def test_cells_are_excluded_and_taken_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--cells", "3,4", "--cells", "5,6", "--rows", "1", "--cols", "3:5", "--because", "scratch"]
    out, _ = said(capsys, "chip", "exclude", "C-1", *given)
    assert re.search(r"cell 3,4, cell 5,6, row 1, column 3, column 4, column 5  scratch", out)
    record = chip_record("C-1", here / "runs")
    expected = np.zeros((ROWS, COLS), bool)
    expected[3, 4] = expected[5, 6] = True
    expected[1], expected[:, 3:6] = True, True
    assert np.array_equal(record.by_people.reshape(ROWS, COLS), expected)
    assert record.why(COLS + 7).endswith("scratch")
    said(capsys, "chip", "exclude", "C-1", "--clear", "--cols", "3:5")
    assert chip_record("C-1", here / "runs").by_people.sum() == COLS + 2
    listed = json.loads(said(capsys, "chip", "exclude", "C-1", "--list", "--json")[0])
    assert listed["exclusions"][0]["rows"] == [1]
    assert (here / listed["file"]).is_file()
    _, err = said(capsys, "chip", "exclude", "C-1", "--clear")
    assert err == "people exclude no cell of chip C-1\n"
    assert not chip_record("C-1", here / "runs").by_people.any()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "C-9"], r"there is no run of chip 'C-9' in .*runs$"),
        (["show", "C-1", "--folder", "nowhere"], r"there is no folder nowhere"),
        (["list", "--folder", "nowhere"], r"there is no folder nowhere"),
        (["map", "C-1", "-o", "map.txt"], r"map.txt: name the kind of file by an ending: .png, .*\.npy"),
        (["map", "C-1", "-o", "no/map.npy"], r"no/map.npy: cannot be written: No such file"),
        (["map", "C-1", "--of", "noise"], r"'noise' is not one of 'defects'"),
        (["exclude", "C-1"], r"say what to do"),
        (["exclude", "C-1", "--cells", "1,1"], r"say what to do"),
        (["exclude", "C-1", "--clear", "--list"], r"say what to do"),
        (["exclude", "C-1", "--because", "dirt"], r"name what to exclude"),
        (["exclude", "C-1", "--rows", "1", "--because", " "], r"--because: say why"),
        (["exclude", "C-1", "--rows", "8", "--because", "dirt"], r"row 8 is not on an array of 8 x 16"),
        (["exclude", "C-1", "--cells", "0,16", "--because", "dirt"], r"cell 0,16 is not on"),
        (["exclude", "C-1", "--cells", "3", "--because", "dirt"], r"--cells: write ROW,COL, like 3,4, not '3'"),
        (["exclude", "C-1", "--cols", "5:3", "--because", "dirt"], r"--cols: 5:3 is no span of lines"),
        (["exclude", "C-1", "--cols", "x", "--because", "dirt"], r"--cols: write 17, or 3:5 for 3 to 5, not 'x'"),
        (
            ["exclude", "C-11", "--rows", "1", "--because", "dirt"],
            r"no run of chip C-11 in .*runs; there are runs of C-1; say --new if it is a new chip$",
        ),
        (["exclude", "C-1", "--clear", "--rows", "2"], r"nothing of that is excluded"),
    ],
)
def test_a_mistake_is_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    out, err = said(capsys, "chip", *arguments, code=2)
    assert out == ""
    (line,) = [line for line in err.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert re.search(sentence, line), line


@pytest.mark.usefixtures("here")
def test_a_chip_without_a_run_can_have_cells_excluded(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = said(capsys, "chip", "exclude", "C-2", "--rows", "900", "--because", "dirt", "--new")
    assert "no run of chip C-2" in err
    _, err = said(capsys, "chip", "show", "C-2", code=2)
    assert str(Path("runs/chips/C-2.toml")) in err
