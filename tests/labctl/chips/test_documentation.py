"""docs/chips.md: its script and its files are what it says they are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from chip_runs import CELLS, Pulse, flat, write_run

from labctl.array import Operation
from labctl.bench.settings import ArraySettings, WearSettings
from labctl.chips.exclusions import exclusions_path, read_exclusions
from labctl.units import VoltSecond, convert

TEXT = (Path(__file__).parents[3] / "docs" / "chips.md").read_text(encoding="utf-8")


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_script_says_yield_bad_cells_and_dose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    voltage = flat({cell: 3.3 for cell in range(CELLS) if cell != 18}, np.nan)
    pulses = [
        Pulse(Operation.FORM, [cell for cell in range(CELLS) if cell != 18], 10e-6),
        Pulse(Operation.FORM, [18], 0.0),
    ]
    write_run(tmp_path / "runs/a.h5", *pulses, maps={"forming_voltage": voltage}, chip_serial="R40-0001")
    monkeypatch.chdir(tmp_path)
    (script,) = fences("python")
    exec(compile(script, "chips.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        "99.22% of 128 cells formed",
        "(1, 2) never formed in a.h5",
        "2e-07 V s",
    ]


def test_the_files_are_ones(tmp_path: Path) -> None:
    people, wear = fences("text")
    path = exclusions_path(tmp_path, "R40-0001")
    path.parent.mkdir()
    path.write_text(people, encoding="utf-8")
    (exclusion,) = read_exclusions(tmp_path, "R40-0001")
    assert (exclusion.cells, exclusion.cols, exclusion.by) == (((3, 4),), (3, 4, 5), "ada")
    table = tomllib.loads(wear)["arrays"]["main"] | {"instrument": "board"}
    given = convert(table, ArraySettings, what="chips.md").wear
    assert given == WearSettings(max_pulses=100_000, max_dose=VoltSecond(0.1), warn_at=0.8)
