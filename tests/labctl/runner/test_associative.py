"""Runs on an associative array: every action is in the file, however the run ends; they resume from checkpoints."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden_boards
import h5py
import numpy as np
import pytest
from golden_boards import PASS_S, write_golden_bench
from tallying import BITS, TALLY, WITHOUT_CHECKPOINTS, program, sums_of

import labctl
from labctl.array import Geometry
from labctl.associative import (
    AssociativeGeometry,
    Check,
    Load,
    Read,
    ReadTags,
    Realign,
    Run,
    Search,
    SetTags,
    Shift,
    Write,
    planes_of,
)
from labctl.compiler.golden import GoldenArray
from labctl.errors import CapabilityError, InstrumentError, Interrupted, LinkError, RecordingError, ResumeError
from labctl.recording import Outcome, read_summary, recover
from labctl.recording.actions import KINDS, NONE, action_row, geometry_of
from labctl.recording.checkpoint import read_checkpoint
from labctl.recording.layout import AskedBy, State
from labctl.recording.verify import Verdict, verify
from labctl.steps import Step, Variable

ROWS, SEED = 100, 3
NAMES = {code: name for name, code in KINDS.items()}
ROUND = ["load", "shift", "set_tags", "program", "search", "read_tags", "tagged_write", "read_back", "check", "shift"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))
    golden_boards.install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    return write_golden_bench(tmp_path)


def run_of(bench: Path, protocol: Any = TALLY, *, arm: Any = None, progress: Any = None, **settings: Any) -> Any:
    with labctl.load_bench(bench) as live, live.array() as array:
        if arm is not None:
            arm(array.driver)
        out = bench.parent / "runs"
        return labctl.run(protocol, array, out=out, seed=SEED, progress=progress, **settings)


def resumed(bench: Path, path: Path, protocol: Any = TALLY, **options: Any) -> Any:
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.resume(path, array, protocol=protocol, **options)


def signal_after(rounds: int) -> Any:
    """A Ctrl-C once so many rounds are recorded."""
    seen = [0]

    def progress(step: Step) -> None:
        seen[0] += step.phase == "tally"
        if seen[0] == rounds and step.phase == "tally":
            os.kill(os.getpid(), signal.SIGINT)

    return progress


def only_run(bench: Path) -> Path:
    (path,) = (bench.parent / "runs").glob("*.h5")
    return path


def columns(path: Path, table: str = "operations") -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: each[:] for name, each in file[table].items()}


def kinds(path: Path) -> list[str]:
    return [NAMES[code] for code in columns(path)["kind"].tolist()]


def golden_trace(rounds: int) -> np.ndarray:
    """Matches of the passes of every round, by the golden model alone."""
    rng, golden = np.random.default_rng(SEED), GoldenArray(AssociativeGeometry(ROWS, 8, 8))
    found = []
    for _ in range(rounds):
        drawn = rng.integers(0, 1 << BITS, (ROWS, 1))
        golden.perform(Load(np.arange(BITS, dtype=np.uint32), planes_of(drawn, BITS, ROWS)))
        (execution,) = golden.perform(Run(program(golden), trace=True))  # type: ignore[arg-type]
        found.append(execution.trace)
    return np.concatenate(found)


def test_every_action_and_every_traced_pass_is_in_the_file(bench: Path) -> None:
    result = run_of(bench, rounds=3, trace=True)
    assert verify(result.path).findings == ()
    assert kinds(result.path) == ["configure", "configure", *3 * ROUND]
    assert list(result.results["sums"].values) == sums_of(SEED, 3, ROWS)
    done = columns(result.path)
    assert set(done["state"]) == {State.DONE}
    named = dict(zip(ROUND, done["repeats"][2:12].tolist(), strict=False))
    assert (named["load"], named["program"], named["tagged_write"], named["read_back"]) == (BITS, 2 * BITS, 0, BITS)
    assert done["shifted"][[3, 11]].tolist() == [1, -1]
    assert done["track"][[2, 3]].tolist() == [NONE, 2]
    assert done["first_column"][[2, 8, 9]].tolist() == [0, NONE, 8]
    assert done["sense_threshold"][0] == 0.5
    assert done["verify_every"][:3].tolist() == [NONE, 4, NONE]
    is_program = done["kind"] == KINDS["program"]
    assert np.all(done["seconds"][is_program] == 2 * BITS * PASS_S)
    assert np.isnan(done["seconds"][~is_program]).all()
    assert done["step"].tolist() == [0] * 12 + [1] * 10 + [2] * 10
    passes = columns(result.path, "events")
    np.testing.assert_array_equal(passes["matches"], golden_trace(3))
    np.testing.assert_array_equal(passes["bit"], np.tile(np.repeat(np.arange(BITS), 2), 3))
    np.testing.assert_array_equal(passes["pass"], np.tile([0, 1], 3 * BITS))
    assert not passes["instruction"].any()
    with h5py.File(result.path) as file:
        assert geometry_of(file.attrs) == AssociativeGeometry(ROWS, 8, 8)


def test_without_a_trace_no_pass_is_recorded(bench: Path) -> None:
    path = run_of(bench, rounds=2).path
    assert (read_summary(path).events, read_summary(path).pulses) == (0, 0)
    assert verify(path).findings == ()
    assert columns(path)["matches"][5] == golden_trace(2)[1::2][:BITS].sum()


def test_as_people_read_it(bench: Path) -> None:
    path = run_of(bench, rounds=2, trace=True).path
    with labctl.open_run(path) as tree:
        events, operations = tree["events"].to_dataset(), tree["operations"].to_dataset()
        assert tree.attrs["array_kind"] == "associative"
        assert list(tree["maps"].data_vars) == []
    owners = events["operation"].values
    assert set(operations["kind"].values[owners]) == {KINDS["program"]}
    told = events["matches"].groupby(events["pass"]).sum().values
    assert told[1] == np.nansum(operations["matches"].values[np.unique(owners)])
    assert operations["start"].dtype.kind == "M"


def test_what_the_board_refuses_was_not_done(bench: Path) -> None:
    bench = write_golden_bench(bench.parent, refuses=4)  # of the first round: search, tags and write
    with pytest.raises(InstrumentError, match="refused the second"):
        run_of(bench)
    path = only_run(bench)
    states = columns(path)["state"]
    assert kinds(path)[-3:] == ["search", "read_tags", "tagged_write"]
    assert states.tolist() == [State.DONE] * 7 + [State.NOT_APPLIED] * 2
    assert (verify(path).verdict, read_summary(path).outcome) == (Verdict.WHOLE, Outcome.FAILED)


def test_what_cannot_be_right_was_not_done(bench: Path) -> None:
    def arm(driver: Any) -> None:
        perform = driver.perform

        def refusing(*actions: Any) -> Any:
            if any(isinstance(each, Search) for each in actions):
                raise ValueError("a column is named twice")
            return perform(*actions)

        driver.perform = refusing

    with pytest.raises(ValueError, match="named twice"):
        run_of(bench, arm=arm)
    assert columns(only_run(bench))["state"][-3:].tolist() == [State.NOT_APPLIED] * 3


def test_what_was_sent_when_the_link_broke_is_not_known(bench: Path) -> None:
    def arm(driver: Any) -> None:
        perform = driver.perform

        def breaking(*actions: Any) -> Any:
            if isinstance(actions[0], Run):
                raise LinkError("the wire is gone")
            return perform(*actions)

        driver.perform = breaking

    with pytest.raises(LinkError, match="the wire is gone"):
        run_of(bench, arm=arm, trace=True)
    path = only_run(bench)
    assert columns(path)["state"].tolist() == [State.DONE] * 5 + [State.UNKNOWN_DOSE]
    assert verify(path).verdict is Verdict.WHOLE
    with labctl.open_run(path) as tree:
        assert np.isnan(tree["events/matches"].values).all()
        assert tree["events"].sizes["event"] == 2 * BITS


def test_reads_alone_leave_no_trace_where_they_fail(bench: Path) -> None:
    def arm(driver: Any) -> None:
        perform = driver.perform

        def breaking(*actions: Any) -> Any:
            if isinstance(actions[0], Read):
                raise LinkError("the wire is gone")
            return perform(*actions)

        driver.perform = breaking

    with pytest.raises(LinkError):
        run_of(bench, arm=arm)
    assert kinds(only_run(bench))[-1] == "tagged_write"


def test_a_signal_ends_it_after_the_step(bench: Path) -> None:
    with pytest.raises(Interrupted):
        run_of(bench, progress=signal_after(1))
    path = only_run(bench)
    assert kinds(path) == ["configure", "configure", *ROUND, "set_tags"]
    assert columns(path)["asked_by"].tolist() == [AskedBy.PROTOCOL] * 12 + [AskedBy.ENDING]
    assert read_summary(path).summary["rounds"] == 1
    assert verify(path).findings == ()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process")
@pytest.mark.parametrize("after", [0, 3, 4])
def test_a_killed_run_goes_on_from_its_last_checkpoint(bench: Path, after: int) -> None:
    command = [sys.executable, golden_boards.__file__, str(bench), str(after)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    path = only_run(bench)
    before = read_summary(path)
    assert (before.outcome, before.unsettled, before.unknown_dose) == (Outcome.KILLED, 1, 0)
    (warning,) = verify(path).findings
    assert warning.text.endswith("nobody can say whether what was under way was done (1 of its actions)")
    recover(path, bench.parent / "recovered.h5")
    assert verify(bench.parent / "recovered.h5").verdict is Verdict.INCOMPLETE
    assert read_summary(bench.parent / "recovered.h5").pulses == 0
    kept = after // 2 * 2
    if kept:
        assert len(read_checkpoint(path)["sums"]) == kept
    result = resumed(bench, path)
    assert list(result.results["sums"].values) == sums_of(SEED, 6, ROWS)
    assert verify(path).findings == ()
    done = columns(path)
    assert (done["state"] == State.UNKNOWN_DOSE).tolist() == [
        row == before.operations for row in range(len(done["kind"]))
    ]
    first_again = 0 if not kept else 2 + 10 * kept
    superseded = np.flatnonzero(done["asked_by"] == AskedBy.SUPERSEDED)
    np.testing.assert_array_equal(superseded, np.arange(first_again, before.operations + 1))
    with labctl.open_run(path) as tree:
        steps = tree["steps"].to_dataset()
    stands = steps["asked_by"].values == AskedBy.PROTOCOL
    assert steps["sum"].values[stands].tolist() == sums_of(SEED, 6, ROWS)


def test_an_interrupted_run_goes_on_as_often_as_one_likes(bench: Path) -> None:
    with pytest.raises(Interrupted):
        run_of(bench, progress=signal_after(3), rounds=7)
    path = only_run(bench)
    with pytest.raises(Interrupted):
        resumed(bench, path, progress=signal_after(2))
    assert list(resumed(bench, path).results["sums"].values) == sums_of(SEED, 7, ROWS)
    assert verify(path).findings == ()


def test_one_without_checkpoints_is_not_resumed(bench: Path) -> None:
    with pytest.raises(Interrupted):
        run_of(bench, WITHOUT_CHECKPOINTS, progress=signal_after(1))
    with pytest.raises(ResumeError, match="no checkpoints, and what an associative array answered is not recorded"):
        resumed(bench, only_run(bench), WITHOUT_CHECKPOINTS)


def test_one_of_other_tracks_is_not_resumed_here(bench: Path) -> None:
    with pytest.raises(Interrupted):
        run_of(bench, progress=signal_after(1))
    other = write_golden_bench(bench.parent, tracks=4, domains=16)
    with pytest.raises(ResumeError, match="its kind of array was an associative array of 8 tracks of 8 domains with 1"):
        resumed(other, only_run(bench))


def test_protocols_of_memory_arrays_are_refused(bench: Path) -> None:
    with pytest.raises(CapabilityError, match="read needs READ"):
        run_of(bench, "read")
    with labctl.load_bench() as live, live.array() as array, pytest.raises(CapabilityError, match="needs ASSOCIATE"):
        labctl.run(TALLY, array, out=bench.parent)


def test_maps_of_cells_are_refused(bench: Path) -> None:
    mapped = replace(TALLY, variables=(*TALLY.variables, Variable("worn", "worn cells", ("row", "col"), "u1")))
    with pytest.raises(RecordingError, match="declares the map `worn`, but associative arrays have none"):
        run_of(bench, mapped)


def test_a_trace_of_another_length_is_an_error(bench: Path) -> None:
    def arm(driver: Any) -> None:
        perform = driver.perform

        def shortened(*actions: Any) -> Any:
            results = perform(*actions)
            return tuple(replace(each, trace=each.trace[1:]) if hasattr(each, "trace") else each for each in results)

        driver.perform = shortened

    with pytest.raises(RecordingError, match="a trace of 7 passes of a program that has 8"):
        run_of(bench, arm=arm, trace=True)


@pytest.mark.parametrize(
    ("action", "changes"),
    [
        (Load(np.zeros(1, np.uint32), np.zeros((1, 1), np.uint8)), True),
        (Search(np.zeros(0, np.uint32), np.zeros(0, np.uint8)), True),
        (Write(np.zeros(1, np.uint32), np.zeros(1, np.uint8)), True),
        (SetTags(np.zeros(1, np.uint8)), True),
        (Shift(0, 1), True),
        (Realign(0, 1), True),
        (Read(np.zeros(1, np.uint32)), False),
        (ReadTags(), False),
        (Check(np.zeros(1, np.uint16)), False),
    ],
)
def test_what_changes_something_is_intended_first(action: Any, changes: bool) -> None:
    assert action_row(action).changes is changes


def test_what_is_no_action_is_refused() -> None:
    with pytest.raises(TypeError, match="performs actions, not Geometry"):
        action_row(Geometry(1, 1, "racetrack"))  # type: ignore[arg-type]
