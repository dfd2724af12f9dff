"""A run is recorded, stops when asked, and always ends in safe state with an honest file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import labctl, result_of, served, started, write_bench

import labctl as package
from labctl.bench.leases import list_leases
from labctl.cli import _run
from labctl.drivers.test_board import TestBoard
from labctl.errors import CapabilityError, InstrumentError, LimitError, LinkError, RunError, SettingsError, UsageError
from labctl.recording.reader import read_summary

SLOW = {"rows": 48, "cols": 48, "simulated": 'clock = "real"'}  # a pass takes 10 ms, a whole run a few seconds
POSIX = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def target(rows: int = 32, cols: int = 32) -> np.ndarray:
    return np.random.default_rng(2).uniform(5e-6, 35e-6, (rows, cols))


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture
def target_file(tmp_path: Path) -> Path:
    path = tmp_path / "target.npy"
    np.save(path, target(48, 48) * 1e6)
    return path


def program(target_file: Path, bench: Path, *more: str) -> list[str]:
    return ["program-array", str(target_file), "--unit", "uS", "--bench", str(bench), "--yes", "--no-plot", *more]


def only_run(folder: Path) -> Path:
    (path,) = (folder / "runs").glob("*.h5")
    return path


def ask(bench: Path, question: str) -> str:
    """What the served board says to another program."""
    resource = re.search(r"TCPIP0::(\S+)::(\d+)::SOCKET", bench.read_text())
    with socket.create_connection((resource[1], int(resource[2])), timeout=5) as connection:
        connection.sendall(question.encode() + b"\n")
        return connection.makefile().readline().strip()


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def running(bench: Path, target_file: Path, folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """program-array, some steps into its run."""
    process = started(*program(target_file, bench, *more), cwd=folder)
    try:
        wait_for(lambda: process.poll() is not None or any((folder / "runs").glob("*.h5")))
        wait_for(lambda: process.poll() is not None or read_summary(only_run(folder)).steps > 15)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_records_settings_snapshots_and_every_pulse(tmp_path: Path) -> None:
    bench_path = write_bench(tmp_path, top='operator = "Ada"')
    with package.load_bench(bench_path) as bench, bench.array() as array:
        result = package.run("write_verify", array, target=target(), tolerance="1.5 uS", seed=7)
        counted = int(array.driver.link.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4").sum())
    assert result.outcome == "finished"
    summary = read_summary(result.path)
    assert summary.attributes["operator"] == "Ada"
    assert summary.attributes["chip_serial"] == "T-1"
    assert summary.attributes["seed"] == 7
    assert summary.pulses == counted
    with package.open_run(result.path) as tree:
        provenance = {name: json.loads(str(text)) for name, text in tree["provenance"].attrs.items() if name[0] != "N"}
        assert provenance["settings"]["tolerance"] == 1.5e-6
        assert provenance["settings"]["target"]["shape"] == [32, 32]
        assert provenance["bench"]["instruments"]["board"]["read_voltage"] == 0.2
        assert provenance["snapshot_before"]["board"]["idn"].startswith("labctl,TB-512,T-1")
        amplitude = tree["events"]["amplitude"]
        assert int(np.isfinite(amplitude.values).sum()) == counted
        assert float(amplitude.max()) <= 4.0
        assert np.array_equal(tree["maps"]["target"].values.shape, (32, 32))


def test_the_same_chip_gives_the_same_run_in_process_and_over_tcp_pulse_for_pulse(tmp_path: Path) -> None:
    inside = write_bench(tmp_path, name="inside.toml", chip="T-5")
    with served(tmp_path, chip="T-5") as (outside, _):
        runs = []
        for path in (inside, outside):
            with package.load_bench(path) as bench, bench.array() as array:
                runs.append(package.run("write_verify", array, target=target(), out=tmp_path / path.stem))
    first, second = (package.open_run(each.path) for each in runs)
    with first, second:
        for column in ("cell", "amplitude", "reading", "time"):
            assert np.array_equal(first["events"][column].values, second["events"][column].values, equal_nan=True), (
                column
            )
        for name in first["maps"].data_vars:
            assert np.array_equal(first["maps"][name].values, second["maps"][name].values, equal_nan=True), name
    assert runs[0].summary == runs[1].summary


def test_runs_on_one_connection_follow_each_other(tmp_path: Path) -> None:
    with package.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        formed = package.run("forming", array)
        read = package.run("read", array, repeats=3)
        again = package.run("forming", array)
    assert formed.summary["formed_now"] > 1000
    relaxed = 2  # a thin filament or two may have relaxed to where a cell counts as pristine, and is formed again
    assert abs(read.summary["pristine"] - formed.summary["never_formed"]) <= relaxed
    assert again.summary["formed_now"] <= relaxed
    assert len({formed.path, read.path, again.path}) == 3


def test_settings_that_do_not_fit_are_refused_before_a_run_file_is_made(tmp_path: Path) -> None:
    with package.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        with pytest.raises(SettingsError, match=r"write_verify: \$: .*unknown field `tolerence`"):
            package.run("write_verify", array, target=target(), tolerence="1 uS")
        with pytest.raises(SettingsError, match=r"\$.tolerance: '1 V' is not in S"):
            package.run("write_verify", array, target=target(), tolerance="1 V")
        ramp = {"start": 2, "stop": 1, "step": 0.1, "width": 1e-7, "gate": 2}
        with pytest.raises(SettingsError, match=r"\$.set: .*stop .* must not be below start"):
            package.run("write_verify", array, target=target(), set=ramp)
    assert not (tmp_path / "runs").exists()


def test_a_limit_below_the_protocols_amplitude_stops_it_with_nothing_sent(tmp_path: Path) -> None:
    arrays = '[arrays.main.limits]\nmax_reset_voltage = "1.2 V"'
    with package.load_bench(write_bench(tmp_path, arrays=arrays)) as bench, bench.array() as array:
        with pytest.raises(LimitError, match=r"RESET pulse of 3 V is above the bench's max_reset_voltage of 1.2 V"):
            package.run("write_verify", array, target=target())
        assert array.driver.link.query(":PULSe:SEQuence?") == "0"
    assert not (tmp_path / "runs").exists()


def test_a_cell_limit_reached_half_way_fails_the_run_in_safe_state(tmp_path: Path) -> None:
    arrays = "[arrays.main.cell_limits]\nmax_pulses = 12"
    with package.load_bench(write_bench(tmp_path, arrays=arrays)) as bench, bench.array() as array:
        with pytest.raises(LimitError, match=r"row \d+, column \d+ .*the cell's max_pulses of 12") as caught:
            package.run("write_verify", array, target=target())
        assert array.driver.link.query(":OUTPut?") == "0"
        counts = array.driver.link.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4")
        assert counts.max() == 12
    assert read_summary(caught.value.run_path).outcome == "failed"


def test_a_board_without_what_the_protocol_needs_says_so(tmp_path: Path) -> None:
    from labctl.array import Capability

    with package.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        array.driver.capabilities = Capability.READ
        with pytest.raises(CapabilityError, match=r"forming needs .*FORM"):
            package.run("forming", array)


def test_a_protocol_that_breaks_leaves_a_failed_run_and_safe_state(tmp_path: Path) -> None:
    import dataclasses

    from labctl.plugins import load_protocol
    from labctl.steps import Step

    def broken(array: Any, settings: Any, rng: Any) -> Iterator[Step]:  # noqa: ARG001
        array.read()
        yield Step("read", {"reads": 1})
        raise ZeroDivisionError("a mistake in the protocol")

    procedure = dataclasses.replace(load_protocol("read"), steps=broken)
    with package.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        with pytest.raises(ZeroDivisionError):
            package.run(procedure, array)
        assert array.driver.link.query(":OUTPut?") == "0"
    summary = read_summary(only_run(tmp_path))
    assert summary.outcome == "failed"
    assert summary.message == "ZeroDivisionError: a mistake in the protocol"
    assert summary.steps == 1


def test_pulses_behind_which_errors_stood_are_recorded_as_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text('faults = [{kind = "full_error_queue", pulses = [3000]}]')
    bench_path = write_bench(tmp_path, simulated='faults = "faults.toml"')
    with package.load_bench(bench_path) as bench, bench.array() as array:
        with pytest.raises(InstrumentError, match=r"-310.* times\).*; the pulses were given all the same"):
            package.run("write_verify", array, target=target(), out=tmp_path / "runs")
        counted = int(array.driver.link.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4").sum())
    summary = read_summary(only_run(tmp_path))
    assert summary.outcome == "failed"
    assert summary.unknown_dose == 0
    assert summary.pulses == counted


def test_a_file_that_cannot_be_finished_is_an_error_not_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labctl.recording.writer.LiveFile.finish", full)
    with package.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        with pytest.raises(RunError, match="No space left on device") as caught:
            package.run("read", array)
        assert array.driver.link.query(":OUTPut?") == "0"
    assert read_summary(caught.value.run_path).outcome == "killed"


@POSIX
def test_signals_while_a_run_is_ending_do_not_break_the_ending_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with package.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        reach = array.driver.safe_state

        def struck(timeout_s: float) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            reach(timeout_s)

        monkeypatch.setattr(array.driver, "safe_state", struck)
        result = package.run("read", array)
        monkeypatch.undo()
        assert array.driver.link.query(":OUTPut?") == "0"
    assert read_summary(result.path).outcome == "finished"
    assert not result.path.with_name(result.path.name + ".lock").exists()


def test_two_runs_at_once_on_one_instrument_are_refused(tmp_path: Path) -> None:
    with package.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:

        def nested(step: Any) -> None:  # noqa: ARG001
            package.run("read", array)

        with pytest.raises(RunError, match="a run is going on on 'board' already"):
            package.run("forming", array, progress=nested)
        assert package.run("read", array).outcome == "finished"


def test_the_end_of_a_run_leaves_another_its_outputs_and_its_note(tmp_path: Path) -> None:
    there = 'resource_name = "TCPIP0::127.0.0.1::5026::SOCKET"\nrows = 8\ncols = 8'
    tables = f"""
