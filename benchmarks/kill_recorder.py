"""Kills a recording process at its write calls and at random moments, then reads what is left.

A child records a small run with small chunks, so that the indices of HDF5 grow through their stages, and
prints an acknowledgement after every commit. `strace` kills it (SIGKILL) at its n-th write, truncation, rename
and removal, for n through the whole run, closing included; or, with `--full`, fails this and every later write
as a full disk does. With `--checkpoints` the run has some, which grow, and ends with results. What is left must
be no run at all, or a run that opens, holds everything acknowledged and nothing but what was recorded, and is
recovered into a file that xarray, ncdump and h5dump read. Linux only.

    python benchmarks/kill_recorder.py                  # every call, and 50 random moments
    python benchmarks/kill_recorder.py --every 25 --json
    python benchmarks/kill_recorder.py --full
    python benchmarks/kill_recorder.py --checkpoints
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import Outcome, RunWriter, layout, open_run, read_summary, recover, skeleton
from labctl.recording.checkpoint import read_checkpoint
from labctl.recording.verify import Verdict as Found
from labctl.recording.verify import verify
from labctl.steps import Result, Step, Variable

GEOMETRY = Geometry(10, 12, "1T1R RRAM")
DAC = Scale(1e-3, 0.0, 12, "V")
ADC = Scale(1e-7, 0.0, 12, "S")
START = 1.7e9
CALLS = ("pwrite64", "ftruncate", "rename", "unlink")
EXCHANGES = 30
"""Of two batches each; every third is followed by a read, each by a step."""
NO_PULSES = np.empty(0, np.uint16)


def cells_of(exchange: int, batch: int) -> np.ndarray:
    """The active set shrinks, so that rows fall anywhere in a chunk."""
    return np.arange(batch, GEOMETRY.cells - exchange, dtype=np.uint32)


def codes_of(exchange: int, cells: np.ndarray, salt: int) -> np.ndarray:
    return ((exchange * 31 + cells * 7 + salt) % 4095).astype(np.uint16)


def checkpoint_of(exchange: int) -> dict[str, np.ndarray]:
    return {"exchange": np.array(exchange), "weights": np.arange(exchange * 40, dtype=np.float32)}


def results() -> dict[str, Result]:
    confusion = np.arange(1200, dtype=np.uint32).reshape(30, 40)
    return {
        "confusion": Result(confusion, ("label", "predicted"), "how often"),
        "label": Result(np.arange(30) * 2, ("label",), "label"),
    }


def record(folder: Path, *, checkpoints: bool) -> None:
    """The child: records and says so."""
    skeleton._SLOT_CHUNK = 128
    layout.ROW_CHUNK = 4
    layout.SMALLEST_CHUNK = layout.LARGEST_CHUNK = 32
    variables = (
        Variable("active", "cells still active", dtype="u4"),
        Variable("last_reading", "last reading", ("row", "col"), unit="S"),
    )
    with RunWriter.create(
        folder / "run.h5",
        protocol="kill_test",
        title="A run to be killed",
        phases=("only",),
        variables=variables,
        geometry=GEOMETRY,
        dac=DAC,
        adc=ADC,
        started=START,
        provenance={"chip_serial": "KT1", "snapshot": {"instrument": {"idn": "x" * 100}}},
        checkpoints=checkpoints,
    ) as writer:
        say("created")
        for exchange in range(EXCHANGES):
            record_exchange(writer, exchange, checkpoints=checkpoints)
        ended = {"summary": {"exchanges": EXCHANGES, "text": "x" * 3000}, "snapshot_after": {"idn": "y" * 2000}}
        writer.close(Outcome.FINISHED, time=START + 99, arrays=results() if checkpoints else None, **ended)
    say("closed")


def record_exchange(writer: RunWriter, exchange: int, *, checkpoints: bool) -> None:
    batches = []
    for number in (0, 1):
        cells = cells_of(exchange, number)
        batches.append(PulseBatch(Operation.SET, cells, codes_of(exchange, cells, number), 1e-7, 1.2))
    writer.intend(batches, time=START + exchange)
    say("intended")
    readouts = []
    for batch in batches:
        codes = codes_of(exchange, batch.cells, 1000)
        readouts.append(Readout(batch.cells, codes[None], ADC, START + exchange, 1e-6))
    writer.complete(readouts)
    say("completed")
    if exchange % 3 == 0:
        writer.record_read(readouts[0])
        say("read")
    conductance = np.full((GEOMETRY.rows, GEOMETRY.cols), exchange, np.float32)
    checkpoint = checkpoint_of(exchange) if checkpoints and exchange % 2 else None
    step = Step("only", {"active": exchange}, {"last_reading": conductance}, checkpoint=checkpoint)
    writer.step(step, time=START + exchange, generator=np.random.default_rng(exchange))
    say("step")
    if checkpoint:
        say("checkpoint")


def say(what: str) -> None:
    os.write(1, f"{what}\n".encode())


def expected_rows() -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """(kind, cells, amplitude, reading) of each operation, in order."""
    for exchange in range(EXCHANGES):
        for number in (0, 1):
            cells = cells_of(exchange, number)
            yield (
                Operation.SET,
                cells,
                codes_of(exchange, cells, number),
                codes_of(exchange, cells, 1000),
            )
        if exchange % 3 == 0:
            cells = cells_of(exchange, 0)
            yield layout.READ, cells, NO_PULSES, codes_of(exchange, cells, 1000)


@dataclass(frozen=True)
class Mode:
    """full: a full disk instead of kills. checkpoints: the run has some, and results."""

    full: bool
    checkpoints: bool

    @property
    def calls(self) -> tuple[str, ...]:
        """That a fault can strike; by `write` comes the copy of the file that takes results."""
        return (*CALLS, "write") if self.checkpoints else CALLS


@dataclass(frozen=True)
class Verdict:
    """What one fault left. kind: `no run`, `readable`, or `BAD: ...`."""

    fault: str
    kind: str
    unsettled: int = 0


def examine(fault: str, folder: Path, said: Tally[str]) -> Verdict:
    """Judge what a child left in `folder`, given what it said."""
    path = folder / "run.h5"
    if not path.exists():
        return Verdict(fault, "BAD: acknowledged and gone" if said else "no run")
    try:
        unsettled = check_run(path, said)
        check_ending(path, said)
        recovered = folder / "recovered.h5"
        recover(path, recovered)
        check_run(recovered, said)
        check_ending(recovered, said)
        check_with_tools(recovered)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the finding
        return Verdict(fault, f"BAD: {type(error).__name__}: {error}")
    return Verdict(fault, "readable", unsettled)


def check_run(path: Path, said: Tally[str]) -> int:
    """Everything acknowledged is there, and what is there was recorded. Returns what is unsettled."""
    with open_run(path) as tree:
        operations = {name: column.values for name, column in tree["operations"].data_vars.items()}
        events = {name: column.values for name, column in tree["events"].data_vars.items()}
        steps, attributes = tree["steps"].sizes["step"], dict(tree.attrs)
    done = operations["state"] == layout.State.DONE
    require(steps >= said["step"], "a step is missing")
    require(done.sum() >= 2 * said["completed"] + said["read"], "a completed operation is missing")
    require(done.size >= 2 * said["intended"] + said["read"], "an intent is missing")
    require(not said["closed"] or attributes["outcome"] == "finished", "the outcome is missing")
    for row, (kind, cells, amplitude, reading) in zip(range(done.size), expected_rows(), strict=False):
        first = operations["first_event"][row]
        mine = slice(first, first + operations["events"][row])
        require(operations["kind"][row] == kind, f"operation {row} is another")
        require(np.array_equal(events["cell"][mine], cells), f"cells of operation {row}")
        if kind != layout.READ:
            require(np.allclose(events["amplitude"][mine], DAC.values(amplitude)), f"amplitudes of {row}")
        if done[row]:
            require(np.allclose(events["reading"][mine], ADC.values(reading)), f"readings of {row}")
    return int(attributes["unsettled"])


def check_ending(path: Path, said: Tally[str]) -> None:
    """The last checkpoint is one that was recorded, whole; results are there where the run has ended, or not at all."""
    found = verify(path)
    require(found.verdict is not Found.DAMAGED, f"verify: {found.findings}")
    summary = read_summary(path)
    with open_run(path) as tree:
        held = {str(name): each.values for name, each in tree["results"].variables.items()} if "results" in tree else {}
    if said["checkpoint"]:
        last = read_checkpoint(path)
        number = int(last["exchange"])
        require(number // 2 + 1 >= said["checkpoint"], "a checkpoint is missing")
        require(number < summary.steps, "a checkpoint of a step that is not there")
        require(np.array_equal(last["weights"], checkpoint_of(number)["weights"]), "the checkpoint is another")
        if summary.outcome is Outcome.FINISHED:
            require(held, "the results are missing")
    for name, values in held.items():
        require(np.array_equal(values, results()[name].values), f"the result {name} is another")


def check_with_tools(path: Path) -> None:
    """A recovered file is an ordinary one."""
    import xarray

    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        tree.load()
    for tool in ("ncdump", "h5dump"):
        if shutil.which(tool):
            subprocess.run([tool, path], check=True, capture_output=True)


def require(truth: object, what: str) -> None:
    if not truth:
        raise ValueError(what)


def child_command(folder: str, mode: Mode) -> list[str]:
    return [sys.executable, __file__, "--child", folder, *(["--checkpoints"] if mode.checkpoints else [])]


def count_calls(mode: Mode) -> Tally[str]:
    """The calls of a whole run that a fault can strike."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "strace.log"
        command = ["strace", "-f", "-o", str(log), "-e", f"trace={','.join(mode.calls)}", *child_command(folder, mode)]
        subprocess.run(command, check=True, capture_output=True)
        lines = log.read_text().splitlines()
    return Tally(call for line in lines for call in mode.calls if f" {call}(" in line)


