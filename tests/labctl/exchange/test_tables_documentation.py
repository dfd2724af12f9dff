"""What the document on exporting shows is run here, on exports of a run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from whole_runs import write_whole_run

from labctl.exchange.tables.exporting import export_tables

DOCUMENT = (Path(__file__).parents[3] / "docs" / "exporting.md").read_text(encoding="utf-8")
(TABLES,) = re.findall(r"^## Tables\n(.*?)^## ", DOCUMENT, re.MULTILINE | re.DOTALL)
PLAIN, WITH_EXTRA = re.findall(r"^```python\n(.*?)^```", TABLES, re.MULTILINE | re.DOTALL)


def run_in(folder: Path, code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_scripts_read_what_is_exported(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path / "run.h5")
    for to in ("csv", "netcdf", "matlab"):
        export_tables([run], to)  # type: ignore[arg-type]
    said = run_in(tmp_path, PLAIN)
    assert "C-7 {'target': {'shape': [8, 16]}, 'tolerance': 1e-06}" in said
    assert said.count(" S\n") == 2


def test_the_scripts_that_need_the_extra_read_what_is_exported(tmp_path: Path) -> None:
    for package in ("pyarrow", "zarr"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'labctl[export]'")
    run = write_whole_run(tmp_path / "run.h5")
    for to in ("parquet", "zarr"):
        export_tables([run], to)  # type: ignore[arg-type]
    assert run_in(tmp_path, WITH_EXTRA).startswith("S C-7\n")
