"""Kills runs of every protocol at random moments and resumes them; the chip's own counters are the referee.

The board is a process of its own, so the chip outlives the killed run, which `labctl runs resume` goes on with. Then:

- the pulses of every cell in the file are those its chip has counted: none lost, none doubled. None is of unknown dose,
  but where the kill struck at the first batch since the board was switched on, which might have been off since;
- there is one file, finished, without a finding of `labctl runs verify`;
- it is event for event the run of a protocol that was never interrupted, on the same chip bought anew, if that reads
  the cells once more where the resumed one did: the same cells pulsed, the same amplitudes, the same readings. So no
  cell that was finished has been pulsed again.

    python benchmarks/kill_resume.py [--kills 20] [--protocols write_verify,read] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from benches import labctl, served, write_bench
from kill_program import Referee
from numpy.typing import NDArray

import labctl as lab
from labctl.array import MemoryArray, Operation, PulseBatch, Readout
from labctl.plugins import load_protocol
from labctl.recording import read_summary
from labctl.recording.layout import READ, AskedBy, State
from labctl.recording.verify import verify
from labctl.steps import Steps

ROWS = 12
PULSES = {int(each) for each in Operation}
_NOT_READ = 65_535  # the test board's converter has 14 bits

SETTINGS: dict[str, dict[str, Any]] = {
    "forming": {},
    "read": {"repeats": 150},
    "write_verify": {"reverify": [0.0, 1.0, 10.0]},
    "iv": {},
    "pulse_response": {"cells": 64, "trains": 3, "pulses": 20},
    "endurance": {"cells": 32, "cycles": 300, "every": 40},
    "retention": {"cells": 96, "group": 16, "times": [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]},
    "read_noise": {"cells": 64, "samples": 200, "interval": 0.01},
    "step_size": {"cells": 96},
}


def settings_of(protocol: str) -> dict[str, Any]:
    found = dict(SETTINGS[protocol])
    if protocol == "write_verify":
        found["target"] = np.random.default_rng(5).uniform(3e-6, 38e-6, (ROWS, ROWS))
    return found


def child(protocol: str, folder: Path) -> None:
    """The run that is killed."""
    with lab.load_bench(folder / "bench.toml") as bench, bench.array() as array:
        print("ready", flush=True)
        lab.run(protocol, array, out=folder / "runs", seed=3, **settings_of(protocol))


@dataclass(frozen=True, slots=True)
class Done:
    """One operation of a file: columns of its events, the pulse's shape, why it was made, and when (s since 1970)."""

    kind: int
    cells: NDArray[np.uint32]
    amplitude: NDArray[Any]
    reading: NDArray[Any]
    shape: tuple[float, float, float]
    asked_by: int
    state: int
    start: float

    @property
    def is_lost(self) -> bool:
        """Pulses with a verify read of which nothing came back."""
        return self.kind in PULSES and self.state == State.DONE and bool(np.any(self.reading == _NOT_READ))


def operations(path: Path) -> list[Done]:
    with h5py.File(path) as file:
        rows, events = file["operations"], file["events"]
        columns = {name: rows[name][:] for name in rows if name != "operation"}
        cell, amplitude, reading = (events[name][:] for name in ("cell", "amplitude", "reading"))
    found = []
    for row, first in enumerate(columns["first_event"].tolist()):
        own = slice(first, first + int(columns["events"][row]))
        shape = tuple(float(np.nan_to_num(columns[name][row], nan=-1.0)) for name in ("width", "gate", "read_voltage"))
        why = (int(columns["asked_by"][row]), int(columns["state"][row]), float(columns["start"][row]))
        found.append(Done(int(columns["kind"][row]), cell[own], amplitude[own], reading[own], shape, *why))
    return found