def strike(call: str, number: int, mode: Mode) -> Verdict:
    """Kill at the `number`-th `call` of a run, or let it and all later ones find the disk full."""
    what = f"error=ENOSPC:when={number}+" if mode.full else f"signal=KILL:when={number}"
    with tempfile.TemporaryDirectory() as folder:
        command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{what}"]
        child = subprocess.run([*command, *child_command(folder, mode)], capture_output=True, text=True, check=False)
        fault = f"{call} {number}"
        # strace dies of what its child died of; on a full disk the child must end by itself, with its error.
        if child.returncode != (1 if mode.full else -9):
            return Verdict(fault, f"BAD: ended with {child.returncode}: {child.stderr[-300:]}")
        return examine(fault, Path(folder), Tally(child.stdout.split()))


def kill_at_random(seconds: float, mode: Mode) -> Verdict:
    """Kill `seconds` after the run was created."""
    with tempfile.TemporaryDirectory() as folder:
        with subprocess.Popen(child_command(folder, mode), stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            created = child.stdout.readline().split()
            time.sleep(seconds)
            child.kill()
            said = Tally(created + child.stdout.read().split())
        return examine(f"after {seconds:.4f} s", Path(folder), said)


def campaign(every: int, random_kills: int, mode: Mode) -> dict[str, object]:
    """Counts by verdict."""
    calls = count_calls(mode)
    faults = [(call, n) for call in mode.calls for n in range(1, calls[call] + 1, every if calls[call] > 20 else 1)]
    if mode.full:
        faults = [fault for fault in faults if fault[0] in ("pwrite64", "write")]
    verdicts = [strike(call, number, mode) for call, number in faults]
    generator = random.Random(1)
    verdicts += [kill_at_random(generator.uniform(0, 0.05), mode) for _ in range(random_kills)]
    return {
        "calls_in_a_run": dict(calls),
        "struck_at_a_call": len(faults),
        "killed_at_random": random_kills,
        "no_run_yet": sum(verdict.kind == "no run" for verdict in verdicts),
        "readable": sum(verdict.kind == "readable" for verdict in verdicts),
        "of_which_with_unknown_dose": sum(verdict.unsettled > 0 for verdict in verdicts),
        "bad": [f"{verdict.fault}: {verdict.kind}" for verdict in verdicts if verdict.kind.startswith("BAD")],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="strike at every n-th call")
    parser.add_argument("--random", type=int, default=50, help="kills at random moments")
    parser.add_argument("--full", action="store_true", help="a full disk instead of a kill")
    parser.add_argument("--checkpoints", action="store_true", help="a run that has some, and results")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        record(options.child, checkpoints=options.checkpoints)
        return 0
    result = campaign(options.every, 0 if options.full else options.random, Mode(options.full, options.checkpoints))
    if options.json:
        print(json.dumps(result))
    else:
        for name, found in result.items():
            print(f"{name:28} {found}")
    return 1 if result["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
