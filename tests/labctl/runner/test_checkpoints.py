"""A run of a protocol with checkpoints goes on from the last one, on the array as it is; nothing is counted twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpointing
import h5py
import kill_resume
import numpy as np
import pytest
from benches import labctl, write_bench
from boards import ServedBoard, served_board
from checkpointing import DRAWN, TRAINING, draws_of
from killed_runs import after_step, at_exchange, bench_for, killed_run, resumed

import labctl as package
from labctl.analysis.report.charts import programming as charts
from labctl.analysis.report.material import opened_run
from labctl.array import Capability, LineProduct, LineWindow, Operation, PulseBatch, Window
from labctl.errors import InstrumentError, Interrupted, LimitError, ResumeError
from labctl.recording import read_summary
from labctl.recording.checkpoint import read_checkpoint
from labctl.recording.follow import Follower
from labctl.recording.layout import MULTIPLY, AskedBy, State
from labctl.recording.verify import verify
from labctl.steps import Step, StopRequested

ROWS, CELLS, SEED = 8, 64, 3
EPOCHS = 12


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ServedBoard]:
    with served_board(tmp_path, rows=ROWS, cols=ROWS, chip="TRAIN-1") as served:
        yield served


@pytest.fixture
def bench(board: ServedBoard, tmp_path: Path) -> Path:
    return bench_for(board, tmp_path)


def column(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        values: np.ndarray = file[name][:]
        return values


def regular_epochs(path: Path) -> list[int]:
    """The epochs of the steps that stand, as an analyst reads them."""
    with package.open_run(path) as tree:
        steps = tree["steps"].to_dataset()
    stands = (steps["asked_by"] != AskedBy.SUPERSEDED) & (steps["phase"] == 1)
    return [int(epoch) for epoch in steps["epoch"].values[stands.values]]


def assert_all_accounted_for(path: Path, board: ServedBoard, *, unknown: int = 0) -> None:
    """Every epoch once, drawn as without interruption; every pulse of the chip, but for those of unknown dose."""
    assert verify(path).findings == ()
    assert regular_epochs(path) == list(range(EPOCHS))
    expected = draws_of(SEED, EPOCHS, CELLS)
    with package.open_run(path) as tree:
        np.testing.assert_array_equal(tree["results/draws"], expected)
        np.testing.assert_array_equal(tree["maps/drawn"].values.ravel(), np.bincount(expected.ravel(), minlength=CELLS))
    recorded = np.zeros(CELLS, int)
    doubtful = np.zeros(CELLS, int)
    for done in kill_resume.operations(path):
        if done.kind in kill_resume.PULSES and done.state != State.NOT_APPLIED:
            recorded[done.cells] += 1
            doubtful[done.cells] += done.state == State.UNKNOWN_DOSE
    assert doubtful.sum() == unknown
    assert np.all(board.pulses <= recorded)
    assert np.all(board.pulses >= recorded - doubtful)
    assert read_summary(path).pulses == recorded.sum()


@pytest.mark.parametrize(("after", "superseded"), [(4, 0), (6, 2), (EPOCHS, 2), (EPOCHS + 1, 0)])
def test_a_killed_run_goes_on_from_its_last_checkpoint(
    after: int, superseded: int, bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    path = killed_run(bench, tmp_path, after_step(after), TRAINING)
    done = read_summary(path).operations
    assert int(read_checkpoint(path)["epoch"]) == after - 1 - superseded
    result = resumed(bench, path, protocol=TRAINING)
    assert result.outcome == "finished"
    assert result.summary == {"epochs": EPOCHS}
    np.testing.assert_array_equal(result.results["epoch"].values, np.arange(EPOCHS))
    assert_all_accounted_for(path, board)
    asked = column(path, "operations/asked_by").tolist()
    assert asked[:done].count(AskedBy.SUPERSEDED) == 2 * superseded  # a SET and a product an epoch
    assert AskedBy.SUPERSEDED not in asked[done:]
    assert asked[done] == AskedBy.REREAD
    assert column(path, "steps/asked_by").tolist().count(AskedBy.SUPERSEDED) == superseded
    with h5py.File(path) as file:
        (said,) = json.loads(file["provenance"].attrs["resumptions"])
    assert said["checkpoint_steps"] == after - superseded
    assert (said["superseded_steps"], said["superseded_operations"]) == (superseded, 2 * superseded)
    assert said["before"]["outcome"] == "killed"


def test_one_without_a_checkpoint_begins_anew(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(2), TRAINING)
    resumed(bench, path, protocol=TRAINING)
    assert_all_accounted_for(path, board)
    assert column(path, "steps/asked_by").tolist() == [AskedBy.SUPERSEDED] * 2 + [AskedBy.PROTOCOL] * (EPOCHS + 1)
    assert board.pulses.sum() == 2 * CELLS + (EPOCHS + 1) * DRAWN


@pytest.mark.parametrize("applied", [True, False])
def test_pulses_in_flight_are_never_given_again(applied: bool, bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, at_exchange(7, applied=applied), TRAINING)  # FORM, and the sixth SET
    assert read_summary(path).unsettled == 1
    resumed(bench, path, protocol=TRAINING)
    assert_all_accounted_for(path, board)
    row = np.flatnonzero(column(path, "operations/sequence") == 7)[0]
    assert column(path, "operations/state")[row] == (State.DONE if applied else State.NOT_APPLIED)
    assert column(path, "operations/asked_by")[row] == AskedBy.SUPERSEDED


def test_pulses_of_which_the_board_cannot_say_are_of_unknown_dose(
    bench: Path, board: ServedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = killed_run(bench, tmp_path, at_exchange(7, applied=True), TRAINING)
    monkeypatch.setattr("labctl.runner.resuming.later_runs", lambda *_: ["another.h5"])
    resumed(bench, path, protocol=TRAINING, force=True)
    assert_all_accounted_for(path, board, unknown=DRAWN)


def test_it_can_be_resumed_again_and_again(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(6), TRAINING)
    for steps in (2, 1, 5):  # to no new checkpoint; to none; to one
        seen = iter(range(steps - 1))

        def stopped(step: Step, seen: Iterator[int] = seen) -> None:  # noqa: ARG001
            if next(seen, None) is None:
                raise RuntimeError("the lamp went out")

        with pytest.raises(RuntimeError, match="lamp"):
            resumed(bench, path, protocol=TRAINING, progress=stopped)
    resumed(bench, path, protocol=TRAINING)
    assert_all_accounted_for(path, board)
    with h5py.File(path) as file:
        said = json.loads(file["provenance"].attrs["resumptions"])
    assert [each["checkpoint_steps"] for each in said] == [4, 4, 4, 12]
    assert [each["superseded_steps"] for each in said] == [2, 4, 5, 2]
    assert said[1]["before"]["message"] == "RuntimeError: the lamp went out"


CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[3:]
import labctl
from checkpointing import TRAINING

def progress(step):
    print("step", flush=True)
    time.sleep(0.1)

with labctl.load_bench(sys.argv[1]) as bench, bench.array() as array:
    labctl.run(TRAINING, array, out=Path(sys.argv[2]) / "runs", seed=3, progress=progress)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_or_stopped_goes_on_in_another(
    number: int, bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    support = str(Path(checkpointing.__file__).parent)
    command = [sys.executable, "-c", CHILD, str(bench), str(tmp_path), support]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(6):
            assert child.stdout.readline() == b"step\n"
        child.send_signal(number)
        child.communicate()
    (path,) = (tmp_path / "runs").glob("*.h5")
    assert read_summary(path).outcome == ("killed" if number == signal.SIGKILL else "interrupted")
    resumed(bench, path, protocol=TRAINING)
    assert_all_accounted_for(path, board)
    assert list(path.parent.glob("*.h5*")) == [path]


def test_what_the_protocol_yields_when_it_is_told_to_stop_is_a_checkpoint_too(bench: Path, tmp_path: Path) -> None:
    def steps(*given: Any) -> Any:
        for step in checkpointing.steps(*given):
            try:
                yield replace(step, checkpoint=None)
            except StopRequested:
                yield replace(step, checkpoint={"epoch": np.array(5), "draws": draws_of(SEED, 5, CELLS)})
                return {}

    procedure = replace(TRAINING, steps=steps)
    with package.load_bench(bench) as live, live.array() as array:
        stop = after_step(6)(array, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Interrupted) as stopped:
            package.run(procedure, array, out=tmp_path / "runs", seed=SEED, progress=stop)
    path = stopped.value.run_path
    assert int(read_checkpoint(path)["epoch"]) == 5
    resumed(bench, path, protocol=TRAINING)
    asked = column(path, "steps/asked_by").tolist()
    assert (asked.count(AskedBy.SUPERSEDED), asked.count(AskedBy.ENDING)) == (0, 1)
    with package.open_run(path) as tree:
        np.testing.assert_array_equal(tree["results/draws"], draws_of(SEED, EPOCHS, CELLS))


def refused(path: Path, bench: Path, board: ServedBoard, **options: Any) -> str:
    """What resuming says against it; no pulse was given, and the file is as it was."""
    before, pulses = path.read_bytes(), board.pulses.copy()
    with pytest.raises(ResumeError) as problem:
        resumed(bench, path, **{"protocol": TRAINING, **options})
    assert path.read_bytes() == before
    np.testing.assert_array_equal(board.pulses, pulses)
    return str(problem.value)


def test_a_chip_that_is_not_as_it_was_is_refused(board: ServedBoard, bench: Path, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(6), TRAINING)
    anew = write_bench(tmp_path, rows=ROWS, cols=ROWS, chip="TRAIN-1", name="anew.toml")
    with package.load_bench(anew) as live, live.array() as array:
        array.clock.sleep_until(array.clock.now() + 1e6)
        with pytest.raises(ResumeError, match="not the state it left the chip in"):
            package.resume(path, array, protocol=TRAINING)
    assert read_summary(path).outcome == "killed"
    resumed(bench, path, protocol=TRAINING)
    assert_all_accounted_for(path, board)


def test_a_finished_run_is_refused(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    with package.load_bench(bench) as live, live.array() as array:
        path = package.run(TRAINING, array, out=tmp_path / "runs", seed=SEED).path
    assert_all_accounted_for(path, board)
    assert "is finished: there is nothing to resume" in refused(path, bench, board)


def test_a_protocol_that_is_not_what_it_was_is_refused(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(6), TRAINING)
    without = checkpointing.WITHOUT_CHECKPOINTS
    assert "declares other checkpoints, or none" in refused(path, bench, board, protocol=without)
    for other in (
        replace(TRAINING, phases=("form", "learn")),
        replace(TRAINING, variables=TRAINING.variables[1:]),
        replace(TRAINING, variables=TRAINING.variables[:-1]),
    ):
        assert "declares other phases, or variables" in refused(path, bench, board, protocol=other)


def test_a_protocol_that_multiplied_and_has_no_checkpoints_is_refused(
    bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    path = killed_run(bench, tmp_path, after_step(6), checkpointing.WITHOUT_CHECKPOINTS)
    said = refused(path, bench, board, protocol=checkpointing.WITHOUT_CHECKPOINTS)
    assert said == "cannot be resumed: the protocol went by a multiplication, of whose products there is no record"


def test_limits_count_pulses_that_were_superseded(board: ServedBoard, tmp_path: Path) -> None:
    bench = bench_for(board, tmp_path, arrays="[arrays.main.cell_limits]\nmax_pulses = 3\n")
    path = killed_run(bench, tmp_path, after_step(1), TRAINING, epochs=2)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="at the phase form"):
            resumed(bench, path, protocol=TRAINING, progress=_fail)
    with pytest.raises(LimitError, match="max_pulses of 3"):
        resumed(bench, path, protocol=TRAINING)
    np.testing.assert_array_equal(board.pulses, np.full(CELLS, 3))


def _fail(step: Step) -> None:
    raise RuntimeError(f"at the phase {step.phase}")


def test_products_are_on_record(bench: Path, tmp_path: Path) -> None:
    window = Window(*(np.array(lines, np.uint16) for lines in ((0, 2), (1, 3), (4, 5, 6))))
    lines = LineWindow(window.plus, window.minus, window.cols)
    forward = LineProduct(np.full((4, 2), 9000, np.int16), lines, 0.15, 1e-4)
    backward = LineProduct(np.full((1, 3), 9000, np.int16), lines, 0.15, 1e-4, backward=True)

    def steps(array: Any, settings: Any, rng: Any, checkpoint: Any) -> Any:  # noqa: ARG001
        array.read(voltage=0.1)
        array.multiply(np.full((5, ROWS), 0.1, np.float32))
        array.clock.now()
        array.multiply_bits(np.full((4, 2), 7, np.uint8), window, 3, 0.15, 1e-4)
        array.read()
        array.multiply_lines(forward, backward)
        ended = array.multiply_lines(backward)[0].time
        array.multiply_lines(replace(forward, voltage=0.1))
        assert array.time > ended
        array.multiply_lines(backward)
        yield Step("form")
        return {}

    with package.load_bench(bench) as live, live.array() as array:
        needs = Capability.MULTIPLY | Capability.MULTIPLY_BITS | Capability.MULTIPLY_LINES
        path = package.run(replace(TRAINING, steps=steps, needs=needs), array, out=tmp_path / "runs").path
    assert verify(path).findings == ()
    with package.open_run(path) as tree:
        operations = tree["operations"].to_dataset().load()
    products = operations.isel(operation=operations["kind"].values == MULTIPLY)
    assert products["repeats"].values.tolist() == [5, 12, 6, 4, 1]
    assert products["events"].values.tolist() == [0] * 5
    np.testing.assert_allclose(products["read_voltage"], [np.nan, 0.15, 0.15, 0.1, 0.15], rtol=1e-6)
    assert np.all(np.diff(operations["start"].values) >= np.timedelta64(0))


@pytest.mark.parametrize("refused", ["", "at once", "by the board"])
def test_pulses_that_go_with_products_are_on_record_before_them(
    bench: Path, board: ServedBoard, tmp_path: Path, refused: str
) -> None:
    """Whatever becomes of the products, the file says what became of the pulses."""
    lines = LineWindow(*(np.array(each, np.uint16) for each in ((0, 2), (1, 3), (4, 5, 6))))
    product = LineProduct(np.full((4, 2), 9000, np.int16), lines, 0.15, 1e-4)

    def steps(array: Any, settings: Any, rng: Any, checkpoint: Any) -> Any:  # noqa: ARG001
        cells = np.arange(3, dtype=np.uint32)
        batch = PulseBatch(Operation.SET, cells, array.dac.codes(np.ones(3)), 1e-6, 1.2)
        array.multiply_lines(product, pulses=[batch, batch])
        if refused == "by the board":
            board.board.firmware.chip.line_ranges = (8e-6,)
        array.multiply_lines(replace(product, full_scale=3e-3) if refused == "at once" else product, pulses=[batch])
        yield Step("form")
        return {}

    with package.load_bench(bench) as live, live.array() as array:
        ended = pytest.raises(InstrumentError, match="no pulse was" if refused == "at once" else "given all the same")
        with ended if refused else contextlib.nullcontext():
            package.run(replace(TRAINING, steps=steps, needs=Capability.MULTIPLY_LINES), array, out=tmp_path / "runs")
    (path,) = (tmp_path / "runs").rglob("*.h5")
    given = State.NOT_APPLIED if refused == "at once" else State.DONE
    expected = [(Operation.SET, State.DONE)] * 2 + [(MULTIPLY, State.DONE), (Operation.SET, given)]
    found = zip(column(path, "operations/kind").tolist(), column(path, "operations/state").tolist(), strict=True)
    assert list(found)[:4] == expected
    assert board.pulses.reshape(-1)[:3].tolist() == [2 if refused == "at once" else 3] * 3
    assert verify(path).findings == ()


def test_who_follows_a_resumed_run_or_reads_its_report_sees_each_epoch_once(bench: Path, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(6), TRAINING)
    resumed(bench, path, protocol=TRAINING)
    _, epochs = Follower(path).look().curves["epoch"].points()
    assert epochs.tolist() == [0, *range(EPOCHS)]  # the step that formed the cells gives none, so 0
    with opened_run(path) as run:
        found = {chart.title: chart.series[0].y for chart in charts.steps(run)}
    assert np.asarray(found["epoch"]).tolist() == [0, *range(EPOCHS)]
    assert len(found["median conductance"]) == EPOCHS


def test_a_person_is_told_how_far_back_it_went(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = killed_run(bench, tmp_path, after_step(6), TRAINING)
    resumed(bench, path, protocol=TRAINING)
    assert "goes on from the checkpoint of its step 4, the 2 since then are done anew" in capsys.readouterr().err
    shown = labctl("runs", "show", path, cwd=tmp_path).stdout
    assert "2 steps back to its checkpoint" in shown
    assert "cells that were SET, 12 epoch x 6 draw" in shown
    told = json.loads(labctl("runs", "show", path, "--json", cwd=tmp_path).stdout)
    assert told["results"]["draws"]["dims"] == ["epoch", "draw"]
