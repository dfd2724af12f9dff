"""How long it takes to find runs among thousands, against reading the attributes of every file.

python benchmarks/catalogue.py
python benchmarks/catalogue.py --runs 50000 --json
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import multiprocessing
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import Outcome, RunWriter
from labctl.recording.catalogue import Catalogue, Query, tag_run
from labctl.recording.catalogue.cache import NAME
from labctl.steps import Step, Variable

DAC, ADC = Scale(1e-3, 0.0, 12, "V"), Scale(1e-7, 0.0, 12, "S")
GEOMETRY = Geometry(16, 16, "1T1R RRAM")
FIRST_DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PROTOCOLS = {"write_verify": "programming", "read": "map", "retention": "retention", "endurance": "endurance"}
OUTCOMES = (*[Outcome.FINISHED] * 20, *[Outcome.INTERRUPTED] * 2, Outcome.FAILED, Outcome.KILLED)
SERIAL = "R40-0000"
SETTINGS = {
    "tolerance": 1e-6,
    "set": {"start": 1.2, "stop": 2.5, "step": 0.05, "width": 1e-7, "gate": 2.2},
    "max_pulses": 200,
} | {
    "reset": {"start": 1.4, "stop": 3.0, "step": 0.05, "width": 1e-7, "gate": 2.5},
    "confirm": {"needed": 2, "reads": 3},
    "reverify": [0.0, 1.0],
    "hold": 5,
}
OPERATORS = ("A. Lovelace", "Lise Meitne", "Grace Hoppe", "C. S. Wu   ")
REPETITIONS = 3
SHARED = "shared.h5"

QUERIES: dict[str, tuple[str, ...]] = {
    "everything": (),
    "one chip": ("--chip", "R40-0007"),
    "protocol and outcome": ("--protocol", "write-verify", "--outcome", "failed"),
    "ten days": ("--since", "2026-02-01", "--until", "2026-02-10"),
    "setting": ("--where", "tolerance<=1uS", "--where", "set.stop>2.5V"),
    "result": ("--where", "fraction_in_window>=99%"),
    "free text": ("lovelace", "retention"),
}


def record(path: Path, protocol: str, outcome: Outcome) -> None:
    """A small run that really was recorded; of a killed one, the file as a kill leaves it."""
    live = path.with_name("live.h5") if outcome is Outcome.KILLED else path
    cells = np.arange(GEOMETRY.cells, dtype=np.uint32)
    codes = np.full(GEOMETRY.cells, 2000, np.uint16)
    with RunWriter.create(
        live,
        protocol=protocol,
        title=f"A {protocol} run",
        phases=("only",),
        variables=(Variable("target", "target conductance", ("row", "col"), unit="S"),),
        geometry=GEOMETRY,
        dac=DAC,
        adc=ADC,
        started=FIRST_DAY.timestamp(),
        provenance=provenance(protocol),
    ) as writer:
        batch = PulseBatch(Operation.SET, cells, codes, 1e-7, 1.2)
        for turn in range(3):
            writer.intend([batch], time=FIRST_DAY.timestamp() + turn)
            writer.complete([Readout(cells, codes[None], ADC, FIRST_DAY.timestamp() + turn, 1e-6)])
            writer.step(Step("only"), time=FIRST_DAY.timestamp() + turn + 1)
        if outcome is Outcome.KILLED:
            shutil.copy(live, path)
        writer.close(outcome, summary={"fraction_in_window": 0.985, "pulses": 768, "elapsed_s": 3.0})
    if live != path:
        live.unlink()


def provenance(protocol: str) -> dict[str, Any]:
    return {
        "labctl_version": "0.1.0",
        "labctl_commit": "0" * 40,
        "labctl_dirty": False,
        "chip_serial": SERIAL,
        "measurement": PROTOCOLS[protocol],
        "operator": OPERATORS[0],
        "bench_name": "benchmark",
        "array": "main",
        "seed": 0,
        "command": f"labctl characterize {protocol}",
        "host": "bench-pc",
        "wall_time_start": FIRST_DAY.isoformat(timespec="seconds"),
        "settings": SETTINGS,
        "packages": {"python": "3.11.7", "numpy": "2.4.6", "h5py": "3.16.0"},
        "snapshot_before": {"board": {"idn": "labctl,TB-512,R40-0000,1.0", "OUTPut:STATe": "0"}},
    }


def make_runs(folder: Path, count: int) -> None:
    """`count` run files: recorded ones, copied, each with its own chip, time, operator, settings and result.

    Those are written over the bytes of the copy, at the same length: HDF5 keeps no checksums of values.
    """
    templates = {}
    for protocol, outcome in itertools.product(PROTOCOLS, dict.fromkeys(OUTCOMES)):
        path = folder / "template.h5"
        record(path, protocol, outcome)
        templates[protocol, outcome] = path.read_bytes()
        path.unlink()
    chance = random.Random(1)
    for number in range(count):
        protocol, outcome = chance.choice(list(PROTOCOLS)), chance.choice(OUTCOMES)
        moment, serial = FIRST_DAY + dt.timedelta(minutes=30 * number), f"R40-{chance.randrange(50):04}"
        own = {
            SERIAL: serial,
            FIRST_DAY.isoformat(timespec="seconds"): moment.isoformat(timespec="seconds"),
            OPERATORS[0]: chance.choice(OPERATORS),
            '"stop":2.5': f'"stop":{chance.choice((2.5, 2.6, 2.8))}',
            '"tolerance":1e-6': f'"tolerance":{chance.choice(("5e-7", "1e-6", "2e-6"))}',
            "0.985": f"{chance.uniform(0.9, 0.999):.3f}",
        }
        content = templates[protocol, outcome]
        for before, after in own.items():
            assert len(before) == len(after)
            content = content.replace(before.encode(), after.encode())
        within = folder / f"{moment:%Y-%m}"
        within.mkdir(exist_ok=True)
        name = f"{moment:%Y%m%dT%H%M%SZ}_{protocol.replace('_', '-')}_{serial}.h5"
        (within / name).write_bytes(content)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def read_attributes(paths: Sequence[Path]) -> None:
    """What a search without a catalogue has to do for each file, at the least."""
    for path in paths:
        with h5py.File(path, "r", swmr=True) as file:
            dict(file.attrs)


def labctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a person starts it."""
    command = [sys.executable, "-m", "labctl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def listing(folder: Path) -> list[bytes]:
    """Every answer the catalogue can give, to be compared."""
    with Catalogue(folder) as catalogue:
        return [msgspec.json.encode(entry, enc_hook=str) for entry in catalogue.find()]


def measure(folder: Path, count: int) -> dict[str, float]:
    """Seconds of the first look, of later ones, and of questions, in this process and in one of their own."""
    result: dict[str, float] = {"runs": count}
    result["first_index_s"] = seconds(lambda: Catalogue(folder))
    paths = sorted(folder.rglob("*.h5"))
    result["attributes_one_by_one_s"] = seconds(lambda: read_attributes(paths))
    result["cache_MB"] = (folder / NAME).stat().st_size / 1e6

    def best(work: Callable[[], object]) -> float:
        return statistics.median(seconds(work) for _ in range(REPETITIONS))

    result["open_again_s"] = best(lambda: Catalogue(folder))
    result["open_and_list_s"] = best(lambda: Catalogue(folder).find())
    result["labctl_list_s"] = best(lambda: labctl("runs", "list", str(folder)))
    result["labctl_list_newest_20_s"] = best(lambda: labctl("runs", "list", str(folder), "--limit", "20"))
    for name, options in QUERIES.items():
        command = ("runs", "find", *options, "--folder", str(folder), "--paths")
        key = name.replace(" ", "_")
        result[f"labctl_find_{key}_s"] = best(lambda command=command: labctl(*command))
        result[f"found_{key}"] = len(labctl(*command).stdout.splitlines())
    (folder / NAME).unlink()
    before = listing(folder)
    (folder / NAME).write_bytes(random.Random(2).randbytes(1 << 20))
    result["same_after_deleted_and_spoilt_cache"] = float(before == listing(folder) == listing(folder))
    return result


def add_runs(folder: str, number: int, count: int) -> None:
    """What a bench does: record runs, and tag each."""
    for turn in range(count):
        path = Path(folder) / f"writer{number}_{turn:03}.h5"
        record(path, "read", Outcome.FINISHED)
        tag_run(path, add=(f"writer-{number}", "new"))
        tag_run(Path(folder) / SHARED, add=(f"of-{number}-{turn}",))


def crowd(folder: Path, writers: int = 2, count: int = 50) -> dict[str, float]:
    """Two processes record and tag while this one lists; afterwards nothing may be missing or doubled."""
    record(folder / SHARED, "read", Outcome.FINISHED)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_runs, args=(str(folder), number, count)) for number in range(writers)]
    for process in processes:
        process.start()
    looks: list[int] = []
    while any(process.is_alive() for process in processes):
        looks.append(len(Catalogue(folder).find(Query(tags=("new",)))))
    for process in processes:
        process.join()
    with Catalogue(folder) as catalogue:
        found = catalogue.find(Query(tags=("new",)))
        (shared,) = (entry for entry in catalogue.find() if entry.path.name == SHARED)
    return {
        "writers": writers,
        "looks_meanwhile": len(looks),
        "looks_never_go_back": float(looks == sorted(looks)),
        "runs_added": writers * count,
        "runs_found_with_their_tags": len({entry.path for entry in found}),
        "tags_on_one_run_by_both": len(shared.tags),
        "damaged": len(catalogue.damaged),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_runs(folder, options.runs)
        result = measure(folder, options.runs) | crowd(folder)
    if options.json:
        print(json.dumps(result))
    else:
        for measured, figure in result.items():
            print(f"{measured:36} {figure:10.4g}")
    wanted = result["writers"] * 50
    right = result["same_after_deleted_and_spoilt_cache"] and result["runs_found_with_their_tags"] == wanted
    return 0 if right and result["tags_on_one_run_by_both"] == wanted and not result["damaged"] else 1


if __name__ == "__main__":
    sys.exit(main())
