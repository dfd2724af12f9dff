"""An interrupted run goes on from its file as if it had never been interrupted, or says why it cannot."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import kill_resume
import numpy as np
import pytest
from benches import labctl, served, started, write_bench
from boards import ServedBoard, ServedSerialBoard, served_board
from killed_runs import after_settling, after_step, at_exchange, bench_for, killed_run, resumed

import labctl as package
from labctl.analysis.measurements import measurement
from labctl.array import Capability
from labctl.errors import Interrupted, LimitError, ResumeError
from labctl.plugins import load_protocol
from labctl.protocols.ramps import Ramp
from labctl.recording import read_summary
from labctl.recording.layout import AskedBy, State
from labctl.recording.pack import pack
from labctl.recording.past import Past
from labctl.recording.verify import verify
from labctl.runner.retracing import Retracing
from labctl.steps import Procedure, Step
from labctl.units import Second, Volt

ROWS = 8
RAMP = {"start": Volt(3.1), "width": Second(1e-6)}
SETTINGS: dict[str, dict[str, Any]] = {
    "forming": {},
    "read": {"repeats": 12},
    "write_verify": {"reverify": [0.0, 1.0]},
    "iv": {},
    "pulse_response": {"cells": 16, "trains": 2, "pulses": 6},
    "endurance": {"cells": 16, "cycles": 40, "every": 10},
    "retention": {"cells": 32, "group": 8, "times": [0.01, 0.1, 1.0, 10.0, 200.0]},
    "read_noise": {"cells": 16, "samples": 30, "interval": 0.01},
    "step_size": {"cells": 32},
}


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ServedBoard]:
    with served_board(tmp_path, rows=ROWS, cols=ROWS, chip="RESUME-1") as served:
        yield served


@pytest.fixture
def bench(board: ServedBoard, tmp_path: Path) -> Path:
    return bench_for(board, tmp_path)


def settings_of(protocol: str) -> dict[str, Any]:
    found = dict(SETTINGS[protocol])
    if protocol == "write_verify":
        found["target"] = np.random.default_rng(5).uniform(3e-6, 38e-6, (ROWS, ROWS))
    return found


def asked(path: Path, by: AskedBy) -> int:
    """How many operations were made because of `by`."""
    with h5py.File(path) as file:
        return int(np.count_nonzero(file["operations/asked_by"][:] == by))


def pulses_of(path: Path) -> np.ndarray:
    """(cells,) pulses that the file says each cell has had."""
    found = np.zeros(ROWS * ROWS, int)
    for done in kill_resume.operations(path):
        if done.kind in kill_resume.PULSES and done.state != State.NOT_APPLIED:
            found[done.cells] += 1
    return found


def assert_as_uninterrupted(path: Path, board: ServedBoard, protocol: str, folder: Path) -> None:
    """Every pulse accounted for, and event for event the run that nobody interrupted."""
    assert verify(path).findings == ()
    np.testing.assert_array_equal(pulses_of(path), board.pulses)
    done = kill_resume.operations(path)
    cut = kill_resume.cut_of(path, done, board.reads)
    bench = write_bench(folder, rows=ROWS, cols=ROWS, chip="RESUME-1", name="anew.toml")
    reference = kill_resume.uninterrupted(protocol, bench, done, cut, settings_of(protocol))
    assert kill_resume.differences(done, kill_resume.operations(reference)) == []


@pytest.mark.parametrize("protocol", SETTINGS)
def test_a_run_killed_between_steps_goes_on_as_if_it_had_not_been(
    protocol: str, bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    whole = write_bench(tmp_path, rows=ROWS, cols=ROWS, chip="RESUME-1", name="whole.toml")
    with package.load_bench(whole) as live, live.array() as array:
        at_one_go = package.run(protocol, array, out=tmp_path / "at_one_go", seed=3, **settings_of(protocol)).path
    half_way = after_step(read_summary(at_one_go).steps // 2)
    path = killed_run(bench, tmp_path, half_way, protocol, **settings_of(protocol))
    assert resumed(bench, path).outcome == "finished"
    assert_as_uninterrupted(path, board, protocol, tmp_path)
    with package.open_run(path) as tree, package.open_run(at_one_go) as other:
        found, expected = measurement(tree), measurement(other)
    assert found.sizes == expected.sizes  # the reads of resuming are no part of what was measured


def test_readings_at_other_voltages_are_told_again_as_what_they_were(bench: Path, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(16), "iv")
    with Past(path) as past, package.open_run(path) as tree:
        retracing, reading = Retracing(past), tree["events/reading"].values
        rows = np.flatnonzero(past.operations["reading_factor"] != 1)
        retracing._next = int(np.searchsorted(retracing._order, rows[0]))
        first, count = (int(past.operations[name][rows[0]]) for name in ("first_event", "events"))
        repeats, voltage = int(past.operations["repeats"][rows[0]]), float(past.operations["read_voltage"][rows[0]])
        cells = past.events(first, count // repeats)[0].copy()
        told = retracing.read(cells, repeats, voltage)
    np.testing.assert_allclose(told.conductance.ravel(), reading[first : first + count], rtol=1e-5)


PULSING = [name for name in SETTINGS if name != "read"]


@pytest.mark.parametrize("protocol", PULSING)
@pytest.mark.parametrize("applied", [True, False])
def test_pulses_in_flight_are_given_once(
    protocol: str, applied: bool, bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    blow = at_exchange(5, applied=applied)
    path = killed_run(bench, tmp_path, blow, protocol, **settings_of(protocol))
    assert read_summary(path).unsettled
    resumed(bench, path)
    assert read_summary(path).unknown_dose == 0
    assert_as_uninterrupted(path, board, protocol, tmp_path)


def stop_at(number: int) -> Any:
    """Progress that sends Ctrl-C at the so manieth step."""
    seen = [0]

    def progress(step: Step) -> None:  # noqa: ARG001
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGINT)

    return progress


def test_a_run_can_be_stopped_and_resumed_again_and_again(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, at_exchange(4, applied=True), "write_verify", **settings_of("write_verify"))
    for number in (30, 60):
        with pytest.raises(Interrupted):
            resumed(bench, path, progress=stop_at(number))
        assert read_summary(path).outcome == "interrupted"
        assert verify(path).findings == ()
    result = resumed(bench, path)
    assert result.outcome == "finished"
    assert verify(path).findings == ()
    np.testing.assert_array_equal(pulses_of(path), board.pulses)
    with h5py.File(path) as file:
        history = json.loads(file["provenance"].attrs["resumptions"])
        endings = np.count_nonzero(file["steps/asked_by"][:] == AskedBy.ENDING)
    assert [each["before"]["outcome"] for each in history] == ["killed", "interrupted", "interrupted"]
    assert endings == 2  # the last maps of each stop
    assert result.summary["outcomes"]["unfinished"] == 0


def test_a_stop_before_anything_is_done_leaves_the_file_as_it_was(
    bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    path = killed_run(bench, tmp_path, after_step(20), "write_verify", **settings_of("write_verify"))
    before, pulses = path.read_bytes(), board.pulses
    with pytest.raises(Interrupted):
        resumed(bench, path, progress=stop_at(2))
    assert path.read_bytes() == before
    np.testing.assert_array_equal(board.pulses, pulses)


def test_a_kill_while_the_last_one_is_settled_is_settled_too(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    given = settings_of("write_verify")
    path = killed_run(bench, tmp_path, at_exchange(30, applied=True), "write_verify", **given)
    killed_run(bench, tmp_path, after_settling(), lambda array: package.resume(path, array))
    resumed(bench, path)
    np.testing.assert_array_equal(pulses_of(path), board.pulses)
    assert verify(path).findings == ()
    assert asked(path, AskedBy.REREAD) == 2


def test_a_board_that_does_not_count_leaves_the_dose_unknown_and_is_read(
    bench: Path, board: ServedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = killed_run(bench, tmp_path, at_exchange(5, applied=True), "write_verify", **settings_of("write_verify"))
    driver = type(board.driver())
    monkeypatch.setattr(driver, "capabilities", driver.capabilities & ~Capability.SEQUENCE)
    resumed(bench, path)
    assert read_summary(path).unknown_dose > 0
    assert asked(path, AskedBy.SETTLING) == 1  # the verify read that was lost
    np.testing.assert_array_equal(pulses_of(path), board.pulses)  # never a second time, though not known of


def test_a_board_that_others_have_used_since_leaves_the_dose_unknown(bench: Path, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, at_exchange(30, applied=False), "write_verify", **settings_of("write_verify"))
    with package.load_bench(bench) as live, live.array() as array:
        package.run("endurance", array, out=tmp_path / "others", cells=4, cycles=3, rows=[0, 1], form_pristine=False)
    resumed(bench, path)
    assert read_summary(path).unknown_dose > 0


def test_a_chip_that_another_run_has_programmed_since_is_refused(
    bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    given = settings_of("write_verify")
    path = killed_run(bench, tmp_path, after_step(150), "write_verify", **given)
    os.utime(path, (time.time() - 10, time.time() - 10))  # the other run begins later than in the same second
    with package.load_bench(bench) as live, live.array() as array:
        other = package.run("write_verify", array, out=tmp_path / "runs", target=41e-6 - given["target"]).path
    said = refused(path, bench, board)
    assert "not the state it left the chip in" in said
    assert other.name in said


def test_the_first_pulses_of_a_board_are_not_given_again_since_it_may_have_been_off(
    bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    path = killed_run(bench, tmp_path, at_exchange(1, applied=True), "forming")
    board.board.firmware.sequence = 0  # as after a power cycle of a board whose cells keep their state
    resumed(bench, path)
    assert read_summary(path).unknown_dose == ROWS * ROWS
    np.testing.assert_array_equal(pulses_of(path), board.pulses)


def test_a_link_to_a_run_is_left_a_link_to_it(bench: Path, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(5), "forming")
    link = tmp_path / "link.h5"
    link.symlink_to(path)
    path.chmod(0o640)
    resumed(bench, link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert read_summary(path).outcome == "finished"


def test_cells_that_people_have_excluded_since_are_not_pulsed_unless_forced(
    bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    path = killed_run(bench, tmp_path, after_step(40), "write_verify", **settings_of("write_verify"))
    excluded = labctl(
        "chip",
        "exclude",
        "RESUME-1",
        "--rows",
        "2",
        "--because",
        "shorted",
        "--folder",
        tmp_path / "runs",
        cwd=tmp_path,
    )
    assert excluded.returncode == 0, excluded.stderr
    assert "people have excluded 8 of its cells" in refused(path, bench, board)
    assert resumed(bench, path, force=True).outcome == "finished"


def test_batches_that_go_in_parts_are_of_unknown_dose(tmp_path: Path) -> None:
    with served_board(tmp_path, ServedSerialBoard, rows=32, cols=32, chip="RESUME-1", max_payload=2000) as board:
        bench = bench_for(board, tmp_path)
        text, _, _ = bench.read_text().partition("[simulated.board]")
        serial = text.replace('"test_board"', '"serial_board"').replace('visa_library = "@py"', "")
        bench.write_text(serial)
        path = killed_run(bench, tmp_path, at_exchange(2, applied=False), "forming")
        resumed(bench, path)
        summary = read_summary(path)
        assert 0 < summary.unknown_dose <= 1024
        assert summary.pulses - summary.unknown_dose <= board.pulses.sum() <= summary.pulses


@pytest.mark.parametrize(
    ("other", "said"),
    [({"width": Second(2e-6)}, "width 2e-06 where the file has 1e-06"), ({"start": Volt(3.15)}, "other amplitudes")],
)
def test_what_a_protocol_asks_for_after_it_has_parted_is_not_sent(
    other: dict[str, Any], said: str, bench: Path, board: ServedBoard, tmp_path: Path
) -> None:
    path = killed_run(bench, tmp_path, after_step(6), "forming")
    forming = load_protocol("forming")
    ramp = Ramp(**{"stop": Volt(3.9), "step": Volt(0.1), "gate": Volt(1.2), **RAMP, **other})

    def steps(array: Any, settings: Any, rng: Any) -> Any:
        changed_settings = type(settings)(
            **{**{f: getattr(settings, f) for f in settings.__struct_fields__}, "ramp": ramp}
        )
        try:
            return (yield from forming.steps(array, changed_settings, rng))
        finally:
            array.read()

    assert said in refused(path, bench, board, protocol=replace(forming, steps=steps))


def test_limits_count_what_the_cells_have_had_before(board: ServedBoard, tmp_path: Path) -> None:
    bench = bench_for(board, tmp_path, arrays="[arrays.main.cell_limits]\nmax_pulses = 60\n")
    given: dict[str, Any] = {"cells": 4, "trains": 1, "pulses": 10}
    path = killed_run(bench, tmp_path, after_step(30), "pulse_response", **given)
    tight = bench_for(board, tmp_path, arrays="[arrays.main.cell_limits]\nmax_pulses = 25\n", name="tight.toml")
    with pytest.raises(LimitError, match="max_pulses of 25"):
        resumed(tight, path)
    np.testing.assert_array_equal(pulses_of(path), board.pulses)


def test_the_file_holds_every_setting_that_is_an_array(bench: Path, tmp_path: Path) -> None:
    given = settings_of("write_verify")
    given |= {"exclude": np.zeros((ROWS, ROWS), bool), "tolerances": np.full((ROWS, ROWS), 2e-6, np.float32)}
    given["exclude"][3] = True
    path = killed_run(bench, tmp_path, after_step(3), "write_verify", **given)
    with package.open_run(path) as tree:
        np.testing.assert_array_equal(tree["settings/exclude"], given["exclude"])
        np.testing.assert_array_equal(tree["settings/target"], given["target"])
    resumed(bench, path)
    with package.open_run(path) as tree:
        pulsed = tree["events/cell"].values[np.isfinite(tree["events/amplitude"].values)]
        np.testing.assert_array_equal(tree["settings/tolerances"], given["tolerances"])
    assert not np.any(pulsed // ROWS == 3)


def wait_for_steps(folder: Path, number: int) -> None:
    """Until the only run in `folder` has recorded so many."""
    deadline = time.monotonic() + 60
    while not (paths := list((folder / "runs").glob("*.h5"))) or read_summary(paths[0]).steps < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refused(path: Path, bench: Path, board: ServedBoard, **options: Any) -> str:
    """Why the run cannot be resumed; nothing is pulsed, and the file is as it was."""
    before, pulses = path.read_bytes(), board.pulses
    with pytest.raises(ResumeError) as caught:
        resumed(bench, path, **options)
    np.testing.assert_array_equal(board.pulses, pulses)
    assert path.read_bytes() == before
    return str(caught.value)


def changed(procedure: Procedure, **settings: Any) -> Procedure:
    """The protocol as a later version might be: it does with other settings what it is told."""

    def steps(array: Any, given: Any, rng: Any) -> Any:
        return procedure.steps(
            array, type(given)(**{**{f: getattr(given, f) for f in given.__struct_fields__}, **settings}), rng
        )

    return replace(procedure, steps=steps)


def test_a_protocol_that_is_not_what_it_was_is_refused(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(40), "write_verify", **settings_of("write_verify"))
    procedure = load_protocol("write_verify")
    other = changed(procedure, max_pulses=3, hold=0)
    assert "not what it was when the run was recorded" in refused(path, bench, board, protocol=other)


def test_a_finished_run_is_refused(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    with package.load_bench(bench) as live, live.array() as array:
        path = package.run("read", array, out=tmp_path / "runs").path
    assert "is finished" in refused(path, bench, board)


def test_another_chip_is_refused(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(5), "forming")
    other = write_bench(tmp_path, rows=ROWS, cols=ROWS, chip="RESUME-2", name="other.toml")
    said = refused(path, other, board)
    assert "RESUME-1" in said
    assert "RESUME-2" in said


def test_the_same_chip_bought_anew_is_refused_unless_forced(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    path = killed_run(bench, tmp_path, after_step(40), "write_verify", **settings_of("write_verify"))
    anew = write_bench(tmp_path, rows=ROWS, cols=ROWS, chip="RESUME-1", name="anew.toml")
    assert "not as the run left it" in refused(path, anew, board)
    assert resumed(anew, path, force=True).outcome == "finished"


def test_a_run_whose_array_multiplied_is_refused(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    read = load_protocol("read")

    def steps(array: Any, settings: Any, rng: Any) -> Any:  # noqa: ARG001
        for _ in range(3):
            yield Step("read", {"reads": 1, "mean_conductance": 0.0})
            array.multiply(np.zeros((1, ROWS), np.float32))
            array.read()
        return {}

    multiplying = replace(read, steps=steps)
    path = killed_run(bench, tmp_path, after_step(3), multiplying)
    assert "a multiplication, of whose products there is no record" in refused(path, bench, board, protocol=multiplying)


def test_a_packed_run_is_resumed_too(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    with pytest.raises(Interrupted), package.load_bench(bench) as live, live.array() as array:
        package.run("forming", array, out=tmp_path / "runs", progress=stop_at(6))
    (path,) = (tmp_path / "runs").glob("*.h5")
    pack(path)
    assert resumed(bench, path).outcome == "finished"
    np.testing.assert_array_equal(pulses_of(path), board.pulses)
    assert verify(path).findings == ()


def test_two_cannot_resume_at_once(bench: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    path = killed_run(bench, tmp_path, after_step(5), "forming")
    with FileLock(f"{path}.lock"), pytest.raises(ResumeError, match="is being written"):
        resumed(bench, path)


def test_a_run_that_failed_goes_on_once_the_fault_is_gone(bench: Path, board: ServedBoard, tmp_path: Path) -> None:
    def break_down(step: Step) -> None:
        if step.phase == "program":
            board.server.close()

    with pytest.raises(package.LabctlError) as failed, package.load_bench(bench) as live, live.array() as array:
        package.run("write_verify", array, out=tmp_path / "runs", progress=break_down, **settings_of("write_verify"))
    path = failed.value.run_path  # type: ignore[attr-defined]
    assert read_summary(path).outcome == "failed"
    board.serve_again()
    assert resumed(bench, path).outcome == "finished"
    np.testing.assert_array_equal(pulses_of(path), board.pulses)
    assert verify(path).findings == ()


def test_the_command_resumes_a_run_killed_for_real(tmp_path: Path) -> None:
    """By SIGKILL, with the board in a process of its own, on the bench that the run was on."""
    with served(tmp_path, rows=32, cols=32, chip="RESUME-3", simulated='clock = "real"') as (bench, _):
        process = started(
            "characterize", "endurance", "--bench", bench, "--yes", "--set", "cycles=100000", cwd=tmp_path
        )
        wait_for_steps(tmp_path, 20)
        process.kill()
        process.communicate()
        (path,) = (tmp_path / "runs").glob("*.h5")
        held = started("runs", "resume", path, "--yes", "--no-plot", cwd=tmp_path)
        wait_for_steps(tmp_path, read_summary(path).steps + 20)
        held.send_signal(signal.SIGINT)
        _, told = held.communicate()
        assert held.returncode == 130, told
        assert "cells read again" not in told  # it was interrupted before it had a result to print
    summary = read_summary(path)
    assert summary.outcome == "interrupted"
    assert verify(path).findings == ()
