"""Run files of one chip with just the pulses, readings and maps that a test wants of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.recording import Outcome, RunWriter, State
from labctl.recording.layout import AskedBy
from labctl.steps import Step, Variable

ROWS, COLS = 8, 16
CELLS = ROWS * COLS
DAC = Scale(1e-3, 0.0, 12, "V")
ADC = Scale(1e-7, 0.0, 12, "S")
START = 1_700_000_000.0
OUTCOMES = {"not_targeted": 0, "in_window": 1, "unreached": 2, "never_formed": 3, "stuck_low": 4, "stuck_high": 5}
OUTCOMES |= {"over_stressed": 6, "noise_limited": 7, "excluded": 8, "unfinished": 9}
NOT_FAILED = 2**32 - 1

_MAPS = {
    "forming_voltage": Variable("forming_voltage", "forming voltage", ("row", "col"), unit="V"),
    "outcome": Variable("outcome", "how it ended", ("row", "col"), "u1", flags=OUTCOMES),
    "failed_at": Variable("failed_at", "cycle", ("row", "col"), "u4"),
}


@dataclass(frozen=True)
class Pulse:
    """One batch: `conductance` in S is what it reads after it, None where it is not read; state: what became of it."""

    operation: Operation
    cells: Iterable[int]
    conductance: float | None = None
    volts: float = 2.0
    width: float = 1e-7
    state: State = State.DONE


def write_run(
    path: Path,
    *pulses: Pulse,
    maps: Mapping[str, np.ndarray] | None = None,
    reads: Mapping[int, float] | None = None,
    rereads: Mapping[int, float] | None = None,
    day: int = 1,
    outcome: Outcome | None = Outcome.FINISHED,
    shape: tuple[int, int] = (ROWS, COLS),
    **attributes: Any,
) -> Path:
    """A run of chip C-1 on that day of a month. reads: cell to S, read at the end; rereads: after that, as resuming
    finds the cells. outcome None: as a kill leaves it, which may be with pulses that are INTENDED."""
    written = path.with_name(f"{path.name}.written")
    writer = RunWriter.create(
        written,
        protocol="made_up",
        title="Made up",
        phases=("forming", "done"),
        variables=tuple(_MAPS[name] for name in maps or ()),
        geometry=Geometry(*shape, "1T1R RRAM"),
        dac=DAC,
        adc=ADC,
        started=START + day,
        provenance={"chip_serial": "C-1", "wall_time_start": f"2026-10-{day:02}T12:00:00+0000", **attributes},
    )
    time = START + day
    in_flight = [each for each in pulses if each.state is State.INTENDED]
    for each in pulses:
        if each not in in_flight:
            time = _give(writer, each, time)
    for found, by in ((reads, AskedBy.PROTOCOL), (rereads, AskedBy.REREAD)):
        if found:
            where = np.array(sorted(found), np.uint32)
            with writer.asking(by):
                writer.record_read(Readout(where, ADC.codes([[found[int(each)] for each in where]]), ADC, time, 1e-6))
    given = {name: np.asarray(values).reshape(shape) for name, values in (maps or {}).items()}
    writer.step(Step("done", maps=given), time=time + 1)
    if outcome is None:
        for each in in_flight:
            _give(writer, each, time)
        shutil.copy(written, path)
    writer.close(outcome or Outcome.FAILED, time=time + 1, summary={"elapsed_s": 30.0})
    if outcome is None:
        written.unlink()
    else:
        written.replace(path)
    return path


def flat(values: Mapping[int, float], otherwise: float, dtype: str = "f4") -> np.ndarray:
    """(CELLS,) of these values, `otherwise` elsewhere."""
    found = np.full(CELLS, otherwise, dtype)
    for cell, value in values.items():
        found[cell] = value
    return found


def _give(writer: RunWriter, pulse: Pulse, time: float) -> float:
    cells = np.array(list(pulse.cells), np.uint32)
    amplitude = np.full(len(cells), round(pulse.volts / DAC.step), np.uint16)
    writer.intend([PulseBatch(pulse.operation, cells, amplitude, pulse.width, 1.5)], time=time)
    if pulse.state is State.INTENDED:
        return time
    if pulse.state is not State.DONE:
        writer.fail([pulse.state])
        return time
    if pulse.conductance is None:
        writer.complete()
        return time
    codes = ADC.codes(np.full((1, len(cells)), pulse.conductance))
    writer.complete([Readout(cells, codes, ADC, time, 1e-6)])
    return time + 1e-6 * len(cells)
