"""What recording a run costs the run, and what being watched costs it: ratios of runs that take turns.

    python benchmarks/recording_share.py [--rounds 5] [--json]

Each round programs a 512 x 512 array as `labctl program-array` does by default: recorded; with a recorder that does
nothing, on which the protocol, the limits and the wire are the same; and recorded while `labctl watch` follows the file
from another process. Once on the embedded bench, once over TCP to a board that another process serves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benches import LABCTL, served, write_bench

import labctl
from labctl.recording import RunWriter
from labctl.runner import running
from labctl.targets import default_target

SERIAL, ROWS = "R40-0001", 512


class NoRecorder(RunWriter):
    """Takes everything and keeps nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, **known: Any) -> NoRecorder:  # type: ignore[override]  # noqa: ARG003
        path.with_name(path.name + ".lock").unlink()  # which reserved the name
        return cls(path)

    @contextlib.contextmanager
    def asking(self, *said: Any) -> Iterator[None]:  # noqa: ARG002
        yield

    def nothing(self, *said: Any, **more: Any) -> None:
        """Instead of every method that records."""

    intend = complete = fail = record_read = record_clock = record_product = nothing  # type: ignore[assignment]
    step = sample = close = nothing  # type: ignore[assignment]


def seconds(bench: Path, folder: Path) -> tuple[float, float]:
    """What a run takes, from its first snapshot to its file closed, and how much CPU time of this process."""
    with labctl.load_bench(bench) as live, live.array() as array:
        started, used = time.perf_counter(), time.process_time()
        result = labctl.run("write_verify", array, target=default_target().conductance, out=folder)
        taken = time.perf_counter() - started, time.process_time() - used
    result.path.unlink(missing_ok=True)
    return taken


def seconds_watched(bench: Path, folder: Path) -> tuple[float, float, int]:
    """The same while it is watched; and the CPU time of the watcher in s, and its looks."""
    (folder / "watched").mkdir(exist_ok=True)
    command = [*LABCTL, "watch", str(folder / "watched"), "--wait", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        time.sleep(2)  # until it waits
        with labctl.load_bench(bench) as live, live.array() as array:
            started = time.perf_counter()
            result = labctl.run("write_verify", array, target=default_target().conductance, out=folder / "watched")
            taken = time.perf_counter() - started
        assert watcher.stdout is not None
        told = [json.loads(line) for line in watcher.stdout]
        _, status, used = os.wait4(watcher.pid, 0)
        watcher.returncode = os.waitstatus_to_exitcode(status)
    assert told, "the watcher saw nothing"
    assert (told[-1]["outcome"], told[-1]["pulses"]) == ("finished", result.summary["pulses"])
    result.path.unlink()
    return taken, used.ru_utime + used.ru_stime, len(told)


def measure(bench: Path, folder: Path, rounds: int) -> dict[str, float]:
    found: list[dict[str, float]] = []
    for _ in range(rounds + 1):  # the first warms up
        before = seconds(bench, folder)
        with mock.patch.object(running, "RunWriter", NoRecorder):
            bare = seconds(bench, folder)
        watched, cpu, looks = seconds_watched(bench, folder)
        usual = [(one + other) / 2 for one, other in zip(before, seconds(bench, folder), strict=True)]
        shares = {
            "recording_share": 1 - bare[0] / usual[0],
            "recording_share_of_cpu": 1 - bare[1] / usual[1],
            "watched_to_unwatched": watched / usual[0],
        }
        times = {"recorded_s": usual[0], "unrecorded_s": bare[0], "watcher_cpu_s": cpu, "looks": looks}
        found.append({**times, **shares})
    return {name: statistics.median(each[name] for each in found[1:]) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inside = write_bench(folder, rows=ROWS, cols=ROWS, chip=SERIAL, name="inside.toml")
        result["embedded"] = measure(inside, folder, arguments.rounds)
        with served(folder, rows=ROWS, cols=ROWS, chip=SERIAL) as (bench, _):
            result["served over TCP"] = measure(bench, folder, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for where, figures in result.items():
        print(f"{where}, medians of {arguments.rounds} rounds")
        for measured, figure in figures.items():
            print(f"  {figure:10.4g}  {measured.replace('_', ' ')}")
    print("aim: a recording share of at most 0.1")


if __name__ == "__main__":
    main()
