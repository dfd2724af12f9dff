"""A small fault campaign, and that its referee notices what it is there to notice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fault_rounds
import pytest
from fault_campaign import campaign
from fault_rounds import FAULTLESS, LINKS, Bench, Round, Run, Verdict, bench_of, play

from labctl.drivers.numbered_board import NumberedBoard
from labctl.recording.writer import RunWriter
from labctl.simulated_instruments.faults import as_plan
from labctl.simulated_instruments.instruments.board import MemoryBoard

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fault_campaign.py"
CALM = Round(0, "tcp", "forming", "FC-1", FAULTLESS, sick=False)


def of_answer(kind: str, *messages: int, way: str = "from", more: str = "") -> str:
    return f'[[faults]]\nkind = "{kind}"\ndirection = "{way}"\nmessages = {list(messages)}\n{more}\n'


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, Any]:
    _, found = play(CALM, tmp_path / "calm", None)
    assert found is not None
    return found


def test_some_hundred_faults_end_in_the_same_outcomes_or_an_honest_stop() -> None:
    found = campaign(200, workers=2)
    assert found["faults"] >= 200
    assert (found["double_pulses"], found["lost_records"], found["hangs"]) == (0, 0, 0)
    assert found["violations"] == []
    assert found["completed"] + found["stopped_honestly"] == found["runs"]
    assert min(found["completed"], found["stopped_honestly"]) > 10
    assert set(found["runs_by_link"]) == set(LINKS)


def test_the_script_prints_what_it_found_and_replays_a_round_by_its_number(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--workers", "1", "--links", "gpib", "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, "--faults", "5", "--json"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"double_pulses", "lost_records", "hangs", "completed", "stopped_honestly"} <= set(json.loads(done.stdout))
    again = subprocess.run([*command, "--replay", "3"], env=environment, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert Round.of(3, ("gpib",)).plan in again.stdout
    assert (tmp_path / "3" / "injected.toml").exists()


@pytest.mark.parametrize("link", ["gpib", "in_process"])
def test_a_run_and_its_log_give_the_same_faults_again(link: str, tmp_path: Path) -> None:
    """Faults go by the messages; over TCP the wall clock has a say in how often a link asks again."""
    kinds = [("drop", ""), ("duplicate", ""), ("truncate", ""), ("corrupt", 'span = "header"')]
    faults = [
        f'[[faults]]\nkind = "{kind}"\ndirection = "{way}"\nprobability = 0.02\n{more}\n'
        for way in ("to", "from")
        for kind, more in kinds
    ]
    what = replace(CALM, link=link, protocol="write_verify", plan="seed = 5\n" + "\n".join(faults))

    def injected(each: Round, folder: Path) -> str:
        folder.mkdir()
        (folder / "faults.toml").write_text(each.plan, encoding="utf-8")
        with bench_of(each, folder, folder / "faults.toml") as bench:
            Run(each, bench, folder / "runs").go()
            plan = as_plan(bench.wire.record.injected)
        return "\n".join(line for line in plan.splitlines() if not line.startswith("#"))

    first = injected(what, tmp_path / "first")
    assert first.count("[[faults]]") > 1
    assert injected(what, tmp_path / "second") == first
    assert injected(replace(what, plan=first), tmp_path / "third") == first


# -- the referee ------------------------------------------------------------------------------------------------


def verdict_on(plan: str, folder: Path, reference: dict[str, Any]) -> Verdict:
    return play(replace(CALM, plan=plan), folder / "round", reference)[0]


def test_a_lost_answer_to_pulses_costs_nothing(tmp_path: Path, reference: dict[str, Any]) -> None:
    verdict = verdict_on(of_answer("drop", 9), tmp_path, reference)
    assert (verdict.ended, verdict.problems) == ("completed", [])
    assert verdict.kinds == {"drop": 1}


def test_pulses_given_twice_are_noticed(
    tmp_path: Path, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = MemoryBoard.pulse

    def twice(self: MemoryBoard, number: int, *batch: Any) -> Any:
        answer = pulse(self, number, *batch)
        if number == 2:
            self.chip.pulse(*batch[:1], batch[3], batch[4], *batch[1:3], self.clock.now(), 1e-6)
        return answer

    monkeypatch.setattr(MemoryBoard, "pulse", twice)
    verdict = verdict_on(FAULTLESS, tmp_path, reference)
    assert verdict.double_pulses == 64
    assert "64 pulses beyond the file's" in verdict.problems


def test_pulses_in_the_file_that_were_not_given_are_noticed(
    tmp_path: Path, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = RunWriter.fail
    monkeypatch.setattr(RunWriter, "fail", lambda self, states=(): fail(self, states or [1] * len(self._pending)))
    verdict = verdict_on(of_answer("hang", 9, way="to"), tmp_path, reference)
    assert any("pulses in the file that the chip has not had" in each for each in verdict.problems)


def test_a_step_that_is_not_in_the_file_is_noticed(
    tmp_path: Path, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = RunWriter.step, []

    def forgetful(self: RunWriter, each: Any, **when: Any) -> None:
        seen.append(each)
        if len(seen) != 3:
            step(self, each, **when)

    monkeypatch.setattr(RunWriter, "step", forgetful)
    verdict = verdict_on(FAULTLESS, tmp_path, reference)
    assert verdict.lost_records > 0
    assert not verdict.ended


def test_a_reading_made_again_is_noticed(
    tmp_path: Path, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a driver would that asks for a new reading where the answer to its pulses was lost."""
    fetch = NumberedBoard._find_out

    def reads_again(self: NumberedBoard, works: Any, problem: Any) -> Any:
        done = fetch(self, works, problem)
        return [each._replace(answer=self.read(works[0].batch.cells).codes[0]) for each in done]

    monkeypatch.setattr(NumberedBoard, "_find_out", reads_again)
    verdict = verdict_on(of_answer("drop", 9), tmp_path, reference)
    assert any("not as without faults: events/reading" in each for each in verdict.problems)


