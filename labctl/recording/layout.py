"""What a run file is made of: groups, columns, flags and commits; stated once for all who need to know."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry, Operation, Scale
from labctl.steps import Variable

FORMAT = "labctl run"
FORMAT_VERSION = 1

OWN_ATTRIBUTES = {"format", "format_version", "Conventions", "NX_class", "default", "title", "protocol"} | {
    "rows",
    "cols",
    "cell",
    "started",
    "ended",
    "outcome",
}
"""Attributes of the file itself; flat provenance stands beside them under other names."""

ARRAY_KIND, ASSOCIATIVE = "array_kind", "associative"
"""The attribute of a run on an associative array, whose events and operations are those of `actions`."""

EPOCH = "seconds since 1970-01-01T00:00:00Z"
NOT_COUNTED = -1
"""The sequence number where the board keeps none."""

NOT_WRITTEN = "not_written"
"""The flag of cells that a map of flags was not written for; its code is the largest of the map's dtype."""

TEXTS = ("message", "summary", "snapshot_after", "checksums")
"""What is only known at the end, of any length: datasets of characters in `provenance`."""


SLOTS = ("slot_0", "slot_1")
"""Where checkpoints are written in turns, so that the last that counts is whole while the next one is written."""


def is_associative(attributes: Mapping[Any, Any]) -> bool:
    """Whether a file with these attributes is of a run on an associative array."""
    said = attributes.get(ARRAY_KIND, "")
    return bool((said.decode() if isinstance(said, bytes) else said) == ASSOCIATIVE)


class Outcome(enum.StrEnum):
    """How a run stands. The file says RUNNING until it is closed; whether that is LIVE or KILLED, readers
    find out.
    """

    RUNNING = "running"
    LIVE = "live"
    KILLED = "killed"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class State(enum.IntEnum):
    """What is known of one operation."""

    INTENDED = 0  # on disk before the pulses are sent; in a killed run: dose unknown
    DONE = 1
    UNKNOWN_DOSE = 2  # sent, and nobody can say whether it was applied
    NOT_APPLIED = 3  # the board said so


class AskedBy(enum.IntEnum):
    """Why an operation was made: the protocol asked for it, or something around the protocol did."""

    PROTOCOL = 0
    ENDING = 1  # the protocol, once it was told to stop early
    REREAD = 2  # resuming: how the cells are now
    SETTLING = 3  # resuming: in place of pulses that were not applied, or of a verify read that was lost
    SUPERSEDED = 4  # the protocol, after the checkpoint that it went back to later: done, but it does not know of it


READ = 0
CLOCK = 4
MULTIPLY = 5
KINDS = (
    {"read": READ}
    | {operation.name.lower(): int(operation) for operation in Operation}
    | {"clock": CLOCK, "multiply": MULTIPLY}
)
STATES = {state.name.lower(): int(state) for state in State}
ASKED_BY = {each.name.lower(): int(each) for each in AskedBy}


OUTCOMES = (Outcome.RUNNING, Outcome.FINISHED, Outcome.INTERRUPTED, Outcome.FAILED, Outcome.KILLED)
"""By their codes in the commit record."""


class Commit(NamedTuple):
    """How far the file is: `commit/record`, the row written last. What it does not count is not there.

    pulses: of committed operations, but for those the board did not apply. ended: s since 1970 (in the file
    whole microseconds), of the run, or so far of its last step. checkpoints: how many there have been;
    checkpoint_bytes: what the last of them takes; checkpoint_steps: steps up to the one that it was recorded with.
    """

    operations_intended: int = 0
    events_intended: int = 0
    operations: int = 0
    events: int = 0
    steps: int = 0
    pulses: int = 0
    outcome: Outcome = Outcome.RUNNING
    ended: float = 0
    samples: int = 0
    checkpoints: int = 0
    checkpoint_bytes: int = 0
    checkpoint_steps: int = 0

    @classmethod
    def from_row(cls, row: Iterable[int]) -> Commit:
        """Runs recorded before there were auxiliaries have no count of samples, nor later ones of checkpoints."""
        operations_intended, events_intended, *rest = (int(number) for number in row)
        operations, events, steps, pulses, outcome, ended, *later = rest
        end = (OUTCOMES[outcome], ended / 1e6)
        return cls(operations_intended, events_intended, operations, events, steps, pulses, *end, *later)

    def row(self) -> NDArray[np.uint64]:
        counts = (self.operations_intended, self.events_intended, self.operations, self.events)
        end = (OUTCOMES.index(self.outcome), round(self.ended * 1e6))
        checkpoint = (self.checkpoints, self.checkpoint_bytes, self.checkpoint_steps)
        return np.array((*counts, self.steps, self.pulses, *end, self.samples, *checkpoint), np.uint64)

    @property
    def unsettled(self) -> int:
        """Operations with an intent and no outcome."""
        return self.operations_intended - self.operations

    @property
    def slot_bytes(self) -> dict[str, int]:
        """What of each of the `SLOTS` counts: of the one that the last checkpoint was written to, all of it."""
        last = SLOTS[(self.checkpoints - 1) % len(SLOTS)]
        return {slot: self.checkpoint_bytes if slot == last else 0 for slot in SLOTS}


