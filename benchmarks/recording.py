"""What recording costs, as ratios against plain files written in the same run.

python benchmarks/recording.py
python benchmarks/recording.py --rows 1024 --cols 1024 --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import Outcome, RunWriter, open_run, read_summary, recover
from labctl.steps import Step, Variable

DAC = Scale(1e-3, 0.0, 12, "V")
ADC = Scale(1e-7, 0.0, 12, "S")
ITERATIONS = 20
SMALL_OPERATIONS = 3000
REPETITIONS = 5


def start(path: Path, geometry: Geometry, fsync: bool = False) -> RunWriter:
    return RunWriter.create(
        path,
        protocol="benchmark",
        title="What recording costs",
        phases=("only",),
        variables=(Variable("active", "cells still active", dtype="u4"),),
        geometry=geometry,
        dac=DAC,
        adc=ADC,
        started=1.7e9,
        provenance={"chip_serial": "B1"},
        fsync=fsync,
    )


def exchange(cells: int) -> tuple[PulseBatch, Readout]:
    where = np.arange(cells, dtype=np.uint32)
    codes = (where % 4095).astype(np.uint16)
    return PulseBatch(Operation.SET, where, codes, 1e-7, 1.2), Readout(where, codes[None], ADC, 1.7e9, 1e-6)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def write_raw(path: Path, batch: PulseBatch, readout: Readout) -> None:
    with path.open("wb") as file:
        for _ in range(ITERATIONS):
            for column in (batch.cells, batch.amplitude, readout.codes):
                file.write(column.data)


def write_numpy(path: Path, batch: PulseBatch, readout: Readout) -> None:
    with path.open("wb") as file:
        for _ in range(ITERATIONS):
            for column in (batch.cells, batch.amplitude, readout.codes):
                np.save(file, column)


def write_run(writer: RunWriter, batch: PulseBatch, readout: Readout) -> None:
    for _ in range(ITERATIONS):
        writer.intend([batch], time=1.7e9)
        writer.complete([readout])
        writer.step(Step("only", {"active": 1}), time=1.7e9)


def seconds_in_run(path: Path, geometry: Geometry, batch: PulseBatch, readout: Readout, fsync: bool) -> float:
    """Without creating and closing the file, which `life_of_a_file` times."""
    with start(path, geometry, fsync) as writer:
        taken = seconds(lambda: write_run(writer, batch, readout))
        writer.close(Outcome.FINISHED)
    return taken


def whole_array(folder: Path, geometry: Geometry) -> dict[str, float]:
    """Median MB/s of the same bytes, taken in turns, and the run file's ratios against the others, of size too."""
    batch, readout = exchange(geometry.cells)
    ways: dict[str, Callable[[Path], float]] = {
        "raw_write": lambda path: seconds(lambda: write_raw(path, batch, readout)),
        "numpy_save": lambda path: seconds(lambda: write_numpy(path, batch, readout)),
        "run_file": lambda path: seconds_in_run(path, geometry, batch, readout, fsync=False),
        "run_file_fsync": lambda path: seconds_in_run(path, geometry, batch, readout, fsync=True),
    }
    megabytes = ITERATIONS * geometry.cells * 8 / 1e6
    rates: dict[str, list[float]] = {name: [] for name in ways}
    sizes: dict[str, int] = {}
    for _ in range(REPETITIONS):
        for name, timed in ways.items():
            path = folder / f"{name}.h5"
            rates[name].append(megabytes / timed(path))
            sizes[name] = path.stat().st_size
            path.unlink()
    result = {f"{name}_MB_s": statistics.median(measured) for name, measured in rates.items()}
    result["run_file_to_raw_write"] = result["run_file_MB_s"] / result["raw_write_MB_s"]
    result["run_file_to_numpy_save"] = result["run_file_MB_s"] / result["numpy_save_MB_s"]
    result["bytes_to_numpy_save"] = sizes["run_file"] / sizes["numpy_save"]
    return result


def small_operations(folder: Path, geometry: Geometry) -> dict[str, float]:
    """Microseconds of one intent and outcome, read and step of 4 cells; ratio against two plain writes."""
    batch, readout = exchange(4)
    path = folder / "small.h5"

    def exchanges() -> None:
        for _ in range(SMALL_OPERATIONS):
            writer.intend([batch], time=1.7e9)
            writer.complete([readout])

    def reads() -> None:
        for _ in range(SMALL_OPERATIONS):
            writer.record_read(readout)

    def steps() -> None:
        for _ in range(SMALL_OPERATIONS):
            writer.step(Step("only", {"active": 1}), time=1.7e9)

    def plain() -> None:
        for _ in range(2 * SMALL_OPERATIONS):
            os.write(file.fileno(), batch.cells.data)

    each = 1e6 / SMALL_OPERATIONS
    with start(path, geometry) as writer:
        result = {f"{work.__name__}_us": seconds(work) * each for work in (exchanges, reads, steps)}
        writer.close(Outcome.FINISHED)
    with (folder / "plain").open("wb", buffering=0) as file:
        result["two_plain_writes_us"] = seconds(plain) * each
    return result


def life_of_a_file(folder: Path, geometry: Geometry) -> dict[str, float]:
    """Milliseconds to create, close, list, open and recover a run of whole-array steps."""
    path, result = folder / "life.h5", {}
    batch, readout = exchange(geometry.cells)
    began = time.perf_counter()
    writer = start(path, geometry)
    result["create_ms"] = (time.perf_counter() - began) * 1e3
    for _ in range(ITERATIONS):
        writer.intend([batch])
        writer.complete([readout])
    result["close_ms"] = seconds(lambda: writer.close(Outcome.FINISHED)) * 1e3
    result["read_summary_ms"] = seconds(lambda: read_summary(path)) * 1e3
    open_run(path).close()  # xarray's import apart
    result["open_run_ms"] = seconds(lambda: open_run(path).close()) * 1e3
    result["recover_ms"] = seconds(lambda: recover(path, folder / "recovered.h5")) * 1e3
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--cols", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    geometry = Geometry(options.rows, options.cols, "1T1R RRAM")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = whole_array(folder, geometry) | small_operations(folder, geometry) | life_of_a_file(folder, geometry)
    if options.json:
        print(json.dumps(result))
    else:
        for measure, figure in result.items():
            print(f"{measure:28} {figure:10.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