[instruments.two]
driver = "test_board"
visa_library = "@labctl"
{there}
[arrays.two]
instrument = "two"
[simulated.two]
simulator = "test_board"
chip = "T-2"
{there}
"""
    with (
        package.load_bench(write_bench(tmp_path, arrays=tables)) as bench,
        bench.array("main") as one,
        bench.array("two") as two,
    ):
        found = []

        def nested(step: Any) -> None:  # noqa: ARG001
            if not found and one.driver.link.query(":OUTPut?") == "1":
                package.run("read", two)
                found.append((one.driver.link.query(":OUTPut?"), sorted(each.run for each in list_leases())))

        result = package.run("forming", one, progress=nested)
        assert found == [("1", ["", result.path.stem])]
        assert [one.driver.link.query(":OUTPut?"), *(each.run for each in list_leases())] == ["0", "", ""]


def test_what_is_no_array_is_told_so(tmp_path: Path) -> None:
    with (
        package.load_bench(write_bench(tmp_path)) as bench,
        pytest.raises(UsageError, match=r"needs an array of a bench, as bench.array\(\) gives it, not Bench"),
    ):
        package.run("read", bench)


def test_numbers_and_lists_of_any_kind_are_settings(tmp_path: Path) -> None:
    with package.load_bench(write_bench(tmp_path, rows=2, cols=2)) as bench, bench.array() as array:
        result = package.run(
            "write_verify",
            array,
            target=[[2e-5, 2e-5], [1e-5, 1e-5]],
            tolerance=np.float32(1e-6),
            max_pulses=np.int64(90),
        )
        with pytest.raises(SettingsError, match=r"\$.target: expected an array, got int"):
            package.run("write_verify", array, target=5)
        with pytest.raises(SettingsError, match="seed: must be a whole number from 0 to 9223372036854775807, not -1"):
            package.run("read", array, seed=-1)
        with pytest.raises(SettingsError, match="not 18446744073709551616"):  # which no file could hold
            package.run("read", array, seed=2**64)
    assert result.summary["cells"] == 4


@POSIX
def test_nobody_looking_any_more_does_not_fail_a_run(tmp_path: Path, target_file: Path) -> None:
    command = " ".join(program(target_file, write_bench(tmp_path, rows=48, cols=48)))
    done = subprocess.run(
        f"{sys.executable} -m labctl {command} 2>&1 | head -1",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.stdout.count(b"\n") == 1
    wait_for(lambda: read_summary(only_run(tmp_path)).outcome == "finished")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with (
        package.load_bench(write_bench(tmp_path)) as bench,
        bench.array() as array,
        pytest.raises(RunError, match=r"runs: no run can be recorded there"),
    ):
        package.run("read", array)


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_finishes_the_step_and_stops_in_safe_state(
    tmp_path: Path, target_file: Path, number: signal.Signals
) -> None:
    with served(tmp_path, **SLOW) as (bench, _), running(bench, target_file, tmp_path) as process:
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 130
        assert f"labctl: stopped by {number.name} (recorded in " in told
        assert "; in safe state)" in told
        assert "Traceback" not in told
        assert ask(bench, "OUTP?") == "0"
    summary = read_summary(only_run(tmp_path))
    assert summary.outcome == "interrupted"
    assert summary.unsettled == 0
    assert summary.summary["outcomes"]["unfinished"] > 0
    with package.open_run(summary.path) as tree:
        assert np.isfinite(tree["maps"]["reached"].values).all()


@POSIX
def test_a_second_signal_aborts_at_once_and_still_reaches_safe_state(tmp_path: Path, target_file: Path) -> None:
    slow = {**SLOW, "rows": 48, "simulated": 'clock = "real"'}
    with served(tmp_path, **slow) as (bench, _), running(bench, target_file, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "safe state" in told
        assert ask(bench, "OUTP?") == "0"
    assert read_summary(only_run(tmp_path)).outcome == "interrupted"


@POSIX
def test_a_board_that_dies_half_way_is_exit_code_3_and_its_last_pulses_are_of_unknown_dose(
    tmp_path: Path, target_file: Path
) -> None:
    with served(tmp_path, instrument='timeout = "2 s"', **SLOW) as (bench, server):
        with running(bench, target_file, tmp_path) as process:
            server.kill()
            _, told = process.communicate(timeout=30)
        assert process.returncode == 3
        assert "SOCKET" in told
        assert "NOT in safe state: board: " in told
        assert "Traceback" not in told
    summary = read_summary(only_run(tmp_path))
    assert summary.outcome == "failed"
    with package.open_run(summary.path) as tree:
        states = dict(zip(tree["operations"]["state"].attrs["flag_meanings"].split(), range(9), strict=False))
        last = tree["operations"]["state"].values[-1]
        assert last in (states["unknown_dose"], states["done"])
    reached = [each for each in summary.summary["safe_state"] if each["problem"]]
    assert reached, "the board is gone, so safe state cannot have been reached, and the file must say so"


@POSIX
def test_a_killed_run_opens_with_every_step_it_had_acknowledged(tmp_path: Path, target_file: Path) -> None:
    with served(tmp_path, **SLOW) as (bench, _), running(bench, target_file, tmp_path) as process:
        process.kill()
        process.wait()
        seen = read_summary(only_run(tmp_path))
    assert seen.outcome == "killed"
    assert seen.steps > 15
    done = labctl("runs", "recover", only_run(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    recovered = read_summary(Path(done.stdout.strip()))
    assert (recovered.steps, recovered.operations) == (seen.steps, seen.operations + seen.unsettled)


@POSIX
def test_a_full_disk_ends_the_run_in_safe_state_with_one_sentence(tmp_path: Path, target_file: Path) -> None:
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
        "from labctl.cli import main; main(sys.argv[1:])"
    )
    with served(tmp_path, rows=48, cols=48) as (bench, _):
        done = subprocess.run(
            [sys.executable, "-c", limited, *program(target_file, bench)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert re.search(r"cannot be written|no space|too large|cannot write", done.stderr, re.IGNORECASE), done.stderr
        assert ask(bench, "OUTP?") == "0"
    with package.open_run(only_run(tmp_path)) as tree:
        assert tree["events"].sizes["event"] > 10_000


def test_a_busy_board_is_exit_code_3_and_says_who_has_it(tmp_path: Path, target_file: Path) -> None:
    with served(tmp_path, rows=48, cols=48) as (bench, _), package.load_bench(bench) as live, live.array():
        done = labctl(*program(target_file, bench), cwd=tmp_path)
        assert done.returncode == 3
        assert f"in use by process {os.getpid()}" in done.stderr
        assert not (tmp_path / "runs").exists()


def test_json_holds_what_scripts_need(tmp_path: Path, target_file: Path) -> None:
    bench = write_bench(tmp_path, rows=48, cols=48)
    found = result_of(labctl(*program(target_file, bench, "--json", "-q"), cwd=tmp_path))
    wanted = {
        "run",
        "cells",
        "outcomes",
        "fraction_in_window",
        "pulses",
        "pulses_per_cell",
        "rms_error_siemens",
        "elapsed_s",
    }
    assert wanted <= set(found)
    assert set(found["pulses_per_cell"]) == {"mean", "median", "p99"}
    assert found["cells"] == 48 * 48 == sum(found["outcomes"].values())
    assert found["fraction_in_window"] > 0.97
    assert Path(found["run"]).exists()


def test_a_third_party_pyvisa_program_drives_the_board_through_pyvisa_library(tmp_path: Path) -> None:
    script = (
        "import pyvisa, numpy as np, sys\n"
        "board = pyvisa.ResourceManager().open_resource('TCPIP0::127.0.0.1::5025::SOCKET')\n"
        "board.read_termination = board.write_termination = '\\n'\n"
        "print(board.query('ARR:GEOM?'))\n"
        "board.write('OUTP ON;:FORM:BORD SWAP;:FORM REAL,32')\n"
        "board.write_binary_values('PULS:APPL:ALL 1,FORM,1US,1.2,', np.full(1024, 50000), datatype='H')\n"
        "print(board.query('PULS:SEQ?'))\n"
        "codes = board.query_binary_values('READ:REG? 0,0,32,32', datatype='H', container=np.array)\n"
        "print(codes.size, int(np.median(codes)), 'labctl.runner' in sys.modules)\n"
    )
    bench = write_bench(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYVISA_LIBRARY": f"{bench}@labctl"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    geometry, sequence, reading = done.stdout.split("\n")[:3]
    assert (geometry, sequence) == ("32,32", "1")
    size, median, framework = reading.split()
    assert (size, framework) == ("1024", "False")
    assert int(median) > 1500


def test_a_finished_run_is_told_though_the_bench_is_left_without_safe_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(driver: TestBoard, timeout_s: float = 2.0) -> None:  # noqa: ARG001
        raise LinkError("outputs stay on")

    monkeypatch.setattr(TestBoard, "safe_state", failing)
    bench = write_bench(tmp_path)
    assert _run(["read-array", "--bench", str(bench), "--no-plot", "--json", "-q"]) == 3
    told, problem = capsys.readouterr()
    assert json.loads(told)["safe_state"] is False
    assert problem == "labctl: NOT in safe state: board: outputs stay on\n"
