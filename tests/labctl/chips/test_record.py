"""A chip's record is what its run files say, whichever way it was added up."""

from __future__ import annotations

import os
import signal
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from benches import write_bench
from chip_runs import ADC, CELLS, COLS, NOT_FAILED, ROWS, Pulse, flat, write_run

import labctl
from labctl.array import Operation
from labctl.bench.live import BenchArray
from labctl.chips import ChipRecord, Defect, chip_record, run_ledger
from labctl.chips.history import cache_path
from labctl.errors import Interrupted, NoRunError
from labctl.recording import Outcome, State, recover
from labctl.runner import resume
from labctl.steps import Step

FORM, SET, RESET = Operation.FORM, Operation.SET, Operation.RESET


def same(one: ChipRecord, other: ChipRecord) -> bool:
    """Everything per cell, runs and warnings."""
    for each in fields(ChipRecord):
        here, there = getattr(one, each.name), getattr(other, each.name)
        if isinstance(here, np.ndarray) and not np.array_equal(here, there, equal_nan=here.dtype.kind == "f"):
            return False
    return (one.runs, one.warnings, one.dead_rows) == (other.runs, other.warnings, other.dead_rows)


def anew(folder: Path) -> ChipRecord:
    """The record without its cache."""
    cache_path(folder, "C-1").unlink(missing_ok=True)
    return chip_record("C-1", folder)


def test_pulses_and_dose_are_those_the_chip_and_the_limits_have_counted(tmp_path: Path) -> None:
    """Three runs, each from a process's worth of bench on, of the one chip that a state file keeps."""
    limits = '[arrays.main.cell_limits]\nmax_pulses = 100000\nmax_dose = "1 Vs"'
    bench_path = write_bench(tmp_path, rows=16, cols=16, simulated='state = "T-1.h5"', arrays=limits)
    dose = np.zeros(256)
    target = np.random.default_rng(2).uniform(5e-6, 35e-6, (16, 16))
    for protocol, settings in (
        ("write_verify", {"target": target, "max_pulses": 20, "reverify": []}),
        ("endurance", {"cells": 20, "cycles": 40, "every": 5}),
        ("read", {}),
    ):
        with labctl.load_bench(bench_path) as bench, bench.array() as array:
            labctl.run(protocol, array, **settings)
            dose += bench.cell_counts("board", 256).dose
            counted = array.driver.link.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4")
    record = chip_record("T-1", tmp_path / "runs")
    assert np.array_equal(record.pulses, counted)
    assert np.array_equal(sum(record.by_operation.values()), counted)
    assert np.allclose(record.dose, dose, rtol=1e-6, atol=0)
    assert [run.protocol for run in record.runs] == ["write_verify", "endurance", "read"]
    assert record.cell == "1T1R RRAM"
    with labctl.open_run(record.runs[0].path) as tree:
        formed = np.isfinite(tree["maps"]["forming_voltage"].values.ravel())
        tried = np.unique(tree["events"]["cell"].values[kinds(tree) == FORM])
    assert record.forming_yield.tried == len(tried)
    assert record.forming_yield.formed == np.count_nonzero(formed)
    assert np.array_equal(record.formed, record.conductance >= 0.5e-6)


def kinds(tree: labctl.open_run) -> np.ndarray:
    """(events,) the kind of each event's operation."""
    return tree["operations"]["kind"].values[tree["events"]["operation"].values]


def test_a_run_that_is_resumed_counts_once_as_it_is_then(tmp_path: Path) -> None:
    bench_path = write_bench(tmp_path, rows=16, cols=16, simulated='state = "T-1.h5"')
    steps = iter(range(1000))

    def stop(step: Step) -> None:  # noqa: ARG001
        if next(steps) == 20:
            signal.raise_signal(signal.SIGINT)

    def check(array: BenchArray, outcome: str) -> Path:
        """The path of the only run."""
        counted = array.driver.link.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4")
        record = chip_record("T-1", tmp_path / "runs")
        assert np.array_equal(record.pulses, counted)
        (run,) = record.runs
        assert run.outcome == outcome
        return run.path

    with labctl.load_bench(bench_path) as bench, bench.array() as array:
        with pytest.raises(Interrupted):
            labctl.run("endurance", array, cells="all", cycles=15, progress=stop)
        path = check(array, "interrupted")
    with labctl.load_bench(bench_path) as bench, bench.array() as array:
        resume(path, array)
        check(array, "finished")


