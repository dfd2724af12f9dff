"""Kills at write calls and full disks leave a readable run, holding all that was acknowledged.

`benchmarks/kill_recorder.py` does it; here it strikes at a few calls, and with `-m slow` at every one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kill_recorder
import pytest

KILL_RECORDER = Path(__file__).parents[3] / "benchmarks" / "kill_recorder.py"

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


def strike(*options: str) -> dict[str, object]:
    command = [sys.executable, str(KILL_RECORDER), "--json", *options]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.stdout, finished.stderr
    result: dict[str, object] = json.loads(finished.stdout)
    return result


@needs_strace
def test_a_kill_at_a_write_call_loses_nothing_acknowledged() -> None:
    result = strike("--every", "1200", "--random", "1")
    assert result["bad"] == []
    assert result["readable"] == result["struck_at_a_call"] + result["killed_at_random"] - 1  # type: ignore[operator]
    assert result["no_run_yet"] == 1  # killed before the file had its name


@needs_strace
def test_a_disk_full_from_some_write_on_loses_nothing_acknowledged() -> None:
    result = strike("--full", "--every", "2000")
    assert result["bad"] == []
    assert result["readable"] == result["struck_at_a_call"]


@needs_strace
@pytest.mark.parametrize(
    ("call", "number", "full"), [("rename", 2, False), ("write", 700, False), ("write", 900, True)]
)
def test_a_run_that_ends_with_results_has_ended_or_has_not(call: str, number: int, full: bool) -> None:
    verdict = kill_recorder.strike(call, number, kill_recorder.Mode(full=full, checkpoints=True))
    assert verdict.kind == "readable"


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("--random", "50"), ("--full",), ("--checkpoints", "--random", "50"), ("--checkpoints", "--full")]
)
def test_no_write_call_is_a_bad_moment(options: tuple[str, ...]) -> None:
    assert strike(*options)["bad"] == []


_FILL = """
import sys
from pathlib import Path
import numpy as np
from labctl.array import Geometry, Operation, PulseBatch, Scale
from labctl.errors import RecordingError
from labctl.recording import Outcome, RunWriter, read_summary

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
cells = np.arange(4096, dtype=np.uint32)
batch = PulseBatch(Operation.SET, cells, cells.astype(np.uint16), 1e-7, 1.2)
writer = RunWriter.create(
    folder / "run.h5", protocol="fill", title="Fill the disk", phases=("only",), variables=(),
    geometry=Geometry(64, 64, "1T1R RRAM"), dac=Scale(1e-3, 0.0, 12, "V"), adc=Scale(1e-7, 0.0, 12, "S"),
    started=1.7e9, provenance={"chip_serial": "C7"},
)
done = 0
try:
    while done < 10_000:
        writer.intend([batch])
        writer.complete()
        done += 1
except RecordingError as error:
    assert str(error).count("\\n") == 0, error
    print(error, file=sys.stderr)
writer.close(Outcome.FAILED, message="disk full")
writer.close(Outcome.FAILED)
summary = read_summary(folder / "run.h5")
print(done, summary.operations, summary.outcome.value)
"""


def fill(folder: Path, limit: int) -> tuple[list[str], str]:
    command = [sys.executable, "-c", _FILL, str(folder), str(limit)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return finished.stdout.split(), finished.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file size is a Unix thing")
@pytest.mark.parametrize("limit", [200_000, 300_001, 1_000_000])
def test_a_file_that_may_not_grow_keeps_what_was_committed(tmp_path: Path, limit: int) -> None:
    (done, operations, outcome), said = fill(tmp_path, limit)
    assert "cannot write the run file" in said
    assert said.strip().endswith("File too large")
    assert 0 < int(done) <= int(operations)
    assert outcome == "killed"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform == "win32" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_committed(small_disk: Path) -> None:
    (done, operations, outcome), said = fill(small_disk, 0)
    assert said.strip().endswith("No space left on device")
    assert 0 < int(done) <= int(operations)
    assert outcome == "killed"
