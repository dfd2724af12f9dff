"""The command line: what it prints, where, with which exit code; and one clear sentence for every mistake."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from benches import labctl, result_of, write_bench

from labctl.cli import _run
from labctl.drivers.test_board import TestBoard
from labctl.errors import LinkError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a small bench, where the commands run."""
    monkeypatch.chdir(tmp_path)
    write_bench(tmp_path, chip="T-3")
    monkeypatch.setenv("LABCTL_BENCH", "bench.toml")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and the one sentence on stderr."""
    code = _run([*arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert len(lines) == 1, err
    return code, lines[0]


def save(**arrays: np.ndarray) -> None:
    for name, values in arrays.items():
        np.save(f"{name}.npy", values)


GOOD = np.full((32, 32), 20.0)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["target.npy"], 2, r"target.npy: .*unit.*--unit uS"),
        (["target.npy", "--unit", "parsec"], 2, r"parsec"),
        (
            ["large.npy", "--unit", "uS"],
            2,
            r"large.npy: 33 x 32 cells .* do not fit an array of 32 x 32: give a target of at most 32 x 32$",
        ),
        (
            ["target.npy", "--unit", "uS", "--at", "1,0"],
            2,
            r"an array of 32 x 32: its first cell can be `at` 0,0 to 0,0$",
        ),
        (["target.npy", "--unit", "uS", "--at", "corner"], 2, r"--at: write ROW,COL"),
        (["nan.npy", "--unit", "uS"], 2, r"nan.npy: row 3, column 4 .*nan"),
        (["negative.npy", "--unit", "uS"], 2, r"negative.npy: row 3, column 4 .*-1"),
        (["high.npy", "--unit", "uS"], 2, r"high.npy: row 3, column 4 .*the array takes .* to 79.\d+ uS"),
        (["cube.npy", "--unit", "uS"], 2, r"cube.npy: .*dimension"),
        (["absent.npy", "--unit", "uS"], 2, r"absent.npy"),
        (["target.txt", "--unit", "uS"], 2, r"target.txt"),
        (["target.npy", "--unit", "uS", "--tolerance", "1V"], 2, r"'1V' is not in S: write it like '1 uS'"),
        (["target.npy", "--unit", "uS", "--tolerance", "-1uS"], 2, r"a tolerance must be more than 0 S"),
        (["target.npy", "--unit", "uS", "--reverify", "soon"], 2, r"'soon' is not a quantity"),
        (
            ["target.npy", "--unit", "uS", "--reverify", "2s,1s"],
            2,
            r"reverify must be delays in s that do not decrease",
        ),
        (["target.npy", "--unit", "uS", "--max-pulses", "0"], 2, r"max_pulses must be 1 to 30000"),
        (["target.npy", "--unit", "uS", "--set", "set.stop"], 2, r"write NAME=VALUE"),
        (["target.npy", "--unit", "uS", "--set", "set.stopp=2V"], 2, r"\$.set: .*unknown field `stopp`"),
        (["target.npy", "--unit", "uS", "--set", "nothing.stop=2V"], 2, r"no table of settings called 'nothing'"),
        (
            ["target.npy", "--unit", "uS", "--set", "reset.stop=9V"],
            2,
            r"\$.reset: 1.4 to 9 V does not fit the board's 0 V to 5 V",
        ),
        (
            ["target.npy", "--unit", "uS", "--set", "reset.stop=4.5V"],
            4,
            r"RESET pulse of 4.5 V is above the instrument's",
        ),
        (["target.npy", "--unit", "uS", "--array", "left"], 2, r"\$.arrays: no array called 'left'; there are: main"),
        (["target.npy", "--unit", "uS", "--bench", "absent.toml"], 2, r"absent.toml: cannot be read as a bench file"),
        (
            ["target.npy", "--unit", "uS", "--bench", "limited.toml"],
            4,
            r"SET pulse of 2.5 V is above the bench's max_set_voltage of 2 V",
        ),
        (["target.npy", "--unit", "uS", "--exclude", "target.npy"], 2, r"must be booleans of shape \(32, 32\)"),
        (
            ["target.npy", "--unit", "uS", "--no-form"],
            1,
            r"all 1024 cells read below 500 nS: the array has not been formed",
        ),
        (["--mapping", "differential"], 2, r"--mapping: says how to read a TARGET file, and none is given"),
        (["target.npy", "--unit", "uS", "--scale", "3uS"], 2, r"--scale: says how weights map .* no --mapping"),
        (["target.npy", "--unit", "uS", "--set", "cells=true"], 2, r"\$.cells: expected an array, got bool"),
        (["target.npy", "--mapping", "differential", "--g-min", "9uS", "--g-max", "3uS"], 2, r"g_min < g_max"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_right_exit_code(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    wrong = {"nan": np.nan, "negative": -1.0, "high": 900.0}
    for name, value in wrong.items():
        values = GOOD.copy()
        values[3, 4] = value
        save(**{name: values})
    save(target=GOOD, large=np.full((33, 32), 20.0), cube=np.zeros((2, 2, 2)))
    write_bench(here, name="limited.toml", arrays='[arrays.main.limits]\nmax_set_voltage = "2 V"')
    got, said = refused(capsys, "program-array", *arguments, "-q", "--no-plot")
    assert re.search(sentence, said), said
    assert got == code
    recorded = list(here.glob("runs/*.h5"))
    assert len(recorded) == (1 if code == 1 else 0), "nothing is recorded where nothing was sent"


@pytest.mark.parametrize("command", ["program-arry", "runs", "bench"])
def test_an_incomplete_or_unknown_command_is_usage(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert _run([command]) == 2
    assert "Usage:" in capsys.readouterr().err


def test_no_command_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run([]) == 2
    assert "program-array" in capsys.readouterr().err


def test_a_dry_run_costs_and_checks_without_an_instrument(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(target=GOOD)
    write_bench(here, name="nowhere.toml", resource="TCPIP0::127.0.0.1::1::SOCKET", library="@py")
    arguments = ["program-array", "target.npy", "--unit", "uS", "--bench", "nowhere.toml", "--dry-run", "--json"]
    assert _run(arguments[:-1]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("dry run: every check passed, nothing was sent; ")
    assert told.endswith("leaves alone is only known once the chip is connected")
    assert _run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["max_pulses"] == 1024 * found["max_pulses_per_cell"]
    assert found["peak_volts"] == pytest.approx({"SET": 2.5, "RESET": 3.0, "FORM": 3.9}, abs=1e-3)
    assert not (here / "runs").exists()


def test_a_real_board_is_not_pulsed_without_consent(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(target=GOOD)
    write_bench(here, name="real.toml", resource="TCPIP0::127.0.0.1::1::SOCKET", library="@py")
    code, said = refused(capsys, "program-array", "target.npy", "--unit", "uS", "--bench", "real.toml")
    assert code == 2
    assert "say --yes" in said


def test_a_board_that_is_not_there_is_exit_code_3(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bench(here, name="gone.toml", resource="TCPIP0::127.0.0.1::1::SOCKET", library="@py")
    code, said = refused(capsys, "read-array", "--bench", "gone.toml")
    assert code == 3
    assert "TCPIP0::127.0.0.1::1::SOCKET" in said


def test_form_program_read_on_a_chip_that_remembers(here: Path) -> None:
    save(target=np.linspace(5, 38, 1024).reshape(32, 32))
    write_bench(here, simulated='state = "chip.h5"')
    formed = result_of(labctl("form-array", "--json", cwd=here))
    assert formed["formed_now"] > 1000
    programmed = result_of(labctl("program-array", "target.npy", "--unit", "uS", "--json", cwd=here))
    assert programmed["fraction_in_window"] > 0.9
    assert Path(programmed["figure"]).stat().st_size > 20_000
    read = result_of(labctl("read-array", "--repeats", "4", "--json", cwd=here))
    assert read["conductance_median_siemens"] == pytest.approx(21.5e-6, rel=0.05)
    between = 2  # cells stuck at about the threshold, one in two thousand, may read on either side of it
    assert abs(read["pristine"] - formed["never_formed"]) <= between
    listed = json.loads(labctl("runs", "list", "--json", cwd=here).stdout)
    assert [each["protocol"] for each in listed] == ["forming", "write_verify", "read"]


def test_results_go_to_stdout_and_progress_to_stderr(here: Path) -> None:
    save(target=GOOD)
    done = labctl("program-array", "target.npy", "--unit", "uS", cwd=here)
    assert done.returncode == 0, done.stderr
    assert re.search(r"in window +\d+\.\d+% of [\d,]+ formed", done.stdout)
    assert re.search(r"safe state +reached", done.stdout)
    assert re.search(r"program +[\d,]+ cells in window, RMS error", done.stderr)
    assert "\x1b" not in done.stdout + done.stderr, "no colour where there is no terminal"
    quiet = labctl("read-array", "-q", "--no-plot", cwd=here)
    assert quiet.stderr == ""


def test_a_run_can_be_shown_plotted_and_is_told_apart_from_other_files(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result_of(labctl("read-array", "--json", "--no-plot", cwd=here))
    assert _run(["runs", "show", found["run"]]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"protocol +read", shown)
    assert re.search(r"outcome +finished", shown)
    assert _run(["plot", found["run"], "-o", "picture.svg"]) == 0
    assert "<svg" in Path(capsys.readouterr().out.strip()).read_text()
    Path("other.h5").write_text("not a run")
    code, said = refused(capsys, "runs", "show", "other.h5")
    assert code == 2
    assert "other.h5 is not a run file" in said


@pytest.mark.parametrize("name", ["absent.h5", "other.h5", "other.hdf5"])
@pytest.mark.parametrize(
    "command", ["plot RUN", "runs show RUN", "runs statistics RUN", "calibrate RUN -o c.toml", "compare RUN c.toml"]
)
def test_what_is_no_run_file_is_usage(here: Path, capsys: pytest.CaptureFixture[str], command: str, name: str) -> None:
    (here / "other.h5").write_text("not a run")
    with h5py.File(here / "other.hdf5", "w") as file:
        file["data"] = [1.0]
    code, said = refused(capsys, *command.replace("RUN", name).split())
    assert code == 2
    assert name in said


def test_a_damaged_run_is_a_failure(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = result_of(labctl("read-array", "--json", "--no-plot", cwd=here))
    with h5py.File(found["run"], "r+") as file:
        del file["commit"]
    code, said = refused(capsys, "runs", "show", found["run"])
    assert code == 1
    assert "is not a whole run file" in said


@pytest.mark.usefixtures("here")
def test_bench_init_writes_a_file_that_works_and_never_overwrites(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["bench", "init", "mine.toml", "--chip", "T-3"]) == 0
    assert _run(["bench", "check", "mine.toml"]) == 0
    assert "chip T-3, 512 x 512 1T1R RRAM" in capsys.readouterr().out
    code, said = refused(capsys, "bench", "init", "mine.toml")
    assert code == 2
    assert "exists already" in said
    assert _run(["bench", "init", "pcm.toml", "--cells", "pcm_90nm"]) == 0
    assert _run(["bench", "check", "pcm.toml"]) == 0
    assert "chip P90-0001, 512 x 2048 PCM" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_bench_init_for_a_serial_port_names_the_serial_driver(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["bench", "init", "port.toml", "--resource", "ASRL/dev/ttyUSB0::INSTR"]) == 0
    capsys.readouterr()
    assert _run(["bench", "show", "port.toml", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["values"]
    assert values["instruments.board.driver"]["value"] == "serial_board"
    assert values["instruments.board.resource_name"]["value"] == "ASRL/dev/ttyUSB0::INSTR"
    assert values["instruments.board.baud_rate"] == {"value": 115200, "origin": "port.toml"}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("resource", ["", "ASRL", "board"])
def test_bench_init_writes_no_name_that_no_instrument_can_have(
    capsys: pytest.CaptureFixture[str], resource: str
) -> None:
    code, said = refused(capsys, "bench", "init", "new.toml", "--resource", resource)
    assert code == 2
    assert f"--resource: {resource!r} is not a VISA resource name" in said
    assert not Path("new.toml").exists()


@pytest.mark.usefixtures("here")
def test_bench_show_says_where_each_value_comes_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABCTL_OPERATOR", "Grace")
    assert _run(["bench", "show", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["values"]
    assert values["operator"] == {"value": "Grace", "origin": "LABCTL_OPERATOR"}
    assert values["instruments.board.rows"] == {"value": 32, "origin": "bench.toml"}
    assert values["instruments.board.timeout"] == {"value": 5.0, "origin": "default"}


def test_bench_check_names_the_arrays_that_do_not_answer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bench(here, name="gone.toml", resource="TCPIP0::127.0.0.1::1::SOCKET", library="@py")
    assert _run(["bench", "check", "gone.toml"]) == 3
    assert re.search(r"main +TCPIP0::127.0.0.1::1::SOCKET", capsys.readouterr().out)
    assert _run(["bench", "check", "gone.toml", "--offline"]) == 0


def test_a_broken_plug_in_is_listed_and_not_fatal(here: Path) -> None:
    information = here / "broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[labctl.protocols]\nbroken = broken_module:nothing\n")
    done = labctl("plugins", cwd=here, PYTHONPATH=str(here))
    assert done.returncode == 0
    assert re.search(r"protocols +broken +broken +ModuleNotFoundError", done.stdout)
    assert re.search(r"protocols +write_verify +labctl +ok", done.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX terminal")
def test_on_a_terminal_progress_is_a_live_bar_that_leaves_no_trace(here: Path) -> None:
    import pty

    save(target=GOOD)
    write_bench(here, simulated='clock = "real"')
    child, terminal = pty.fork()
    if child == 0:
        os.execv(
            sys.executable, [sys.executable, "-m", "labctl", "program-array", "target.npy", "--unit", "uS", "--no-plot"]
        )
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    text = shown.decode("utf-8", "replace")
    assert "cells in window" in text
    assert "━" in text
    assert "\x1b[2K" in text


LOW = ("--set", "ramp.start=0.2V", "--set", "ramp.stop=0.3V")
HINT = "labctl: no cell responded: check wiring, lines and gate of the bench\n"


@pytest.mark.usefixtures("here")
def test_where_not_one_cell_responds_the_bench_is_to_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["form-array", "-q", "--no-plot", *LOW]) == 0
    assert capsys.readouterr().err == HINT
    assert _run(["form-array", "-q", "--no-plot", "--set", "cells=8", *LOW]) == 0
    assert capsys.readouterr().err == ""
    save(target=GOOD)
    low = [word.replace("ramp.", "form.ramp.") for word in LOW]
    assert _run(["program-array", "target.npy", "--unit", "uS", "-q", "--no-plot", *low]) == 0
    assert capsys.readouterr().err == HINT


@pytest.mark.usefixtures("here")
def test_the_figure_stands_under_the_rest_and_the_time_of_the_bench_beside_the_computers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run(["form-array", "-q"]) == 0
    lines = capsys.readouterr().out.splitlines()
    columns = [line.rindex("  ") for line in lines if line.startswith(("run file", "figure"))]
    assert len(columns) == 2
    assert columns[0] == columns[1] > len("time of computer")
    assert not any("bench:" in line for line in lines)
    save(target=GOOD)
    assert _run(["program-array", "target.npy", "--unit", "uS", "-q", "--no-plot", "--reverify", "0s,1000s"]) == 0
    assert re.search(r"time of computer +\d+\.\d\d s \(bench: 100\d s\)", capsys.readouterr().out)


@pytest.mark.usefixtures("here")
def test_safe_state_reached_only_on_letting_go_is_told_after_the_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, calls = TestBoard.safe_state, []

    def failing_once(driver: TestBoard, timeout_s: float = 2.0) -> None:
        calls.append(driver)
        if len(calls) == 1:
            raise LinkError("outputs stay on")
        reached(driver, timeout_s)

    monkeypatch.setattr(TestBoard, "safe_state", failing_once)
    assert _run(["read-array", "--no-plot", "-q"]) == 3
    told, problem = capsys.readouterr()
    assert re.search(r"safe state +board: outputs stay on", told)
    assert problem == (
        "labctl: the run ended NOT in safe state: board: outputs stay on; reached only when it was let go of\n"
    )
