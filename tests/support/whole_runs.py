"""A run file with a bit of everything it can hold: finished, live, or left by a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import Outcome, RunWriter, State
from labctl.steps import Step, Variable

GEOMETRY = Geometry(8, 16, "1T1R RRAM")
DAC = Scale(1e-3, 0.0, 12, "V")
ADC = Scale(1e-7, -2.5e-6, 12, "S")
START = 1_700_000_000.125
CELLS = np.arange(5, dtype=np.uint32)
NOT_READ = 65535
COUNTS = {"in_window": 1, "unreached": 2}


def start_whole_run(path: Path) -> RunWriter:
    """A run of reads (at the array's voltage, and at another), pulses of every state, two steps, maps and samples."""
    writer = RunWriter.create(
        path,
        protocol="write_verify",
        title="Program, verify",
        phases=("initial read", "program"),
        variables=(
            Variable("active", "cells still active", dtype="u4", fill=2**32 - 1),
            Variable("rms_error", "root mean square of the error", unit="S"),
            Variable("target", "target conductance", ("row", "col"), unit="S"),
            Variable("pulses_per_cell", "pulses", ("row", "col"), dtype="u2"),
            Variable("result", "how it ended", ("row", "col"), dtype="u1", flags=COUNTS),
        ),
        geometry=GEOMETRY,
        dac=DAC,
        adc=ADC,
        started=START,
        provenance={
            "chip_serial": "C-7",
            "operator": "Jürgen, of lab 3",
            "labctl_dirty": True,
            "settings": {"tolerance": 1e-6, "target": {"shape": [8, 16]}},
            "snapshot": {"board": {"idn": "A,B,C,D"}},
        },
        auxiliaries={"stage_temperature": "K"},
        arrays={"target": np.full((8, 16), 2e-5), "cells": np.eye(8, 16, dtype=bool), "levels": np.arange(3.0)},
    )
    codes = np.array([[2000, 2001, NOT_READ, ADC.top, 2004]], np.uint16)
    writer.record_read(Readout(CELLS, codes, ADC, START, 1.13e-6))
    half = replace(ADC, step=ADC.step * 2, offset=ADC.offset * 2)
    writer.record_read(Readout(CELLS, np.tile(codes, (2, 1)), half, START + 1, 1.13e-6), 0.1)
    writer.sample({"stage_temperature": 300.25}, time=START + 0.5)
    writer.step(Step("initial read", {"active": 5}), time=START + 1)
    for number, outcome in enumerate((State.DONE, State.UNKNOWN_DOSE, State.NOT_APPLIED)):
        batch = _batch(1000 + 100 * number)
        writer.intend([batch], time=START + 2 + number, sequences=[number])
        if outcome is State.DONE:
            writer.complete([Readout(CELLS, codes, ADC, START + 2, 1e-6)])
        else:
            writer.fail([outcome])
    target = np.full((8, 16), np.nan, np.float32)
    target[0] = np.linspace(1e-6, 4e-5, 16)
    counts = np.arange(128, dtype=np.uint16).reshape(8, 16)
    counts[7] = 65535
    result = np.full((8, 16), 255, np.uint8)
    result[:2] = 1
    maps = {"target": target, "pulses_per_cell": counts, "result": result}
    writer.step(Step("program", {"rms_error": 1.25e-6}, maps), time=START + 6)
    return writer


def write_whole_run(path: Path) -> Path:
    """The same, finished."""
    with start_whole_run(path) as writer:
        writer.close(Outcome.FINISHED, time=START + 7, summary={"fraction": 0.75}, message="done, all of it")
    return path


def write_killed_run(path: Path) -> Path:
    """The same, killed with two batches under way that nobody can say the outcome of."""
    subprocess.run([sys.executable, __file__, str(path)], check=False)
    return path


def _batch(code: int) -> PulseBatch:
    return PulseBatch(Operation.SET, CELLS, (code + CELLS).astype(np.uint16), 1e-7, 1.2)


if __name__ == "__main__":
    start_whole_run(Path(sys.argv[1])).intend([_batch(7), _batch(8)], time=START + 8)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
