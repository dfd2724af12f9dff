"""`labctl import` and `labctl export` as commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from labctl.cli import main

MAPPING = """
measurement = "retention"
chip = "Z-4"
technology = "1T1R RRAM"
[conductance]
at = "g"
unit = "uS"
[time]
values = [0, 1, 100]
unit = "s"
"""


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    start = rng.uniform(5, 40, (200, 1))
    np.savez(tmp_path / "m.npz", g=start + np.concatenate([np.zeros((200, 1)), rng.normal(0, 1, (200, 2))], axis=1))
    (tmp_path / "m.toml").write_text(MAPPING)
    return tmp_path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(each) for each in arguments])
    return int(left.value.code or 0)


def test_import_prints_the_run_and_export_makes_modules_of_it(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "import",
        measured / "m.npz",
        "--mapping",
        measured / "m.toml",
        "-o",
        measured / "runs",
        "--select",
        "even",
    )
    assert run(*arguments, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cells"], told["cells_found"], told["readings"], told["chip_serial"]) == (100, 200, 300, "Z-4")
    for simulator in ("aihwkit", "crosssim"):
        assert run("export", told["path"], "--to", simulator, "-o", measured / f"{simulator}.py") == 0
        written = Path(capsys.readouterr().out.strip())
        assert written.read_text().startswith('"""')
    assert run(*arguments) == 0
    printed = capsys.readouterr()
    assert Path(printed.out.strip()).is_file()
    assert "100 of 200 cells" in printed.err


def test_mistakes_end_with_one_sentence_and_exit_code_2(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (measured / "m.toml").write_text(MAPPING.replace('"uS"', '"mm"'))
    assert run("import", measured / "m.npz", "--mapping", measured / "m.toml", "-o", measured) == 2
    assert "labctl: m.npz: $.conductance: 'mm' is no unit of a conductance" in capsys.readouterr().err
    assert run("import", measured / "m.npz", "-o", measured) == 2
    assert run("export", measured / "none.toml", "--to", "aihwkit") == 2
    assert run("export", measured / "m.npz", "--to", "tensorflow") == 2


def test_a_file_that_is_no_run_ends_with_exit_code_2(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", measured / "m.npz", "--to", "aihwkit") == 2
    assert "is not a run file" in capsys.readouterr().err


def test_export_overwrites_nothing_unless_told_to_and_makes_no_folder(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("import", measured / "m.npz", "--mapping", measured / "m.toml", "-o", measured / "runs") == 0
    imported = capsys.readouterr().out.strip()
    precious = measured / "mine.py"
    precious.write_text("precious")
    arguments = ("export", imported, "--to", "crosssim", "-o")
    assert run(*arguments, precious) == 2
    assert "exists already: choose another name, or say --force" in capsys.readouterr().err
    assert precious.read_text() == "precious"
    assert run(*arguments, precious, "--force") == 0
    assert f"Made of {Path(imported).name}: retention, sha256 " in precious.read_text()
    assert run(*arguments, measured / "nowhere" / "mine.py") == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not (measured / "nowhere").exists()


def test_a_bare_number_as_the_highest_conductance_is_refused(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", measured / "any.h5", "--to", "aihwkit", "--g-max", "40") == 2
    assert "give it with its unit, as in '40 uS'" in capsys.readouterr().err
