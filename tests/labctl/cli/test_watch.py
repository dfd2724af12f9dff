"""`labctl watch` beside a real run in another process: on a terminal, into a pipe, as JSON; however the run ends."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from benches import LABCTL, labctl, result_of, started, write_bench

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends processes with signals")

PROGRAM = (
    "program-array",
    "target.npy",
    "--unit",
    "uS",
    "--bench",
    "bench.toml",
    "--yes",
    "--no-plot",
    "-q",
    "--max-pulses",
    "40",
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a target and a bench whose clock is real, so that a run takes its time."""
    write_bench(tmp_path, rows=16, cols=16, chip="R40-0001", simulated='clock = "real"')
    np.save(tmp_path / "target.npy", np.linspace(5, 40, 256).reshape(16, 16))
    return tmp_path


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextmanager
def programming(folder: Path, *, wait: float = 5.0) -> Iterator[subprocess.Popen[str]]:
    """A run going on, which waits for so many s before it looks at its cells again."""
    process = started(*PROGRAM, "--reverify", f"0s,{wait}s", cwd=folder)
    try:
        wait_until(lambda: any(folder.glob("runs/*.h5")), "no run began")
        yield process
    finally:
        process.kill()
        process.communicate()


def looks(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_run_is_followed_to_its_end(here: Path) -> None:
    watching = started("watch", "runs", "--wait", "--json", "--every", "0.1s", cwd=here)
    with programming(here, wait=2.0) as run:
        told, problems = watching.communicate(timeout=30)
        assert run.wait(10) == 0
    assert (watching.returncode, problems) == (0, "")
    found = [json.loads(line) for line in told.splitlines()]
    assert found[0]["outcome"] == "live"
    assert len({each["steps"] for each in found}) > 1  # before the cells are read again, and after
    for name in ("steps", "events", "pulses", "elapsed_s", "bench_s"):
        counts = [each[name] for each in found[:-1]]
        assert counts == sorted(counts), name
    last = found[-1]
    shown = result_of(labctl("runs", "show", last["run"], "--json", cwd=here))
    assert (last["outcome"], last["events_not_looked_at"]) == ("finished", 0)
    assert [last[name] for name in ("pulses", "events", "steps")] == [shown[n] for n in ("pulses", "events", "steps")]
    assert last["cells_read"] == 256


@pytest.mark.parametrize(
    ("blow", "outcome", "says"), [(signal.SIGKILL, "killed", ""), (signal.SIGINT, "interrupted", "stopped by SIGINT")]
)
def test_a_run_that_is_stopped_ends_it_with_1(here: Path, blow: signal.Signals, outcome: str, says: str) -> None:
    with programming(here) as run:
        watching = started("watch", "runs", "--json", "--every", "0.1s", cwd=here)
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["outcome"] == "live"
        run.send_signal(blow)
        told, problems = watching.communicate(timeout=20)
    assert (watching.returncode, problems) == (1, "")
    last = json.loads(told.splitlines()[-1])
    assert (last["outcome"], last["message"]) == (outcome, says)


def test_interrupting_the_watcher_leaves_the_run_alone(here: Path) -> None:
    with programming(here, wait=4.0) as run:
        watching = started("watch", "runs", cwd=here)
        assert watching.stdout is not None
        assert "live" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=10)
        assert (watching.returncode, said) == (130, "\nlabctl: interrupted\n")
        assert run.wait(20) == 0


def test_into_a_pipe_it_prints_a_line_where_something_changed(here: Path) -> None:
    watching = started("watch", "runs", "--wait", "--every", "0.05s", cwd=here)
    with programming(here, wait=2.0) as run:
        told, _ = watching.communicate(timeout=30)
        assert run.wait(10) == 0
    lines = told.splitlines()
    assert watching.returncode == 0
    assert all(line.isascii() for line in lines)
    steps = [int(re.search(r"step ([\d,]+)", line)[1].replace(",", "")) for line in lines]  # type: ignore[index]
    assert steps == sorted(steps)
    assert len(lines) < 20 + len(set(steps))  # 20 a second for 2 s of waiting would be more
    assert "finished" in lines[-1]
    assert "cells in window" in " ".join(lines)


