"""What a run of a hundred million events costs to open, to sum up, and to ask for one cell's history.

python benchmarks/big_run.py
python benchmarks/big_run.py --events 10000000 --json

Two files: one as programming writes it (passes over a 512 x 512 array, of ever fewer cells), one as endurance does
(64 cells a batch, so 1.5 million operations). Every figure is of a process of its own, so of cold caches of HDF5,
but of libraries that have opened a small run before, and of a file the system still has in memory. The ratio is
against a numpy memory map of the same column, written as a plain file, which is searched for the cell and no more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from recording import ADC, start

from labctl.array import Geometry, Operation, PulseBatch, Readout
from labctl.recording import Outcome
from labctl.steps import Step

GEOMETRY = Geometry(512, 512, "1T1R RRAM")
CYCLED = 64
BATCHES_A_MESSAGE = 512
LANDING = 0.08
"""Share of the active cells that end in one pass."""
FEWEST = 2000
"""Active cells below which another round over the whole array begins."""
CELLS = (0, 77_777, 131_072, 200_001, 262_143)
_TIMED = """
import json, resource, sys, time
path, cell, small = sys.argv[1], int(sys.argv[2]), sys.argv[3]
{imports}
before, began = time.process_time(), time.perf_counter()
{work}
taken = [time.perf_counter() - began, time.process_time() - before]
print(json.dumps([*taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, answer]))
"""
_WARM = (
    "import labctl\nfrom labctl.analysis import cell_history\nlabctl.open_run(small).close()\ncell_history(small, 0)"
)
WORK = {
    "open_run": (_WARM, "labctl.open_run(path)\nanswer = 0"),
    "read_summary": (
        "from labctl.recording import read_summary\nread_summary(small)",
        "answer = read_summary(path).events",
    ),
    "cell_history": (_WARM, "answer = cell_history(path, cell).sizes['event']"),
    "memmap_scan": (
        "import numpy as np",
        "answer = len(np.flatnonzero(np.memmap(path, np.uint32, 'r') == cell))",
    ),
}


def programming(events: int) -> Iterator[list[np.ndarray]]:
    """The cells of each pass, one a message."""
    rng = np.random.default_rng(1)
    written = 0
    while True:
        active = np.arange(GEOMETRY.cells, dtype=np.uint32)
        while len(active) > FEWEST:
            if written >= events:
                return
            yield [active]
            written += len(active)
            active = active[rng.random(len(active)) > LANDING]


def endurance(events: int) -> Iterator[list[np.ndarray]]:
    """Always the same 64 cells, spread over the array; as many batches a message as a board takes."""
    cells = np.linspace(0, GEOMETRY.cells - 1, CYCLED).astype(np.uint32)
    for _ in range(-(-events // (CYCLED * BATCHES_A_MESSAGE))):
        yield [cells] * BATCHES_A_MESSAGE


def write(path: Path, passes: Iterator[list[np.ndarray]]) -> tuple[int, int]:
    """Operations and events of the run written."""
    now, operations, events = 1.7e9, 0, 0
    with start(path, GEOMETRY) as writer:
        for number, message in enumerate(passes):
            kind = Operation.SET if number % 2 else Operation.RESET
            batches = [PulseBatch(kind, cells, (cells % 4095).astype(np.uint16), 1e-7, 1.2) for cells in message]
            writer.intend(batches, time=now)
            writer.complete([Readout(batch.cells, batch.amplitude[None], ADC, now, 1e-6) for batch in batches])
            now += 1e-6 * sum(map(len, message))
            operations, events = operations + len(message), events + sum(map(len, message))
            writer.step(Step("only", {"active": len(message[-1])}), time=now)
        writer.close(Outcome.FINISHED, time=now)
    return operations, events


def timed(work: tuple[str, str], path: Path, cell: int, small: Path) -> tuple[float, float, float, int]:
    """Seconds by the clock and of this processor, peak resident MB, and the answer, in a process of its own."""
    code = _TIMED.format(imports=work[0], work=work[1])
    command = [sys.executable, "-c", code, str(path), str(cell), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, cpu, memory, answer = json.loads(done.stdout)
    return taken, cpu, memory, answer


def figures(folder: Path, kind: str, events: int) -> dict[str, float]:
    path, passes = folder / f"{kind}.h5", {"programming": programming, "endurance": endurance}[kind]
    began = time.perf_counter()
    operations, written = write(path, passes(events))
    found = {"operations": operations, "events": written, "write_s": time.perf_counter() - began}
    cells = CELLS if kind == "programming" else tuple(int(each) for each in next(endurance(1))[0][[0, 20, 40, 60, 63]])
    return found | asked(path, cells)


def asked(path: Path, cells: Sequence[int]) -> dict[str, float]:
    """What the file costs to open, to sum up, and to ask for the history of `cells`: medians."""
    plain, small = path.with_suffix(".cells"), path.with_name("small.h5")
    copy_cells(path, plain)
    small.unlink(missing_ok=True)
    write(small, programming(1))
    found: dict[str, float] = {"file_MB": path.stat().st_size / 1e6}
    rows = {}
    for name, work in WORK.items():
        runs = [timed(work, plain if name == "memmap_scan" else path, cell, small) for cell in cells]
        found[f"{name}_s"], found[f"{name}_cpu_s"] = (statistics.median(run[part] for run in runs) for part in (0, 1))
        found[f"{name}_peak_MB"] = max(run[2] for run in runs)
        rows[name] = [run[3] for run in runs]
    if rows["cell_history"] != rows["memmap_scan"]:
        raise SystemExit(f"{path}: the histories and the plain column disagree")
    found["rows_of_one_cell"] = statistics.median(rows["cell_history"])
    found["cell_history_to_memmap_scan"] = found["cell_history_s"] / found["memmap_scan_s"]
    return found


def copy_cells(path: Path, plain: Path) -> None:
    """The column `cell` as a plain file."""
    import h5py

    with h5py.File(path) as file, plain.open("wb") as out:
        column = file["events/cell"]
        for first in range(0, len(column), 1 << 22):
            out.write(column[first : first + (1 << 22)].tobytes())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--kind", choices=("programming", "endurance"), action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = {
            kind: figures(Path(name), kind, options.events) for kind in options.kind or ("programming", "endurance")
        }
    if options.json:
        print(json.dumps(found))
        return 0
    for kind, results in found.items():
        print(kind)
        for measure, figure in results.items():
            print(f"  {measure:32} {figure:14,.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