@dataclass(frozen=True, slots=True)
class Column:
    """One variable of the file.

    unit: "" where none makes sense (flags, text). fill: what stands where nothing was written. masked: that
    fill means "nothing", so it becomes CF's `_FillValue` and decodes to NaN. scale: codes of this converter.
    """

    name: str
    dtype: str
    long_name: str
    unit: str = ""
    fill: float = 0
    masked: bool = False
    flags: Mapping[str, int] | None = None
    scale: Scale | None = None


def events(dac: Scale, adc: Scale) -> tuple[Column, ...]:
    """One row an event: a pulse on one cell, with its verify read if it has one, or a read of one cell."""
    return (
        Column("cell", "u4", "flat cell index, row * cols + col", "1"),
        _codes("amplitude", "pulse amplitude; none for a read", dac),
        _codes("reading", "conductance; none where not read", adc),
    )


OPERATIONS = (
    Column("kind", "u1", "what was done to the cells; clock: the protocol asked for the time", flags=KINDS),
    Column("first_event", "u8", "row of the first event", "1"),
    Column("events", "u4", "number of events", "1"),
    Column("repeats", "u4", "passes over the cells", "1", fill=1),
    Column("width", "f8", "pulse width", "s", fill=np.nan, masked=True),
    Column("gate", "f8", "gate voltage of the pulse", "V", fill=np.nan, masked=True),
    Column("start", "f8", "when the first cell's turn began", EPOCH, fill=np.nan, masked=True),
    Column("seconds_per_cell", "f8", "time from one event to the next", "s", fill=np.nan, masked=True),
    Column("sequence", "i8", "the board's number of the batch; -1: not counted", "1", fill=NOT_COUNTED),
    Column("step", "u4", "row of the step it belongs to", "1"),
    Column("state", "u1", "what is known of it", flags=STATES),
    Column("read_voltage", "f4", "read voltage, where it was not the array's own", "V", fill=np.nan, masked=True),
    Column("reading_factor", "f8", "what readings decoded to S are to be multiplied by", "1", fill=1),
    Column("asked_by", "u1", "why it was made", flags=ASKED_BY),
)
"""One row a batch of pulses or a read."""


STEPS_ASKED_BY = {each.name.lower(): int(each) for each in (AskedBy.PROTOCOL, AskedBy.ENDING, AskedBy.SUPERSEDED)}


def steps(phases: Sequence[str], variables: Sequence[Variable]) -> tuple[Column, ...]:
    """One row a step of the protocol, with the scalars the protocol declares."""
    return (
        Column("time", "f8", "when the step was done", EPOCH, fill=np.nan, masked=True),
        Column("phase", "u1", "phase of the protocol", flags=phase_codes(phases)),
        Column("first_operation", "u8", "row of its first operation", "1"),
        Column("asked_by", "u1", "the protocol; once told to stop; before it went back", flags=STEPS_ASKED_BY),
        *(_declared(variable) for variable in variables if not variable.dims),
    )


def auxiliaries(quantities: Mapping[str, str]) -> tuple[Column, ...]:
    """One row a sample of what stands around the array. quantities: name to unit."""
    return (
        Column("time", "f8", "when it was read, on the wall clock", EPOCH, fill=np.nan, masked=True),
        *(Column(name, "f8", name, unit, fill=np.nan, masked=True) for name, unit in quantities.items()),
    )


def phase_codes(phases: Sequence[str]) -> dict[str, int]:
    """The codes of a protocol's phases in the file."""
    return {name: code for code, name in enumerate(phases)}


def maps(variables: Sequence[Variable]) -> tuple[Column, ...]:
    """One value a cell, as the protocol declares."""
    return tuple(_with_unwritten(variable, _declared(variable)) for variable in variables if variable.dims)


def event_chunk(geometry: Geometry) -> int:
    """Rows a chunk: a batch of the whole array, within what is good for tiny and for huge arrays."""
    return min(max(geometry.cells, SMALLEST_CHUNK), LARGEST_CHUNK)


SMALLEST_CHUNK, LARGEST_CHUNK = 4096, 262144
ROW_CHUNK = 512
"""Rows a chunk of operations and of steps: small, as every column of a short run occupies one."""


def _codes(name: str, long_name: str, scale: Scale) -> Column:
    """A column of converter codes: two bytes, or four where the converter itself uses all 65,536."""
    dtype = "u2" if scale.top < np.iinfo("u2").max else "u4"
    return Column(name, dtype, long_name, scale.unit, fill=np.iinfo(dtype).max, masked=True, scale=scale)


def _with_unwritten(variable: Variable, column: Column) -> Column:
    """A map that tells a 0 from a cell not written, though it is of integers: by the dtype's largest number.

    Flags stay integers when decoded, so there it is one flag more instead of CF's fill.
    """
    if variable.fill is not None or np.dtype(variable.dtype).kind not in "iu":
        return column
    largest = int(np.iinfo(variable.dtype).max)
    if not variable.flags:
        return replace(column, fill=largest, masked=True)
    if largest in variable.flags.values():
        return column
    return replace(column, fill=largest, flags={**variable.flags, NOT_WRITTEN: largest})


def _declared(variable: Variable) -> Column:
    """A protocol's variable. Integers are masked only where it names a fill: that decodes to floats."""
    is_float = np.dtype(variable.dtype).kind == "f"
    fill = variable.fill if variable.fill is not None else (np.nan if is_float else 0)
    return Column(
        variable.name,
        variable.dtype,
        variable.long_name,
        "" if variable.flags else variable.unit,
        fill=fill,
        masked=is_float or variable.fill is not None,
        flags=variable.flags,
    )
