"""Everything that was ever done to one cell in a run, from the columns of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.recording.layout import Commit, Outcome, State, is_associative
from labctl.recording.raw import RawColumn, RawFile
from labctl.recording.reader import opened, text, whole

Floats = NDArray[np.float64]
Cell: TypeAlias = "int | tuple[int, int]"
"""A flat index, or (row, col)."""


@dataclass(frozen=True, slots=True)
class CellEvents:
    """The pulses and readings of one cell, (n,) each, oldest first.

    attributes: of the file. row: in `events`. operation: row in `operations`. kind, state: their codes
    (`layout.KINDS`, `layout.State`). start: s since 1970, when its operation began; turn: s from there to the cell's
    own. amplitude: V, NaN of a read. reading: S, NaN where not read. saturated: whether the reading is at the
    converter's top. width: s, gate: V; NaN of a read.
    """

    attributes: Mapping[str, Any]
    row: NDArray[np.int64]
    operation: NDArray[np.int64]
    kind: NDArray[np.uint8]
    state: NDArray[np.uint8]
    start: Floats
    turn: Floats
    amplitude: Floats
    reading: Floats
    saturated: NDArray[np.bool_]
    width: Floats
    gate: Floats


def cell_events(path: str | Path, cell: Cell) -> CellEvents:
    """Every event of `cell` in the run at `path`, committed ones only.

    The column `cell` is searched from end to end, chunk by chunk as it lies in the file: that is so quick that an index
    is not worth its place. Needs memory for what it finds, and for one column of operations. Raises UsageError for a
    cell the array has not, RecordingError for what is not a run file.
    """
    path = Path(path)
    with opened(path) as (file, commit), whole(path):
        if is_associative(file.attrs):
            raise UsageError(f"{path} is of an associative array, whose events are passes over all rows, not of cells")
        flat = _flat(path, cell, (int(file.attrs["rows"]), int(file.attrs["cols"])))
        with RawFile(path, file) as raw:
            row = raw.column("events/cell", commit.events_intended).find(flat)
            attributes = {name: text(file.attrs[name]) for name in file.attrs}
            return _events(raw, commit, row, attributes, "reading_factor" in file["operations"])


def _events(
    raw: RawFile, commit: Commit, row: NDArray[np.int64], attributes: Mapping[str, Any], has_factors: bool
) -> CellEvents:
    """The events at `row`. has_factors: runs recorded before there was a choice of voltage have none."""

    def of_operation(name: str) -> NDArray[np.float64]:
        column = raw.column(f"operations/{name}", commit.operations_intended)
        return column.take(operation).astype(np.float64)

    first = raw.column("operations/first_event", commit.operations_intended).whole().astype(np.int64)
    operation = np.searchsorted(first, row, side="right") - 1
    state = of_operation("state").astype(np.uint8)
    state[operation >= commit.operations] = State.UNKNOWN_DOSE if commit.outcome is Outcome.KILLED else State.INTENDED
    amplitude, reading = (raw.column(f"events/{name}", commit.events_intended) for name in ("amplitude", "reading"))
    codes = reading.take(row)
    factor = of_operation("reading_factor") if has_factors else 1.0
    return CellEvents(
        attributes=attributes,
        row=row,
        operation=operation,
        kind=of_operation("kind").astype(np.uint8),
        state=state,
        start=of_operation("start"),
        turn=(row - first[operation]).astype(np.float64) * np.nan_to_num(of_operation("seconds_per_cell")),
        amplitude=_decoded(amplitude, amplitude.take(row)),
        reading=_decoded(reading, codes) * factor,
        saturated=(codes >= reading.attrs["top_code"]) & (codes != reading.attrs["_FillValue"]),
        width=of_operation("width"),
        gate=of_operation("gate"),
    )


def _flat(path: Path, cell: Cell, shape: tuple[int, int]) -> int:
    rows, cols = shape
    row, col = cell if isinstance(cell, tuple) else divmod(cell, cols)
    if not (0 <= row < rows and 0 <= col < cols):
        raise UsageError(f"{path} has {rows} rows and {cols} columns, cells 0 to {rows * cols - 1}, and no cell {cell}")
    return int(row) * cols + int(col)


def _decoded(column: RawColumn, codes: NDArray[np.unsignedinteger]) -> Floats:
    """Codes as CF says: scaled, and NaN for the fill."""
    values: Floats = codes.astype(np.float64) * column.attrs["scale_factor"] + column.attrs["add_offset"]
    values[codes == column.attrs["_FillValue"]] = np.nan
    return values
