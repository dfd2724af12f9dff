"""Progress where there is no terminal, and settings given as text."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from benches import write_bench

from labctl.cli import _run
from labctl.cli.console import Progress, settings_from
from labctl.errors import SettingsError
from labctl.plugins import load_protocol
from labctl.recording.reader import read_summary
from labctl.steps import Step
from labctl.units import convert


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that `time.monotonic` tells, in its only item."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_last_line_of_a_phase_is_its_last_state(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=False) as progress:
        for unformed in range(255, 2, -1):
            progress(Step("forming", {"unformed": unformed}))
            clock[0] += 0.001
        progress(Step("begin"))
        assert told(capsys) == ["forming      3 cells not formed"]
        for count in range(100):
            progress(Step("program", {"in_window": count}))
    assert told(capsys) == ["program      99 cells in window"]


def test_phases_that_take_turns_are_one_line_each_in_two_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(quiet=False) as progress:
        for cycle in range(1, 1001):
            for phase in ("set", "reset"):
                progress(Step(phase, {"cycle": cycle}, progress=(cycle, 1000)))
                clock[0] += 0.005
    lines = told(capsys)
    # 10 s: the first turn of each, at most one in two seconds, and the last.
    assert 2 * 2 <= len(lines) <= 2 * 7
    assert lines[-2:] == ["set          cycle 1,000", "reset        cycle 1,000"]


def test_there_are_no_lines_without_numbers(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=False) as progress:
        for done in range(10):
            progress(Step("restore"))
            progress(Step("wait", progress=(done, 20)))
            clock[0] += 5
    lines = told(capsys)
    assert lines
    assert all(line.startswith("wait ") and "%" in line for line in lines)
    assert lines[-1] == "wait         45%"


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ('["300uS", "2uS"]', ["300uS", "2uS"]),
        ("[300uS, 2uS]", ["300uS", "2uS"]),
        ("[300 uS, 2e-6]", ["300 uS", 2e-6]),
        ("[1, 2]", [1, 2]),
        ("300uS", "300uS"),
    ],
)
def test_a_list_may_be_given_without_quotes(text: str, levels: object) -> None:
    assert settings_from(load_protocol("retention"), [f"levels={text}"]) == {"levels": levels}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cells": "abc"}, "invalid enum value 'abc'; it takes all or a number"),
        ({"levels": "300uS"}, r"\$\.levels: expected a list, as in \[1, 2\], got `str`"),
    ],
)
def test_a_refused_setting_says_what_it_takes(settings: dict[str, str], sentence: str) -> None:
    procedure = load_protocol("retention")
    with pytest.raises(SettingsError, match=sentence):
        convert(settings, procedure.settings, what=procedure.name)


def test_breaking_off_the_evaluation_says_where_the_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("labctl.cli.characterise.statistics_of", interrupted)
    write_bench(tmp_path, chip="T-3")
    assert _run(["characterize", "map", "--bench", "bench.toml", "-q", "--no-plot"]) == 130
    (recorded,) = tmp_path.glob("runs/*.h5")
    assert f"it is recorded in {recorded}" in capsys.readouterr().err


def test_a_run_is_shown_with_all_its_pulses_beside_the_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bench(tmp_path, chip="T-3")
    assert _run(["form-array", "--bench", "bench.toml", "-q", "--no-plot"]) == 0
    assert "time of computer" in capsys.readouterr().out
    (recorded,) = tmp_path.glob("runs/*.h5")
    assert _run(["runs", "list", "runs"]) == 0
    assert "all pulses" in capsys.readouterr().out
    assert _run(["runs", "show", str(recorded)]) == 0
    shown = capsys.readouterr().out
    assert f"all pulses {read_summary(recorded).pulses} " in " ".join(shown.split())
    assert "pulses, by the protocol" in shown
    assert "of unknown dose 0 " in " ".join(shown.split())
    assert _run(["runs", "show", str(recorded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown_dose"] == 0
