"""What the run file of an associative array is made of: a row an action, a row a recorded pass; and these rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry, Scale
from labctl.associative import (
    Action,
    AssociativeGeometry,
    Check,
    Configure,
    Execution,
    Load,
    Program,
    Read,
    ReadTags,
    Realign,
    Run,
    Search,
    SetTags,
    Shift,
    Write,
)
from labctl.recording import layout
from labctl.recording.layout import Column

LOAD, READ_BACK, SEARCH, TAGGED_WRITE, READ_TAGS, SET_TAGS, SHIFT, CHECK, REALIGN, CONFIGURE, PROGRAM = range(6, 17)
KINDS = {
    "clock": layout.CLOCK,
    "load": LOAD,
    "read_back": READ_BACK,
    "search": SEARCH,
    "tagged_write": TAGGED_WRITE,
    "read_tags": READ_TAGS,
    "set_tags": SET_TAGS,
    "shift": SHIFT,
    "check": CHECK,
    "realign": REALIGN,
    "configure": CONFIGURE,
    "program": PROGRAM,
}

STATES = {"intended": 0, "done": 1, "unknown": 2, "not_done": 3}
"""The codes of `layout.State`, by what they mean of an action."""

NONE = -1
"""Where an action has no such number."""

NO_MATCHES = int(np.iinfo("u4").max)
"""Where it is not known how many rows a pass tagged."""

EVENTS = (
    Column("instruction", "u4", "instruction of the program", "1"),
    Column("bit", "u2", "bit that the instruction was at", "1"),
    Column("pass", "u2", "pass of the instruction's table", "1"),
    Column("matches", "u4", "rows tagged; none where not known", "1", fill=NO_MATCHES, masked=True),
)
"""One row a pass of a program that was traced."""

OPERATIONS = (
    Column("kind", "u1", "what was done; clock: the protocol asked for the time", flags=KINDS),
    Column("first_event", "u8", "row of the first event", "1"),
    Column("events", "u4", "number of events: passes recorded", "1"),
    Column("repeats", "u4", "columns or tracks it names; passes of a program", "1", fill=1),
    Column("first_column", "i8", "the first column it names; -1: none", "1", fill=NONE),
    Column("track", "i4", "track that was shifted; -1: none", "1", fill=NONE),
    Column("shifted", "i4", "domains it was shifted by", "1"),
    Column("sense_threshold", "f8", "set to, 0 a match's signal, 1 a mismatch's", "1", fill=np.nan, masked=True),
    Column("verify_every", "i8", "set to, shifts of a track; -1: as it was", "1", fill=NONE),
    Column("program", "u8", "first 8 bytes of the program's SHA-256; 0: none", "1"),
    Column("matches", "f8", "rows that its searches tagged", "1", fill=np.nan, masked=True),
    Column("start", "f8", "latest time known when it was sent", layout.EPOCH, fill=np.nan, masked=True),
    Column("seconds", "f8", "what a program took", "s", fill=np.nan, masked=True),
    Column("step", "u4", "row of the step it belongs to", "1"),
    Column("state", "u1", "what is known of it", flags=STATES),
    Column("asked_by", "u1", "why it was made", flags=layout.ASKED_BY),
)
"""One row an action."""


def operations_of(associative: bool) -> tuple[Column, ...]:
    """Of a run on an associative array, or on a memory array."""
    return OPERATIONS if associative else layout.OPERATIONS


def events_of(associative: bool, dac: Scale, adc: Scale) -> tuple[Column, ...]:
    return EVENTS if associative else layout.events(dac, adc)


def geometry_attributes(geometry: AssociativeGeometry | None) -> dict[str, Any]:
    """What the file says of an associative array beside rows and columns."""
    if geometry is None:
        return {}
    shape = {"tracks": geometry.tracks, "domains": geometry.domains, "ports": geometry.ports}
    return {layout.ARRAY_KIND: layout.ASSOCIATIVE, **shape}


def geometry_of(attributes: Mapping[str, Any]) -> AssociativeGeometry:
    """The same, of a file's attributes."""
    names = ("rows", "tracks", "domains", "ports")
    return AssociativeGeometry(*(int(attributes[name]) for name in names))


