"""Writes a measurement made elsewhere as a run file, like one that labctl measured itself.

import_file(path, read_mapping(path), out) -> Imported
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl import __version__
from labctl.array import Geometry, PulseBatch, Readout, Scale
from labctl.errors import MappingError, RunError
from labctl.exchange.grids import Grids
from labctl.exchange.kinds import staged
from labctl.exchange.mapping import Mapping, format_of
from labctl.exchange.scales import VOLTS, codes_for, scale_for
from labctl.exchange.sources import open_source
from labctl.exchange.stages import Addresses, Reads, Stage, Staged
from labctl.provenance import source_state
from labctl.recording import Outcome, RunWriter, new_run_path

PROTOCOL = "import"
_BASE_VOLTAGE = 0.2
"""V that the scale of an imported run is for, where readings say theirs."""
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::([1-9]\d*))?")


@dataclass(frozen=True, slots=True)
class Imported:
    """What became a run. cells: that were chosen, of `cells_found`. notes: what was left out."""

    path: Path
    measurement: str
    chip_serial: str
    rows: int
    cols: int
    cells: int
    cells_found: int
    readings: int
    notes: tuple[str, ...]


def import_file(path: Path, mapping: Mapping, out: Path, *, select: str = "", command: str = "") -> Imported:
    """The measurement in the file at `path` as a new run file in the folder `out`.

    select: which of its cells, in the order of their addresses: `even`, `odd`, or START:STOP:STEP. Raises MappingError
    where the mapping does not fit the file.
    """
    source = open_source(path, mapping.file, format_of(mapping, path))
    shape = (mapping.array.rows, mapping.array.cols) if mapping.array else source.shape
    grids = Grids(source, mapping.cells, shape[1] if shape else None)
    started = _started(mapping, path)

    def sized(cells: Addresses) -> int:
        return math.prod(_shape(shape, grids.columns, cells))

    try:
        whole = staged(mapping, grids, sized, started)
    except MappingError as problem:
        raise MappingError(f"{path.name}: {problem}") from None
    rows, cols = _shape(shape, grids.columns, whole.cells)
    chosen = chosen_cells(whole.cells, select)
    kept = _within(whole, chosen, rows * cols)
    if not any(stage.reads for stage in kept.stages):
        raise MappingError(f"{path.name}: holds no reading of the cells chosen")
    provenance = _provenance(path, mapping, select, command)
    target = _new_path(out, mapping.chip)
    _write(target, kept, Geometry(rows, cols, mapping.technology), started, mapping, provenance, len(chosen))
    readings = sum(int(np.isfinite(reads.conductance).sum()) for stage in kept.stages for reads in stage.reads)
    return Imported(
        target, mapping.measurement, mapping.chip, rows, cols, len(chosen), len(whole.cells), readings, whole.notes
    )


def chosen_cells(cells: Addresses, select: str) -> Addresses:
    """Those of `cells` that `select` names. Raises MappingError."""
    found = _SLICE.fullmatch(select)
    if select in ("", "all"):
        chosen = cells
    elif select in ("even", "odd"):
        chosen = cells[("even", "odd").index(select) :: 2]
    elif found:
        chosen = cells[slice(*(int(part) if part else None for part in found.groups()))]
    else:
        raise MappingError(f"--select {select}: even, odd, or START:STOP:STEP of the cells in order, as in 0:1000")
    if not len(chosen):
        raise MappingError(f"--select {select}: leaves none of {len(cells)} cells")
    return chosen


def _shape(shape: tuple[int, int] | None, columns: int | None, cells: Addresses) -> tuple[int, int]:
    """Rows and columns of the array: as told, by the columns found, or nearly square."""
    needed = int(cells.max(initial=0)) + 1
    if shape is None:
        cols = columns or math.ceil(math.sqrt(needed))
        return -(-needed // cols), cols
    if needed > shape[0] * shape[1]:
        raise MappingError(f"$.array: {shape[0]} x {shape[1]} cells, but there is one of address {needed - 1}")
    return shape


def _within(whole: Staged, chosen: Addresses, count: int) -> Staged:
    """The measurement of the `chosen` cells alone."""
    places = np.zeros(count, bool)
    places[chosen] = True
    stages = []
    for stage in whole.stages:
        reads = tuple(kept for each in stage.reads if (kept := each.within(places)) is not None)
        maps = {name: np.where(places, values, _nothing(values)) for name, values in stage.maps.items()}
        if reads or stage.maps or not stage.reads:
            stages.append(Stage(stage.phase, reads, stage.values, maps, stage.time))
    return Staged(whole.phases, whole.variables, stages, chosen, whole.notes)


def _nothing(values: NDArray[Any]) -> Any:
    """What a map holds at cells that it is not of: as the protocols leave it."""
    if values.dtype.kind == "f":
        return values.dtype.type(np.nan)
    return values.dtype.type(0 if values.dtype == np.uint8 else np.iinfo(values.dtype).max)


def _write(
    path: Path,
    kept: Staged,
    geometry: Geometry,
    started: float,
    mapping: Mapping,
    provenance: dict[str, Any],
    cells: int,
) -> None:
    at_base = [reads.conductance / _factor(reads) for stage in kept.stages for reads in stage.reads]
    adc = scale_for([end for each in at_base for end in (np.nanmin(each), np.nanmax(each))])
    writer = RunWriter.create(
        path,
        protocol=PROTOCOL,
        title=f"Imported measurement: {mapping.measurement}",
        phases=kept.phases,
        variables=kept.variables,
        geometry=geometry,
        dac=VOLTS,
        adc=adc,
        started=started,
        provenance=provenance,
    )
    with writer:
        for stage in kept.stages:
            for reads in stage.reads:
                _record(writer, reads, adc, started)
            writer.step(stage.step((geometry.rows, geometry.cols)), time=started + stage.time)
        summary = {"measurement": mapping.measurement, "cells": cells, "notes": kept.notes}
        writer.close(Outcome.FINISHED, summary=summary)


def _record(writer: RunWriter, reads: Reads, adc: Scale, started: float) -> None:
    factor = _factor(reads)
    codes = codes_for(reads.conductance / factor, adc)
    scale = Scale(adc.step * factor, adc.offset * factor, adc.bits, adc.unit) if factor != 1 else adc
    cells = reads.cells.astype(np.uint32)
    readout = Readout(cells, codes, scale, started + reads.time, reads.seconds_per_cell)
    if reads.pulse is None:
        writer.record_read(readout, reads.voltage)
        return
    operation, amplitude, width, gate = reads.pulse
    batch = PulseBatch(operation, cells, np.full(len(cells), VOLTS.codes(amplitude)), width, gate)
    writer.intend([batch], time=started + reads.time)
    writer.complete([readout])


def _factor(reads: Reads) -> float:
    """What readings on the run's scale are multiplied by to be conductances at their own voltage."""
    return 1.0 if reads.voltage is None else _BASE_VOLTAGE / abs(reads.voltage)


def _started(mapping: Mapping, path: Path) -> float:
    if mapping.started is None:
        return path.stat().st_mtime if path.is_file() else 0.0
    moment = mapping.started
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _provenance(path: Path, mapping: Mapping, select: str, command: str) -> dict[str, Any]:
    plain = msgspec.to_builtins(mapping, enc_hook=float)
    temperature = {} if mapping.temperature is None else {"temperature": float(mapping.temperature)}
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "labctl_version": __version__,
        **source_state(),
        "chip_serial": mapping.chip,
        "measurement": mapping.measurement,
        "operator": mapping.operator,
        "imported_from": path.name,
        "imported_sha256": digest,
        "licence": mapping.licence,
        "source": mapping.source,
        "select": select,
        "command": command,
        "wall_time_start": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "mapping": plain,
        "snapshot_before": {"imported": True, **temperature},
    }


def _new_path(out: Path, serial: str) -> Path:
    try:
        return new_run_path(out, PROTOCOL, serial, time.time())
    except OSError as problem:
        raise RunError(f"{out}: no run can be recorded there: {problem.strerror or problem}") from None
