"""Kills `write_verify` on a board at its write calls and at random moments; the chip's own counter is the referee.

The board is a process of its own, so the chip outlives the killed run. `strace` kills the run (SIGKILL) at its n-th
`pwrite64`, for n successive calls, or it is killed at a random moment. The file left must open, hold every step that
was acknowledged, and account for every pulse the chip has counted: no fewer than those it calls done, no more than
those it had announced. It must recover into a file that ncdump and h5dump read. Linux only.

    python benchmarks/kill_program.py [--calls 200] [--random 50] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pyvisa
from benches import served
from numpy.typing import NDArray

import labctl
from labctl.recording import recover
from labctl.recording.layout import State

ROWS = 12


def child(folder: Path) -> None:
    """Program the array to new targets, saying so after every step that is on disk."""
    target = np.random.default_rng(time.time_ns() % 2**32).uniform(3e-6, 38e-6, (ROWS, ROWS))
    print("ready", flush=True)
    with labctl.load_bench(folder / "bench.toml") as bench, bench.array() as array:
        labctl.run(
            "write_verify", array, target=target, out=folder / "runs", progress=lambda _: print("step", flush=True)
        )
    print("finished", flush=True)


class Referee:
    """The chip's pulse counter, asked over a connection of its own."""

    def __init__(self, bench: Path) -> None:
        resource = tomllib.loads(bench.read_text())["instruments"]["board"]["resource_name"]
        self._board = pyvisa.ResourceManager("@py").open_resource(
            resource, read_termination="\n", write_termination="\n"
        )

    def pulses(self) -> int:
        return int(self.each().sum())

    def each(self, what: str = "PULS") -> NDArray[np.int64]:
        """(cells,) pulses, or reads (`READ`), every cell has had."""
        return np.array(self._board.query(f"FORM ASC;:ARR:COUN:{what}?").split(","), np.int64)


def examine(folder: Path, said: Counter[str], given: int) -> str:
    """`no run`, `readable`, or what is wrong."""
    paths = list((folder / "runs").glob("*.h5"))
    if not paths:
        return "no run" if not given and not said["step"] else f"{given} pulses and no run"
    try:
        account(paths[0], said, given)
        recovered = folder / "recovered.h5"
        recover(paths[0], recovered)
        account(recovered, said, given)
        for tool in ("ncdump", "h5dump"):
            if shutil.which(tool):
                subprocess.run([tool, recovered], check=True, capture_output=True)
    except Exception as problem:  # noqa: BLE001 -- whatever it is, it is the finding
        return f"{type(problem).__name__}: {problem}"
    finally:
        shutil.rmtree(folder / "runs")
        (folder / "recovered.h5").unlink(missing_ok=True)
    return "readable"


def account(path: Path, said: Counter[str], given: int) -> None:
    with labctl.open_run(path) as tree:
        steps = tree["steps"].sizes["step"]
        kinds, states = tree["operations"]["kind"].values, tree["operations"]["state"].values
        sizes = tree["operations"]["events"].values
    pulsed = kinds > 0
    done = int(sizes[pulsed & (states == State.DONE)].sum())
    announced = int(sizes[pulsed].sum())
    if steps < said["step"]:
        raise ValueError(f"{said['step']} steps acknowledged, {steps} in the file")
    if not done <= given <= announced:
        raise ValueError(f"the chip counted {given} pulses, the file has {done} done of {announced} announced")


def strike(folder: Path, number: int) -> Counter[str]:
    """Kill at the `number`-th write call."""
    inject = f"inject=pwrite64:signal=KILL:when={number}"
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", inject, *child_command(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, -9):
        raise RuntimeError(f"write {number}: ended with {done.returncode}: {done.stderr[-400:]}")
    return Counter(done.stdout.split())


def kill_at_random(folder: Path, seconds: float) -> Counter[str]:
    """Kill `seconds` after the child was ready."""
    with subprocess.Popen(child_command(folder), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        return Counter(process.stdout.read().split())


def child_command(folder: Path) -> list[str]:
    return [sys.executable, __file__, "--child", str(folder)]


def campaign(calls: int, moments: int) -> dict[str, object]:
    findings: Counter[str] = Counter()
    generator = random.Random(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served(folder, rows=ROWS, cols=ROWS, chip="KILL-1") as (bench, _):
            referee = Referee(bench)
            for number in range(1, calls + 1):
                before = referee.pulses()
                said = strike(folder, number)
                findings[examine(folder, said, referee.pulses() - before)] += 1
            for _ in range(moments):
                before = referee.pulses()
                said = kill_at_random(folder, generator.uniform(0.1, 0.9))
                time.sleep(0.05)  # a batch under way is applied to its end
                findings[examine(folder, said, referee.pulses() - before)] += 1
    good = {"readable", "no run"}
    return {
        "struck_at_successive_calls": calls,
        "killed_at_random": moments,
        **{kind.replace(" ", "_"): findings[kind] for kind in sorted(good)},
        "bad": {kind: count for kind, count in findings.items() if kind not in good},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200, help="strike at each of the first so many write calls")
    parser.add_argument("--random", type=int, default=50, help="kills at random moments")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    result = campaign(options.calls, options.random)
    if options.json:
        print(json.dumps(result))
    else:
        for name, found in result.items():
            print(f"{name:28} {found}")
    return 1 if result["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