def event_chunk(geometry: Geometry, associative: bool) -> int:
    """Rows a chunk: nobody knows before how many passes are traced."""
    return layout.SMALLEST_CHUNK if associative else layout.event_chunk(geometry)


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action as `operations` has it. columns: those that are known before it is done, but for its events.

    changes: whether it changes more than where the tracks stand. passes: columns of `events`, of a program that is
    traced, equally long; else none.
    """

    columns: Mapping[str, Any]
    changes: bool
    passes: Mapping[str, NDArray[Any]]

    @property
    def events(self) -> int:
        return len(self.passes["bit"]) if self.passes else 0


def action_row(action: Action) -> ActionRow:
    """Raises TypeError for what is no action."""
    describe = _DESCRIBED.get(type(action))
    if describe is None:
        raise TypeError(f"an associative array performs actions, not {type(action).__name__}")
    kind, columns = describe(action)
    traced = _passes(action.program) if isinstance(action, Run) and action.trace else {}
    return ActionRow({**_BLANK, "kind": kind, **columns}, kind not in (READ_BACK, READ_TAGS, CHECK), traced)


def outcome(action: Action, result: Any) -> dict[str, Any]:
    """What `result` adds to the row of `action`."""
    if isinstance(result, Execution):
        return {"matches": result.counters.matches, "seconds": result.seconds}
    return {"matches": result if isinstance(action, Search) else np.nan, "seconds": np.nan}


_BLANK: Mapping[str, Any] = {
    "repeats": 1,
    "first_column": NONE,
    "track": NONE,
    "shifted": 0,
    "sense_threshold": np.nan,
    "verify_every": NONE,
    "program": 0,
}


def _columns(kind: int) -> Callable[[Any], tuple[int, dict[str, Any]]]:
    """Of what names columns."""

    def describe(action: Load | Read | Search | Write) -> tuple[int, dict[str, Any]]:
        named = action.columns
        return kind, {"repeats": len(named), "first_column": int(named[0]) if len(named) else NONE}

    return describe


def _shifted(kind: int) -> Callable[[Any], tuple[int, dict[str, Any]]]:
    def describe(action: Shift | Realign) -> tuple[int, dict[str, Any]]:
        return kind, {"track": action.track, "shifted": action.steps}

    return describe


def _checked(action: Check) -> tuple[int, dict[str, Any]]:
    return CHECK, {"repeats": len(action.tracks)}


def _configured(action: Configure) -> tuple[int, dict[str, Any]]:
    values = {"sense_threshold": action.sense_threshold, "verify_every": action.verify_every}
    return CONFIGURE, {name: value for name, value in values.items() if value is not None}


def _run(action: Run) -> tuple[int, dict[str, Any]]:
    return PROGRAM, {"repeats": action.program.passes, "program": int(action.program.digest[:16], 16)}


_DESCRIBED: Mapping[type, Callable[[Any], tuple[int, dict[str, Any]]]] = {
    Load: _columns(LOAD),
    Read: _columns(READ_BACK),
    Search: _columns(SEARCH),
    Write: _columns(TAGGED_WRITE),
    ReadTags: lambda _: (READ_TAGS, {}),
    SetTags: lambda _: (SET_TAGS, {}),
    Shift: _shifted(SHIFT),
    Realign: _shifted(REALIGN),
    Check: _checked,
    Configure: _configured,
    Run: _run,
}


def _passes(program: Program) -> dict[str, NDArray[Any]]:
    """Which pass of which bit of which instruction each pass of `program` is, in the order they are done."""
    of_table = np.array([len(table.passes) for table in program.tables], np.int64)
    each = of_table[program.instructions["table"]]
    counts = each * program.instructions["bits"]
    instruction = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(instruction)) - np.repeat(np.cumsum(counts) - counts, counts)
    bit, within = np.divmod(place, each[instruction])
    return {
        "instruction": instruction.astype(np.uint32),
        "bit": bit.astype(np.uint16),
        "pass": within.astype(np.uint16),
    }
