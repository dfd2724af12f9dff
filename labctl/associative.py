"""The interface of an associative array: content-addressable memory on racetracks, which computes by search and write.

A row is a match line with a nanowire on each of `tracks` tracks; a nanowire holds `domains` bits, which pass under its
ports as it is shifted. The nanowires of a track are shifted together, in all rows. So a *column* is one bit in every
row: column = track * domains + domain. A search compares some columns of every row with a key and tags the rows that
match; a tagged write writes the same bits to some columns of all tagged rows. A pass is a search and a tagged write.

All rows work at once, so bits travel as *planes*: a column's bits, row 0 in the least significant bit of the first
byte, padded to whole bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.array import Capability, Clock, Geometry

Columns = NDArray[np.uint32]
Planes = NDArray[np.uint8]

ROLES = 4
"""Columns that one pass can name at most."""
NO_COLUMN = 0xFFFFFFFF
"""Stands in an instruction where a table has no such role."""

INSTRUCTION = np.dtype([("table", "<u2"), ("bits", "<u2"), ("columns", "<u4", (ROLES,)), ("steps", "i1", (ROLES,))])
"""Do the passes of `table` for each of `bits` bits; for bit i role k is on column columns[k] + i * steps[k]."""


@dataclass(frozen=True, slots=True)
class AssociativeGeometry:
    """Rows, tracks, the domains of a nanowire that hold data, and how many ports it has, evenly spaced.

    A port reaches the `reach` domains that begin at its own: domain d is under port d // reach when the track's head is
    at d % reach. Two columns of one track can be named in the same pass only where their heads are the same.
    """

    rows: int
    tracks: int
    domains: int
    ports: int = 1

    @property
    def columns(self) -> int:
        return self.tracks * self.domains

    @property
    def reach(self) -> int:
        """Positions of a track's head: 0 to reach - 1."""
        return self.domains // self.ports

    @property
    def row_bytes(self) -> int:
        """Of a plane."""
        return (self.rows + 7) // 8

    def heads(self, columns: ArrayLike) -> NDArray[np.int64]:
        """Where a track's head has to be for each of `columns` to be under a port, same shape."""
        return np.asarray(columns, np.int64) % self.domains % self.reach


@dataclass(frozen=True, slots=True)
class Pass:
    """One search and one tagged write, a character a role of its table: `0`, `1`, or `-` for neither looked at nor
    written.

    A key of `-` alone tags every row without a search. A `then` of `-` alone only searches.
    """

    key: str
    then: str


@dataclass(frozen=True)
class Table:
    """Passes that are done in order for one bit, on the columns that an instruction gives to `roles`, a letter each.

    Raises ValueError where they do not fit.
    """

    name: str
    roles: str
    passes: tuple[Pass, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.roles) <= ROLES or len(set(self.roles)) != len(self.roles):
            raise ValueError(f"table {self.name}: 1 to {ROLES} roles, a letter each, not {self.roles!r}")
        for each in self.passes:
            for word in (each.key, each.then):
                if len(word) != len(self.roles) or set(word) - set("01-"):
                    raise ValueError(f"table {self.name}: {word!r} is not {len(self.roles)} of 0, 1 and -")

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """(passes, 4) as they travel: mask and bits of the key, mask and bits of what is written; role k is bit k."""
        rows = [[*_mask_and_bits(each.key), *_mask_and_bits(each.then)] for each in self.passes]
        return np.array(rows, np.uint8).reshape(-1, 4)


@dataclass(frozen=True)
class Program:
    """What the board runs by itself. instructions: (n,) of `INSTRUCTION`, done in order."""

    tables: tuple[Table, ...]
    instructions: NDArray[Any]
    name: str = ""

    @property
    def passes(self) -> int:
        """How many it does in all."""
        each = np.array([len(table.passes) for table in self.tables], np.int64)
        return int((each[self.instructions["table"]] * self.instructions["bits"]).sum()) if len(each) else 0

    @cached_property
    def digest(self) -> str:
        """The same for the same tables and instructions, whatever they are called."""
        codes = b"".join(len(table.passes).to_bytes(2, "little") + table.codes.tobytes() for table in self.tables)
        return sha256(codes + self.instructions.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Counters:
    """What an associative array has done. All rows work at once, so most of it is independent of their number.

    searches, writes: how many; searched_columns, written_columns: summed over them. matches: rows tagged by searches.
    written_bits: cells written by tagged writes. shifts: of a track by one domain. checks: position checks of a track.
    realignments: shifts by one domain of the tagged nanowires of a track. loaded_columns, read_columns: planes to and
    from the host.
    """

    searches: int = 0
    searched_columns: int = 0
    matches: int = 0
    writes: int = 0
    written_columns: int = 0
    written_bits: int = 0
    shifts: int = 0
    checks: int = 0
    realignments: int = 0
    loaded_columns: int = 0
    read_columns: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, each) + getattr(other, each) for each in COUNTERS))

    def __sub__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, each) - getattr(other, each) for each in COUNTERS))

    def as_values(self) -> dict[str, int]:
        return asdict(self)


COUNTERS = tuple(each.name for each in fields(Counters))


# -- what an array can be asked to do ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """Write whole columns, in every row. columns: (n,) distinct. planes: (n, row_bytes)."""

    columns: Columns
    planes: Planes


@dataclass(frozen=True, slots=True)
class Read:
    """Read whole columns. Gives planes, (n, row_bytes)."""

    columns: Columns


@dataclass(frozen=True, slots=True)
class Search:
    """Tag the rows in which every one of `columns`, (n,), holds its bit of `key`, (n,) of 0 and 1. Gives how many.

    Of no columns: tag every row.
    """

    columns: Columns
    key: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Write:
    """Write `bits`, (n,) of 0 and 1, to `columns`, (n,), of the tagged rows. Gives None."""

    columns: Columns
    bits: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReadTags:
    """Gives the tags as a plane, (row_bytes,)."""