class Interposed:
    """A MemoryArray for a protocol that nobody interrupts, which does besides what a resumed run did besides."""

    def __init__(self, array: MemoryArray, unrecorded: MemoryArray, resumed: list[Done], cut: Cut) -> None:
        self._array = array
        self._unrecorded = unrecorded
        self._cut = cut
        self._is_cut = False
        self._own = [row for row, done in enumerate(resumed) if done.asked_by == AskedBy.PROTOCOL]
        self._resumed = resumed
        self._next = 0
        self.clock = self
        self._besides(-1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._array, name)

    def now(self) -> float:
        time = self._array.clock.now()
        self._besides(self._take())
        return time

    def sleep_until(self, time: float) -> None:
        self._array.clock.sleep_until(time)

    def read(self, cells: Any = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        readout = self._array.read(cells, repeats, voltage)
        self._besides(self._take())
        return readout

    def pulse(self, *batches: PulseBatch) -> None:
        rows = [self._take() for _ in batches]
        is_given = [self._resumed[row].state == State.DONE for row in rows]
        given = list(itertools.compress(batches, is_given))
        if given:
            self._array.pulse(*given)
        again = itertools.compress(batches, [not each for each in is_given])
        self._besides(rows[-1], lambda: self._array.pulse(next(again)))

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        rows = [self._take() for _ in batches]
        is_given = [self._resumed[row].state == State.DONE for row in rows]
        given = list(itertools.compress(batches, is_given))
        own = iter(self._array.pulse_and_verify(*given) if given else ())
        again = itertools.compress(batches, [not each for each in is_given])
        later = iter(self._besides(rows[-1], lambda: self._array.pulse_and_verify(next(again))[0]))
        found = []
        for row, applied in zip(rows, is_given, strict=True):
            readout = next(own) if applied else next(later)
            found.append(next(later) if applied and self._resumed[row].is_lost else readout)
        return tuple(found)

    def _take(self) -> int:
        row = self._own[self._next]
        self._next += 1
        return row

    def _besides(self, row: int, pulse: Callable[[], Any] = lambda: None) -> list[Any]:
        """After the operation in `row`, what the resumed run did before the protocol's next; what was settled so."""
        if not self._is_cut and (self._next >= len(self._own) or self._own[self._next] >= self._cut.operation):
            self._is_cut = True
            for cells in self._cut.lost_reads:
                self._unrecorded.read(cells, 1, self._cut.voltage)
        settled = []
        for done in itertools.takewhile(lambda each: each.asked_by != AskedBy.PROTOCOL, self._resumed[row + 1 :]):
            if done.asked_by == AskedBy.REREAD:  # the killed run may have been waiting for its next read
                self._unrecorded.clock.sleep_until(done.start)
            found = self._array.read(done.cells) if done.kind == READ else pulse()
            if done.asked_by == AskedBy.SETTLING:
                settled.append(found)
        return settled


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a run was killed: before which operation, and the cells of each pass of a read whose answer was lost.

    voltage: V of that read, as the protocol asked for it again; None: the array's own.
    """

    operation: int
    lost_reads: list[NDArray[np.uint32]]
    voltage: float | None


def cut_of(path: Path, resumed: list[Done], reads: NDArray[np.int64]) -> Cut:
    """reads: (cells,) what the chip has counted, verify reads among them."""
    with h5py.File(path) as file:
        (resumption,) = json.loads(file["provenance"].attrs["resumptions"])
    lost = reads.copy()
    settled = [done.cells.tobytes() for done in resumed if done.asked_by == AskedBy.SETTLING and done.kind == READ]
    for done in resumed:
        read = done.reading != _NOT_READ
        np.subtract.at(lost, done.cells[read], 1)
        if done.is_lost and done.cells.tobytes() in settled:
            lost[done.cells] -= 1
    passes = [np.flatnonzero(lost > number).astype(np.uint32) for number in range(int(lost.max()))]
    first = int(resumption["first_operation"])
    again = next((done for done in resumed[first:] if done.asked_by == AskedBy.PROTOCOL and done.kind == READ), None)
    return Cut(first, passes, again.shape[2] if again is not None and again.shape[2] > 0 else None)


def uninterrupted(protocol: str, bench: Path, resumed: list[Done], cut: Cut, settings: dict[str, Any]) -> Path:
    """The same run on the same chip bought anew, in this process and at one go."""
    procedure = load_protocol(protocol)
    with lab.load_bench(bench) as live, live.array() as array:

        def steps(recorded: MemoryArray, settings: Any, rng: np.random.Generator) -> Steps:
            interposed = Interposed(recorded, array.driver, resumed, cut)
            return procedure.steps(interposed, settings, rng)  # type: ignore[arg-type]

        whole = replace(procedure, steps=steps)
        return lab.run(whole, array, out=bench.parent / "reference", seed=3, **settings).path


def differences(resumed: list[Done], reference: list[Done]) -> list[str]:
    """What two runs did differently; operations the board did not apply were given again later."""
    given = [done for done in resumed if done.state != State.NOT_APPLIED]
    if len(given) != len(reference):
        return [f"{len(given)} operations where the uninterrupted run has {len(reference)}"]
    found = []
    for row, (one, other) in enumerate(zip(given, reference, strict=True)):
        same = (one.kind, one.shape) == (other.kind, other.shape) and np.array_equal(one.cells, other.cells)
        same = same and np.array_equal(one.amplitude, other.amplitude)
        if not (same and (one.is_lost or np.array_equal(one.reading, other.reading))):
            found.append(f"operation {row} differs")
    return found


def first_pulses(done: list[Done]) -> int:
    return next(row for row, each in enumerate(done) if each.kind in PULSES)


def strike(protocol: str, folder: Path, seconds: float) -> Path | None:
    """Kill the run `seconds` after it was ready; its file, None where there was none yet or it had ended."""
    command = [sys.executable, __file__, "--child", protocol, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        process.kill()
    time.sleep(0.05)  # a batch under way is applied to its end
    paths = list((folder / "runs").glob("*.h5"))
    if not paths or read_summary(paths[0]).outcome != "killed":
        return None
    return paths[0]


def one_kill(protocol: str, chip: str, seconds: float, folder: Path) -> dict[str, Any] | None:
    """What became of one run killed and resumed; None where the kill did not strike a run."""
    with served(folder, rows=ROWS, cols=ROWS, chip=chip) as (bench, _):
        path = strike(protocol, folder, seconds)
        if path is None:
            return None
        before = read_summary(path)
        done = labctl("runs", "resume", path, "--bench", bench, "--yes", "--no-plot", "--json", "-q", cwd=folder)
        if done.returncode:
            return {"bad": f"resume: {done.stderr.strip()}"}
        referee = Referee(bench)
        counted, reads = referee.each(), referee.each("READ")
    resumed = operations(path)
    recorded = np.zeros(ROWS * ROWS, int)
    for each in resumed:
        if each.kind in PULSES and each.state != State.NOT_APPLIED:
            recorded[each.cells] += 1
    problems = []
    unknown = np.zeros(ROWS * ROWS, int)
    for each in resumed:
        if each.state == State.UNKNOWN_DOSE:
            unknown[each.cells] += 1
    if unknown.any() and resumed[first_pulses(resumed)].state != State.UNKNOWN_DOSE:
        problems.append("pulses of unknown dose that are not the board's first")
    if np.any(counted > recorded) or np.any(counted < recorded - unknown):
        problems.append(f"the chip counted {counted.sum()} pulses, the file has {recorded.sum()}")
    if len(list((folder / "runs").glob("*.h5*"))) != 1:
        problems.append(f"more than one file: {sorted(each.name for each in (folder / 'runs').iterdir())}")
    problems += [f"verify: {finding.text}" for finding in verify(path).findings]
    if not unknown.any():
        anew = write_bench(folder, rows=ROWS, cols=ROWS, chip=chip, name="reference.toml")
        reference = uninterrupted(protocol, anew, resumed, cut_of(path, resumed, reads), settings_of(protocol))
        problems += differences(resumed, operations(reference))
    return {
        "bad": "; ".join(problems[:3]),
        "at": before.operations / max(len(resumed), 1),
        "pulses": int(recorded.sum()),
        "unknown": bool(unknown.any()),
        "in_flight": any(each.is_lost or each.state == State.NOT_APPLIED for each in resumed),
        "reread": sum(len(each.cells) for each in resumed if each.asked_by == AskedBy.REREAD),
    }


def seconds_of(protocol: str, folder: Path) -> float:
    """How long the run takes when nobody kills it."""
    with served(folder, rows=ROWS, cols=ROWS, chip="KILL-0"):
        command = [sys.executable, __file__, "--child", protocol, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            began = time.perf_counter()
            process.wait()
        return time.perf_counter() - began


def campaign(protocol: str, kills: int, generator: random.Random) -> dict[str, Any]:
    """`kills` runs of one protocol, each on a chip of its own."""
    with tempfile.TemporaryDirectory() as name:
        whole = seconds_of(protocol, Path(name))
    found: list[dict[str, Any]] = []
    strikes = 0
    while len(found) < kills:
        strikes += 1
        with tempfile.TemporaryDirectory() as name:
            one = one_kill(protocol, f"KILL-{strikes}", generator.uniform(0.0, whole), Path(name))
        if one is not None:
            found.append(one)
            if one["bad"]:
                print(f"{protocol}, chip KILL-{strikes}: {one['bad']}", file=sys.stderr)
    good = [each for each in found if not each["bad"]]
    return {
        "kills": kills,
        "resumed_as_uninterrupted": sum(not each["unknown"] for each in good),
        "first_batch_of_unknown_dose": sum(each["unknown"] for each in good),
        "with_pulses_in_flight": sum(each["in_flight"] for each in good),
        "earliest": min((each["at"] for each in good), default=None),
        "latest": max((each["at"] for each in good), default=None),
        "pulses_a_run": statistics.median(each["pulses"] for each in good) if good else None,
        "bad": dict(Counter(each["bad"] for each in found if each["bad"])),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of every protocol")
    parser.add_argument("--protocols", default=",".join(SETTINGS), help="which, by commas")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return 0
    generator = random.Random(options.seed)
    result = {name: campaign(name, options.kills, generator) for name in options.protocols.split(",")}
    if options.json:
        print(json.dumps(result))
    else:
        for name, found in result.items():
            told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items())
            print(f"{name:16} {told}")
    return 1 if any(found["bad"] for found in result.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