def test_once_is_one_look_and_a_live_run_is_no_failure(here: Path) -> None:
    with programming(here):
        (live,) = looks(labctl("watch", "runs", "--once", "--json", cwd=here))
    assert live["outcome"] == "live"
    done = labctl("watch", "last", "--once", "--json", cwd=here, LABCTL_BENCH="bench.toml")
    (killed,) = looks(done)
    assert (killed["outcome"], done.returncode) == ("killed", 1)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["nothing.h5"], 2, r"there is no file nothing\.h5"),
        (["."], 2, r"no run is going on in \.: --wait waits for one"),
        (["target.npy"], 2, r"target\.npy is not a run file"),
        (["target.npy", "--every", "0s"], 2, r"--every: must be at least 0\.05 s, not 0 s"),
    ],
)
def test_a_mistake_is_one_sentence(here: Path, arguments: list[str], code: int, sentence: str) -> None:
    done = labctl("watch", *arguments, cwd=here, LABCTL_BENCH="bench.toml")
    assert (done.returncode, done.stdout) == (code, "")
    assert re.search(rf"^labctl: {sentence}", done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_file_that_vanishes_is_said_to(here: Path) -> None:
    with programming(here, wait=10.0):
        watching = started("watch", "runs", "--json", "--every", "0.1s", cwd=here)
        assert watching.stdout is not None
        watching.stdout.readline()
        next(here.glob("runs/*.h5")).unlink()
        _, said = watching.communicate(timeout=20)
    assert (watching.returncode, said.count("\n")) == (2, 1)
    assert "there is no file" in said


_NUMBERS = itertools.count()


class Terminal:
    """A window of tmux in which one command runs; its exit code is shown after it."""

    def __init__(self, folder: Path, width: int, height: int, **environment: str) -> None:
        self._socket = folder / f"tmux{next(_NUMBERS)}"  # a server that is killed lets go of its socket a little later
        shell = {"TERM": "tmux-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **environment}
        command = shlex.join([*LABCTL, "watch", "runs", "--every", "0.2s"])
        self._tmux("-f", os.devnull, "new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(folder),
                   *(part for name, value in shell.items() for part in ("-e", f"{name}={value}")),
                   "sh", "-c", f"trap : INT; {command}; echo code $?; sleep 60")  # fmt: skip

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self._socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def lines(self, *options: str) -> list[str]:
        return self._tmux("capture-pane", "-p", *options).splitlines()

    def wait_for(self, pattern: str) -> list[str]:
        wait_until(lambda: re.search(pattern, "\n".join(self.lines())) is not None, f"no {pattern} in the terminal")
        return self.lines()

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def close(self) -> None:
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], check=False, capture_output=True)


@contextmanager
def terminal(folder: Path, width: int, height: int, **environment: str) -> Iterator[Terminal]:
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    window = Terminal(folder, width, height, **environment)
    try:
        yield window
    finally:
        window.close()


BRAILLE = re.compile(r"[\u2801-\u28ff]")


def test_the_picture_fits_the_terminal_and_the_last_one_stays(here: Path) -> None:
    with programming(here, wait=3.0) as run, terminal(here, 80, 24) as window:
        lines = window.wait_for("cells in window")
        assert re.match(r"write_verify on chip R40-0001, 16 x 16 of bench test bench +live", lines[0])
        assert lines[23] == "Ctrl-C leaves; the run goes on"
        assert sum("▀" in line or "▄" in line for line in lines) == 1 + 16 // 2  # the scale, and two rows a line
        assert BRAILLE.search("".join(lines))
        window.resize(140, 40)
        window.wait_for(r"live\n(.*\n){38}Ctrl-C leaves")
        wider = window.lines()
        assert len(wider[0]) > 130
        assert sum("▀" in line or "▄" in line for line in wider) == 1 + 3 * 16 // 2
        window.resize(50, 15)
        window.wait_for(r"live\n(.*\n){13}Ctrl-C leaves")
        assert run.wait(20) == 0
        lines = window.wait_for("code 0")
        assert any(re.match(r"write_verify .* finished$", line) for line in lines)
        assert "Ctrl-C" not in "".join(lines)


def test_a_map_is_in_colours_unless_nobody_wants_them(here: Path) -> None:
    with programming(here, wait=4.0):
        with terminal(here, 80, 24) as window:
            window.wait_for("last reading - target")
            assert "\x1b[48;2;" in "".join(window.lines("-e"))
            window.press("C-c")
            lines = window.wait_for("code 130")
            assert any("last reading - target" in line for line in lines)
        with terminal(here, 80, 24, NO_COLOR="1") as window:
            lines = window.wait_for(r"\|last reading - target\|")
            assert not re.search(r"\x1b\[[\d;]*[34][0-8][;m]", "".join(window.lines("-e")))
            assert sum(bool(set(line) & set("░▒▓█")) for line in lines) >= 8
