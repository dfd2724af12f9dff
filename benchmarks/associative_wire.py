"""Passes of an associative array through its driver: programs and passes one by one, in this process and over TCP.

    OMP_NUM_THREADS=1 python benchmarks/associative_wire.py [--words 500] [--json]

The same program as of `associative.py`, on a chip of 65,536 rows without faults: called in this process without any
wire, then run by the driver through VISA, on a board in this process and on one in another over TCP. Actions: a search
and a tagged write a pass, of which many go in one message; one by one: a message each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from associative import additions
from associative_benches import write_associative_bench
from benches import started

from labctl.associative import Action, Run, Search, Write
from labctl.bench.live import AssociativeBenchArray, load_bench
from labctl.simulated_instruments.cells.racetrack_parameters import RacetrackParameters
from labctl.simulated_instruments.chips.associative import AssociativeChip

_DOMAINS = 64
_SINGLE = 500  # passes that are done as actions


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Path]:
    """A bench file whose board another process serves over TCP."""
    server = started("sim", "serve", write_associative_bench(folder), "--port", "0", cwd=folder)
    try:
        assert server.stdout is not None
        resource = re.search(r"TCPIP0::\S+", server.stdout.readline())
        assert resource
        yield write_associative_bench(folder, resource=resource[0], library="@py")
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=10)


def per_second(passes: int, do: Callable[[], object]) -> float:
    """The best of three."""
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        do()
        spent.append(time.perf_counter() - begun)
    return passes / min(spent)


def without_a_wire(words: int) -> float:
    chip = AssociativeChip.buy("T-1", RacetrackParameters.named("racetrack_ideal"))
    program = additions(words, _DOMAINS)
    tables = [table.codes for table in program.tables]
    return per_second(program.passes, lambda: chip.execute(tables, program.instructions))


def through(bench_file: Path, words: int) -> dict[str, float]:
    """Passes per second: of a program, of one that is traced, of actions in few messages, and of a message each."""
    program = additions(words, _DOMAINS)
    columns, key, bits = np.array([0, _DOMAINS]), np.array([1, 0]), np.array([0])
    single: tuple[Action, Action] = Search(columns, key), Write(columns[:1], bits)
    with load_bench(bench_file) as bench, bench.array() as array:
        assert isinstance(array, AssociativeBenchArray)
        array.perform(Run(program))  # sends it
        return {
            "program": per_second(program.passes, lambda: array.perform(Run(program))),
            "traced": per_second(program.passes, lambda: array.perform(Run(program, trace=True))),
            "actions": per_second(_SINGLE, lambda: array.perform(*(single * _SINGLE))),
            "one_by_one": per_second(_SINGLE, lambda: [array.perform(*single) for _ in range(_SINGLE)]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Passes per second of an associative array through its driver.")
    parser.add_argument("--words", type=int, default=500, help="additions of the program")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rates: dict[str, Any] = {"without_a_wire": {"program": without_a_wire(given.words)}}
        rates["in_this_process"] = through(write_associative_bench(Path(folder)), given.words)
        with served(Path(folder)) as path:
            rates["over_tcp"] = through(path, given.words)
    if given.json:
        print(json.dumps(rates, indent=2))
        return
    for way, found in rates.items():
        for what, rate in found.items():
            print(f"{way:>16} {what:>12} {rate:12,.0f} passes/s")


if __name__ == "__main__":
    main()
