"""A small storm of hostile messages leaves codec, firmware and engine as they were; the large one is the script's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

SCRIPT = Path(fuzz.__file__)


@pytest.mark.parametrize("part", fuzz.PARTS)
def test_hostile_messages_neither_crash_nor_hang_nor_grow(part: str) -> None:
    report = fuzz.fuzz(part, 3_000, seed=11)
    assert report.crashes == []
    assert report.is_clean
    assert report.messages == 3_000
    assert report.answered > 100  # not all of it is thrown away at the door


def test_a_seed_gives_the_same_storm() -> None:
    again, other = (fuzz.fuzz("frames", 200, seed=seed) for seed in (3, 4))
    assert fuzz.fuzz("frames", 200, seed=3).bytes == again.bytes != other.bytes


def test_a_crash_is_caught_told_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: fuzz.Frames, data: bytes, __: object) -> int:
        if data.startswith(b"L"):
            raise ZeroDivisionError
        return 0

    monkeypatch.setattr(fuzz.Frames, "send", fail)
    report = fuzz.fuzz("frames", 50, seed=1)
    assert not report.is_clean
    assert "ZeroDivisionError" in report.crashes[0]
    assert len(report.crashes) == 5


def test_the_script_prints_its_report_and_says_by_its_exit_code_whether_it_is_clean() -> None:
    command = [sys.executable, SCRIPT, "frames", "--messages", "500", "--seed", "2"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["is_clean"] is True
    assert (
        "crashes 0, hangs 0" in subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    )