@dataclass(frozen=True, slots=True)
class SetTags:
    """plane: (row_bytes,)."""

    plane: Planes


@dataclass(frozen=True, slots=True)
class Shift:
    """Shift `track` by `steps` domains, towards higher domains under the ports where positive. Gives None.

    What names a column shifts its track by itself first; this is for moving one on purpose.
    """

    track: int
    steps: int


@dataclass(frozen=True, slots=True)
class Check:
    """Check the positions of `tracks`, (n,), by transverse reads of their guard domains.

    Gives (n, rows) i8: by how many domains each nanowire is ahead of its head (-4 to 3; 0 where it is right).
    """

    tracks: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Realign:
    """Shift the nanowires of `track` in the tagged rows by `steps`; the track's head stays. Gives None."""

    track: int
    steps: int


@dataclass(frozen=True, slots=True)
class Configure:
    """Change settings; those that are None stay. Gives None.

    sense_threshold: of a match line, where 0 is the signal of a match and 1 that of one mismatch. verify_every: after
    so many shifts of a track its positions are checked and realigned by the board itself; 0: never.
    """

    sense_threshold: float | None = None
    verify_every: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Run `program` on the board. Gives an `Execution`. trace: with the matches of every pass."""

    program: Program
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """What a program did, and in what time of the board, s. trace: (passes,) u32 rows tagged by each pass, or None."""

    counters: Counters
    seconds: float
    trace: NDArray[np.uint32] | None = None


Action = Load | Read | Search | Write | ReadTags | SetTags | Shift | Check | Realign | Configure | Run


@runtime_checkable
class AssociativeArray(Protocol):
    """An associative array as protocols see it. Calls raise LinkError, InstrumentError; ValueError for bad arguments.

    Its drivers have `Capability.ASSOCIATE`. `geometry` is its cells as of any array: rows and columns.
    """

    @property
    def geometry(self) -> Geometry: ...

    @property
    def associative(self) -> AssociativeGeometry: ...

    @property
    def capabilities(self) -> Capability: ...

    @property
    def chip_serial(self) -> str: ...

    @property
    def clock(self) -> Clock: ...

    def perform(self, *actions: Action) -> tuple[Any, ...]:
        """Do `actions` in order, each exactly once, in as few exchanges as they fit in. Gives what each gives."""

    def counters(self) -> Counters:
        """What the array has done since it was powered on."""

    def snapshot(self) -> Mapping[str, Any]:
        """Identity and every setting, for the record."""

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Drivers off, within `timeout_s`; raises LinkError where that was not reached."""


# -- numbers as planes ------------------------------------------------------------------------------------------------


def planes_of(values: NDArray[Any], bits: int, rows: int) -> Planes:
    """Whole numbers, (n, words), as planes, (words * bits, row_bytes): word after word, least significant bit first.

    Negative ones in two's complement. rows: of the array, at least n; further rows hold 0. Raises ValueError where a
    number does not fit in `bits`.
    """
    given = np.asarray(values)
    if given.ndim != 2 or given.dtype.kind not in "iub" or len(given) > rows:
        raise ValueError(f"values must be whole numbers, at most {rows} rows, not {given.dtype} of {given.shape}")
    if given.size and not (-(1 << bits - 1) <= int(given.min()) and int(given.max()) < 1 << bits):
        raise ValueError(f"values from {given.min()} to {given.max()} do not fit in {bits} bits")
    planes = np.zeros((given.shape[1], bits, (rows + 7) // 8), np.uint8)
    words = np.ascontiguousarray(given.T)
    for bit in range(bits):
        packed = np.packbits((words >> bit & 1).astype(np.uint8), axis=1, bitorder="little")
        planes[:, bit, : packed.shape[1]] = packed
    return planes.reshape(given.shape[1] * bits, -1)


def values_of(planes: Planes, bits: int, rows: int, signed: bool = True) -> NDArray[np.int64]:
    """The numbers, (rows, words), of planes as `planes_of` makes them; rows: the first so many."""
    words = planes.reshape(-1, bits, planes.shape[-1])
    found = np.zeros((len(words), rows), np.int64)
    for bit in range(bits):
        ones = np.unpackbits(words[:, bit], axis=1, count=rows, bitorder="little").astype(np.int64)
        weight = -(1 << bit) if signed and bit == bits - 1 else 1 << bit
        found += ones * weight
    return np.ascontiguousarray(found.T)


def word_columns(first: ArrayLike, bits: int) -> Columns:
    """The columns, (words * bits,), of words that begin at the columns `first`, (words,), and go on one by one."""
    begun: Columns = np.asarray(first, np.uint32).reshape(-1, 1)
    return np.add(begun, np.arange(bits, dtype=np.uint32), dtype=np.uint32).reshape(-1)


def instructions(rows: Sequence[tuple[int, int, Sequence[int], Sequence[int]]]) -> NDArray[Any]:
    """(n,) of `INSTRUCTION`, each (table, bits, columns, steps) of as many roles as its table has."""
    made = np.zeros(len(rows), INSTRUCTION)
    made["columns"] = NO_COLUMN
    for place, (table, bits, columns, steps) in enumerate(rows):
        made[place]["table"], made[place]["bits"] = table, bits
        made[place]["columns"][: len(columns)] = columns
        made[place]["steps"][: len(steps)] = steps
    return made


def _mask_and_bits(word: str) -> tuple[int, int]:
    mask = sum(1 << role for role, each in enumerate(word) if each != "-")
    return mask, sum(1 << role for role, each in enumerate(word) if each == "1")