def test_the_last_reading_is_the_last_at_the_arrays_own_voltage(tmp_path: Path) -> None:
    bench_path = write_bench(tmp_path, rows=16, cols=16, simulated='state = "T-1.h5"')
    with labctl.load_bench(bench_path) as bench, bench.array() as array:
        result = labctl.run("iv", array, cells=30)
    record = chip_record("T-1", tmp_path / "runs")
    with labctl.open_run(result.path) as tree:
        events, operations = tree["events"].to_dataset(), tree["operations"].to_dataset()
        own = np.isnan(operations["read_voltage"].values)[events["operation"].values]
        expected = np.full(256, np.nan)
        for row in np.flatnonzero(own & np.isfinite(events["reading"].values)):
            expected[events["cell"].values[row]] = events["reading"].values[row]
        assert not own.all()
    assert np.allclose(record.conductance, expected, rtol=1e-6, equal_nan=True)
    started = record.runs[0].started
    assert np.all((record.read_at >= started) & (record.read_at <= os.stat(result.path).st_mtime + 1))


@pytest.mark.parametrize("block", [1, 7, 64, 100_000])
def test_the_blocks_in_which_events_are_read_make_no_difference(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(
        tmp_path / "a.h5",
        Pulse(FORM, range(20), 10e-6, volts=3.3, width=1e-6),
        Pulse(SET, range(5, 30)),
        Pulse(SET, [3, 4], state=State.UNKNOWN_DOSE),
        Pulse(RESET, range(10, 40, 3), 4e-6, volts=1.5),
        reads={cell: cell * 1e-7 for cell in range(50)},
    )
    monkeypatch.setattr(run_ledger, "_BLOCK", block)
    record = chip_record("C-1", tmp_path)
    expected = np.zeros(CELLS, int)
    expected[:20] += 1
    expected[5:30] += 1
    expected[3:5] += 1
    expected[10:40:3] += 1
    assert np.array_equal(record.pulses, expected)
    assert record.by_operation[SET].sum() == 27
    assert np.flatnonzero(record.unknown_dose).tolist() == [3, 4]
    assert record.dose.sum() == pytest.approx(20 * 3.3e-6 + 27 * 2e-7 + 10 * 1.5e-7)
    assert np.allclose(record.conductance[:50], np.rint(np.arange(50)) * 1e-7, atol=ADC.step)
    assert np.isnan(record.conductance[50:]).all()


def test_what_was_not_applied_does_not_count_and_what_a_kill_left_open_may_have_been(tmp_path: Path) -> None:
    write_run(
        tmp_path / "killed.h5",
        Pulse(SET, range(10)),
        Pulse(SET, range(20, 30), state=State.NOT_APPLIED),
        Pulse(RESET, range(40, 44), state=State.INTENDED),
        outcome=None,
    )
    record = chip_record("C-1", tmp_path)
    assert record.runs[0].outcome == Outcome.KILLED
    assert np.flatnonzero(record.pulses).tolist() == [*range(10), *range(40, 44)]
    assert np.flatnonzero(record.unknown_dose).tolist() == [*range(40, 44)]
    assert record.warnings == ("4 pulses are of unknown dose; they are counted as given",)


def test_a_recovered_copy_is_not_a_second_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5", Pulse(SET, range(10)), Pulse(RESET, [3], state=State.INTENDED), outcome=None)
    before = chip_record("C-1", tmp_path)
    recover(tmp_path / "a.h5", tmp_path / "a-recovered.h5")
    record = chip_record("C-1", tmp_path)
    assert np.array_equal(record.pulses, before.pulses)
    assert {run.path.name: run.not_counted for run in record.runs} == {
        "a-recovered.h5": "",
        "a.h5": "a copy of a-recovered.h5",
    }
    assert same(record, anew(tmp_path))


def test_files_may_come_change_and_go_in_any_order(tmp_path: Path) -> None:
    """After every change the record is that of the files as they are, added up anew or not."""
    rng = np.random.default_rng(4)

    def write(name: str, day: int, outcome: Outcome | None = Outcome.FINISHED) -> None:
        cells = np.sort(rng.choice(CELLS, 30, replace=False))
        state = rng.choice([4, 4, 1], CELLS).astype("u1")
        write_run(
            tmp_path / name,
            Pulse(SET, cells, 20e-6),
            Pulse(RESET, cells[:9], 3e-6),
            maps={"outcome": flat(dict.fromkeys(range(8), 4), 1, "u1") if day % 2 else state},
            day=day,
            outcome=outcome,
        )

    def check(pulses: int) -> None:
        kept = chip_record("C-1", tmp_path)
        assert kept.pulses.sum() == pulses
        assert same(kept, anew(tmp_path))
        assert same(kept, chip_record("C-1", tmp_path))

    write("c.h5", 3)
    check(39)
    write("a.h5", 1)  # older than what is known
    check(78)
    write("d.h5", 4, Outcome.INTERRUPTED)
    check(117)
    (tmp_path / "d.h5").unlink()  # it goes on, and has other events then
    write("d.h5", 4)
    check(117)
    for day in range(10, 16):  # more that may go on than are kept apart
        write(f"{day}.h5", day, Outcome.INTERRUPTED)
    check(117 + 6 * 39)
    (tmp_path / "10.h5").unlink()
    check(117 + 5 * 39)
    (tmp_path / "c.h5").unlink()
    check(78 + 5 * 39)
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.h5").rename(tmp_path / "deep/a.h5")
    check(78 + 5 * 39)


@pytest.mark.parametrize("damage", [b"", b"PK no archive", None])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    write_run(tmp_path / "a.h5", Pulse(SET, range(10), 20e-6))
    before = chip_record("C-1", tmp_path)
    path = cache_path(tmp_path, "C-1")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert same(chip_record("C-1", tmp_path), before)
    assert path.stat().st_size == len(whole)


def test_a_resumed_run_says_the_same_of_forming_as_an_uninterrupted_one(tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.values.get("unformed", 1000) < 200:
            signal.raise_signal(signal.SIGINT)

    records = []
    for name, progress in (("whole", None), ("resumed", stop)):
        (tmp_path / name).mkdir()
        path = write_bench(tmp_path / name, rows=24, cols=24, chip="T-4", simulated='state = "T-4.h5"')
        with labctl.load_bench(path) as bench, bench.array() as array:
            if progress is None:
                labctl.run("forming", array)
            else:
                with pytest.raises(Interrupted) as stopped:
                    labctl.run("forming", array, progress=progress)
                assert chip_record("T-4", tmp_path / name / "runs").forming_yield.tried < 576
                resume(stopped.value.run_path, array)
        records.append(chip_record("T-4", tmp_path / name / "runs"))
    whole, resumed = records
    assert whole.forming_yield == resumed.forming_yield
    assert whole.forming_yield.formed < whole.forming_yield.tried == 576
    assert np.array_equal(whole.defects, resumed.defects)


def test_files_that_cannot_be_read_are_told_of(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5", Pulse(SET, range(10), 20e-6))
    for name in "bcde":
        (tmp_path / f"{name}.h5").write_bytes(b"no run")
    said = (
        f"cannot be read, and may be of this chip: b.h5, c.h5, d.h5 and 1 more (labctl runs verify {tmp_path} says why)"
    )
    assert chip_record("C-1", tmp_path).warnings == (f"4 files in {tmp_path} {said}",)
    with pytest.raises(NoRunError, match=r"no run of chip 'C-9' in .*; 4 files in .* cannot be read"):
        chip_record("C-9", tmp_path)


def test_a_folder_that_cannot_be_written_has_a_record_all_the_same(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5", Pulse(SET, range(10), 20e-6))
    (tmp_path / ".labctl-chips").touch()  # where the cache would go
    assert chip_record("C-1", tmp_path).pulses.sum() == 10


def test_only_what_a_chip_has_lived_through_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5", Pulse(SET, range(10), 20e-6), day=2)
    write_run(tmp_path / "b.h5", Pulse(SET, range(10), 20e-6), day=3, replay_of="wire.log")
    write_run(tmp_path / "c.h5", Pulse(SET, range(10), 20e-6), day=4, chip_volatile=True)
    write_run(tmp_path / "d.h5", Pulse(SET, range(10), 20e-6), day=1, shape=(4, 4))
    write_run(tmp_path / "e.h5", Pulse(SET, range(10), 20e-6), day=5, chip_volatile=False)
    record = chip_record("C-1", tmp_path)
    assert record.pulses.sum() == 20
    reasons = {run.path.name: run.not_counted for run in record.runs}
    assert [name for name, reason in reasons.items() if not reason] == ["a.h5", "e.h5"]
    assert "recording" in reasons["b.h5"]
    assert "fresh each time" in reasons["c.h5"]
    assert reasons["d.h5"] == "4 x 4 cells, unlike the newest run"


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoRunError, match="there is no run of chip 'C-9' in"):
        chip_record("C-9", tmp_path)
    with pytest.raises(NoRunError, match="there is no folder"):
        chip_record("C-9", tmp_path / "nowhere")


def test_a_dataset_has_units_and_flags(tmp_path: Path) -> None:
    worn = flat({3: 17}, NOT_FAILED, "u4")
    write_run(tmp_path / "a.h5", Pulse(SET, range(10), 20e-6), maps={"failed_at": worn})
    record = chip_record("C-1", tmp_path)
    dataset = record.to_dataset()
    assert dict(dataset.sizes) == {"row": ROWS, "col": COLS}
    assert dataset["conductance"].attrs["units"] == "S"
    assert dataset["dose"].attrs["units"] == "V s"
    assert int(dataset["defect"][0, 3]) == Defect.WORN
    assert dataset["defect"].attrs["flag_meanings"].split()[Defect.WORN] == "worn"
    assert np.array_equal(dataset["pulses"].values.ravel(), record.pulses)