def test_outputs_left_on_are_noticed(
    tmp_path: Path, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NumberedBoard, "safe_state", lambda *_: None)
    verdict = verdict_on(FAULTLESS, tmp_path, reference)
    assert "its outputs are on, and it was said to be in safe state" in verdict.problems


def test_what_hangs_is_noticed(tmp_path: Path, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    monkeypatch.setattr(fault_rounds, "_RUN", 0.5)
    monkeypatch.setattr(NumberedBoard, "snapshot", lambda _: forever.wait(20) and {})
    try:
        verdict = verdict_on(FAULTLESS, tmp_path, reference)
    finally:
        forever.set()
    assert verdict.hung
    assert verdict.problems[0].startswith("still going after 0.5 s")


# -- what the campaign has found --------------------------------------------------------------------------------


@pytest.fixture
def late(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Run, Bench]]:
    """A run whose messages of these numbers arrive 1 s late, long after they were given up."""
    plan = of_answer("latency", *request.param, way="to", more="seconds = 1.0")
    (tmp_path / "faults.toml").write_text(plan, encoding="utf-8")
    what = replace(CALM, plan=plan)
    with bench_of(what, tmp_path, tmp_path / "faults.toml") as bench:
        run = Run(what, bench, tmp_path / "runs")
        run.go()
        yield run, bench


@pytest.mark.parametrize("late", [(8,), range(8, 14)], indirect=True, ids=["once", "every try"])
def test_a_message_that_comes_late_neither_switches_outputs_on_nor_gives_pulses(late: tuple[Run, Bench]) -> None:
    run, bench = late
    assert run.unsafe == ""
    given = bench.board.chip.pulse_counts.sum()
    assert bench.wire.record.injected
    time.sleep(1.2)
    assert not bench.board.firmware.output
    assert bench.board.chip.pulse_counts.sum() == given
