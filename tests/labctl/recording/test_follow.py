"""A run is followed while another process writes it: what is new is seen, nothing else is read, and nobody is hurt."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.array import PulseBatch, Readout
from labctl.errors import NoRunError, RecordingError
from labctl.recording import Outcome, RunWriter, open_run
from labctl.recording.follow import Curve, Follower, newest_live

Exchange = Callable[..., tuple[PulseBatch, Readout]]
StartRun = Callable[..., RunWriter]

CELLS = 64 * 64
WRITER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import Outcome, RunWriter, State
from labctl.steps import Step, Variable

adc = Scale(1e-7, 0.0, 12, "S")
writer = RunWriter.create(
    Path(sys.argv[1]), protocol="write_verify", title="Followed", phases=("form", "program"),
    variables=(
        Variable("active", "cells still active", dtype="u4", fill=2**32 - 1),
        Variable("rms_error", "root mean square error", unit="S"),
        Variable("target", "target", ("row", "col"), unit="S"),
    ),
    geometry=Geometry(64, 64, "1T1R RRAM"), dac=Scale(1e-3, 0.0, 12, "V"), adc=adc, started=1.7e9,
    provenance={"chip_serial": "C7", "settings": {"samples": 9}}, auxiliaries={"stage_temperature": "K"},
)
rng = np.random.default_rng(3)
exchanges = steps = 0
print("created", flush=True)
for line in sys.stdin:
    command, *numbers = line.split()
    count = int(numbers[0]) if numbers else 1
    if command in ("exchange", "intend", "fail"):
        for _ in range(count):
            cells = np.flatnonzero(rng.random(4096) < 0.7).astype(np.uint32)
            batch = PulseBatch(Operation.SET, cells, rng.integers(0, 4095, len(cells)).astype(np.uint16), 1e-7, 1.2)
            writer.intend([batch])
            codes = rng.integers(0, 4095, (1, len(cells))).astype(np.uint16)
            if command == "exchange":
                writer.complete([Readout(cells, codes, adc, 1.7e9 + exchanges, 1e-6)])
            if command == "fail":
                writer.fail([State.NOT_APPLIED])
            exchanges += 1
    elif command == "step":
        for _ in range(count):
            values = {"active": 4096 - steps} if steps % 2 == 0 else {"rms_error": 1e-6 / (1 + steps)}
            maps = {"target": np.full((64, 64), 2e-5, np.float32)} if steps == 0 else {}
            writer.step(Step("program", values, maps), time=1.7e9 + steps)
            steps += 1
    elif command == "sample":
        writer.sample({"stage_temperature": 300.0 + exchanges}, time=1.7e9)
    elif command == "finish":
        writer.close(Outcome.FINISHED, message="all done", summary={"elapsed_s": 12.5})
    elif command == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print(command, flush=True)
"""


