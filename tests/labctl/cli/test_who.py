"""`labctl who`, with a run of another process that is being recorded, and one that was killed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import RESOURCE, labctl, served, started

from labctl.cli import _run


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


def leases(cwd: Path, *options: str) -> list[dict[str, Any]]:
    done = labctl("who", "--json", *options, cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_nobody_holds_anything(tmp_path: Path) -> None:
    done = labctl("who", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no instrument is held\n")


def test_the_second_process_is_told_which_run_has_the_instrument_and_a_killed_one_is_stale(tmp_path: Path) -> None:
    np.save(tmp_path / "target.npy", np.full((32, 32), 20.0))
    with served(tmp_path, simulated='clock = "real"\n') as (path, _):
        run = started(
            "program-array", "target.npy", "--unit", "uS", "--bench", path, "--yes", "--no-plot", "--reverify", "30s",
            cwd=tmp_path,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while not (found := leases(tmp_path)) or not found[0]["run"]:
                assert time.monotonic() < deadline, found
                time.sleep(0.1)
            (held,) = found
            refused = labctl("read-array", "--bench", path, "--no-plot", cwd=tmp_path)
            shown = labctl("who", cwd=tmp_path)
        finally:
            run.kill()
            run.communicate()
        (recorded,) = (tmp_path / "runs").glob("*.h5")
        assert (held["state"], held["pid"], held["bench"]) == ("held", run.pid, str(path))
        assert (held["run"], held["run_path"]) == (recorded.stem, str(recorded))
        assert held["resource_name"] != RESOURCE
        assert held["command"].startswith("__main__.py program-array target.npy --unit uS --bench ")

        assert refused.returncode == 3
        assert refused.stderr.splitlines() == [
            f"labctl: {held['resource_name']} is in use by process {run.pid} ({held['user']} on {held['host']}: "
            f"{held['command']}) since {held['since']}, on bench file {path}, recording {recorded}"
        ]
        assert shown.stdout.splitlines() == [
            f"{held['resource_name']}  held",
            f"  process  {run.pid} of {held['user']} on {held['host']}",
            f"  since    {held['since']}",
            f"  command  {held['command']}",
            f"  bench    {path}",
            f"  run      {recorded}",
        ]

        (stale,) = leases(tmp_path)
        assert (stale["state"], stale["run"]) == ("stale", recorded.stem)
        taken_over = labctl("read-array", "--bench", path, "--no-plot", "--json", cwd=tmp_path)
        assert taken_over.returncode == 0, taken_over.stderr
        assert leases(tmp_path) == []


def test_what_a_killed_process_left_is_taken_away_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "leases"
    folder.mkdir()
    note = {"resource_name": "GPIB0::3::INSTR", "pid": 7, "user": "ada", "host": "desk", "command": "labctl x"}
    (folder / "GPIB0-3-INSTR-12345678.json").write_text(json.dumps({**note, "since": "2026-01-01T00:00:00+0000"}))
    assert _run(["who"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "GPIB0::3::INSTR  stale"
    assert _run(["who", "--clean"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "GPIB0::3::INSTR  stale, taken away"
    assert _run(["who"]) == 0
    assert capsys.readouterr().out == ""