class Writer:
    """A run being written by another process, as it is told."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process = process
        self.path = path

    def does(self, *commands: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for command in commands:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            if command == "die":
                self.process.wait()
            else:
                assert self.process.stdout.readline().split() == command.split()[:1]


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "created\n"
        yield Writer(process, path)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Writer]:
    with writing(tmp_path / "run.h5") as writer:
        yield writer


def last_readings(path: Path) -> np.ndarray:
    """(cells,) S, from the whole file, cell by cell."""
    found = np.full(CELLS, np.nan)
    with open_run(path) as tree:
        for cell, reading in zip(tree["events/cell"].values, tree["events/reading"].values, strict=True):
            if np.isfinite(reading):
                found[int(cell)] = reading
    return found


def test_each_look_sees_what_was_written_since(live: Writer) -> None:
    follower = Follower(live.path)
    assert follower.look().commit.events == 0
    live.does("exchange", "step", "sample")
    first = follower.look()
    assert (first.commit.steps, first.phase, first.latest) == (1, "program", {"active": 4096})
    assert first.surroundings == {"stage_temperature": 301.0}
    assert first.head.chip_serial == "C7"
    assert first.head.settings == {"samples": 9}
    assert first.target is not None
    assert (first.target == np.float32(2e-5)).all()
    live.does("exchange 3", "step 2", "sample")
    second = follower.look()
    assert second.latest == {"active": 4094}
    assert second.curves["active"].points()[0].tolist() == [0, 2]
    assert second.curves["rms_error"].points()[0].tolist() == [1]
    assert second.surroundings == {"stage_temperature": 304.0}
    assert second.pulses.sum() == second.commit.pulses == second.commit.events
    np.testing.assert_allclose(second.reading, last_readings(live.path), rtol=1e-6)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not say how much a process read")
def test_a_look_reads_no_row_twice(live: Writer) -> None:
    def bytes_of_a_look() -> int:
        before = _bytes_read()
        follower.look()
        return _bytes_read() - before

    follower = Follower(live.path)
    live.does("exchange 300", "step")
    whole = bytes_of_a_look()
    assert whole > 300 * 0.6 * CELLS * 6
    live.does("exchange", "step")
    assert bytes_of_a_look() < whole / 20


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_what_there_is_no_time_for_is_seen_by_later_looks(live: Writer) -> None:
    live.does("exchange 200", "step")
    at_once = Follower(live.path).look()
    follower = Follower(live.path)
    behind = [follower.look(patience_s=0).behind for _ in range(4)]
    assert behind[0] > behind[1] > 0
    assert behind[-1] == 0
    sight = follower.look()
    np.testing.assert_array_equal(sight.reading, at_once.reading)
    np.testing.assert_array_equal(sight.pulses, at_once.pulses)


def test_a_finished_run_says_how_it_ended(live: Writer) -> None:
    follower = Follower(live.path)
    live.does("exchange", "step")
    assert follower.look().outcome is Outcome.LIVE
    assert not follower.look().is_over
    live.does("exchange", "finish")
    sight = follower.look()
    assert (sight.outcome, sight.message, sight.elapsed) == (Outcome.FINISHED, "all done", 12.5)
    assert sight.is_over
    assert sight.pulses_per_s == sight.commit.pulses / 12.5


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
def test_a_killed_run_has_the_pulses_in_flight_as_unknown_dose(live: Writer) -> None:
    follower = Follower(live.path)
    live.does("exchange", "fail", "intend")
    sight = follower.look()
    assert sight.unknown_dose == 0
    assert sight.not_applied > 0
    assert sight.pulses.sum() == sight.commit.pulses
    live.does("die")
    sight = follower.look()
    assert (sight.outcome, sight.is_over) == (Outcome.KILLED, True)
    assert sight.unknown_dose == sight.commit.events_intended - sight.commit.events > 0


def test_a_file_put_in_the_old_ones_place_is_read_from_its_beginning(live: Writer, tmp_path: Path) -> None:
    follower = Follower(live.path)
    live.does("exchange 2", "step 3")
    follower.look()
    with writing(tmp_path / "other.h5") as other:
        other.does("exchange 5", "step 3")
        os.replace(other.path, live.path)
        sight = follower.look()
    np.testing.assert_allclose(sight.reading, last_readings(live.path), rtol=1e-6)
    assert sight.pulses.sum() == sight.commit.events
    assert sight.curves["active"].points()[0].tolist() == [0, 2]


def test_a_file_that_vanished_is_said_to(live: Writer) -> None:
    follower = Follower(live.path)
    follower.look()
    live.path.unlink()
    with pytest.raises(NoRunError, match=r"there is no file .*run\.h5"):
        follower.look()


def test_a_file_whose_parts_do_not_fit_is_refused(start_run: StartRun, exchange: Exchange) -> None:
    import h5py

    batch, readout = exchange()
    with start_run() as writer:
        writer.intend([batch])
        writer.complete([readout])
        writer.close(Outcome.FINISHED)
    with h5py.File(writer.path, "a") as file:
        file["operations/events"][:] = 0
    with pytest.raises(RecordingError, match="not a whole run file"):
        Follower(writer.path).look()


def test_readings_at_other_voltages_are_in_siemens(start_run: StartRun, exchange: Exchange) -> None:
    _, readout = exchange()
    scale = replace(readout.scale, step=readout.scale.step / 2)
    with start_run() as writer:
        writer.record_read(readout)
        writer.record_read(replace(readout, cells=readout.cells + np.uint32(5), scale=scale), 0.4)
        writer.close(Outcome.FINISHED)
    sight = Follower(writer.path).look()
    usual = np.arange(2000, 2005) * 1e-7
    np.testing.assert_allclose(sight.reading[:10], [*usual, *(usual / 2)], rtol=1e-6)
    assert not sight.pulses.any()
    assert sight.target is None


def test_the_newest_live_run_of_a_folder_is_found(live: Writer, tmp_path: Path, start_run: StartRun) -> None:
    with start_run("finished.h5") as writer:
        writer.close(Outcome.FINISHED)
    writer.path.with_name("finished.h5.lock").touch()  # as a kill leaves it
    assert newest_live(tmp_path) == live.path
    deeper = tmp_path / "more"
    deeper.mkdir()
    with writing(deeper / "later.h5") as later:
        os.utime(f"{live.path}.lock", (1.7e9, 1.7e9))
        assert newest_live(tmp_path) == later.path
        later.does("finish")
        assert newest_live(tmp_path) == live.path
    live.does("finish")
    assert newest_live(tmp_path) is None
    with pytest.raises(NoRunError, match="there is no folder"):
        newest_live(tmp_path / "nowhere")


@given(st.lists(st.integers(0, 1500), max_size=12))
def test_a_curve_stays_small_even_and_ends_where_the_run_is(sizes: list[int]) -> None:
    curve, total = Curve(), 0
    for size in sizes:
        steps = np.arange(total, total + size)
        curve.add(steps, np.where(steps % 3 == 1, np.nan, steps * 0.5))
        total += size
    steps, values = curve.points()
    given_steps = [step for step in range(total) if step % 3 != 1]
    assert len(steps) <= 1025
    assert steps[-1:].tolist() == given_steps[-1:]
    assert curve.last == (given_steps[-1] * 0.5 if given_steps else None)
    np.testing.assert_array_equal(values, steps * 0.5)
    places = np.searchsorted(given_steps, steps[:-1])
    assert len(set(np.diff(places))) <= 1
