"""An associative chip: racetrack cells whose columns are searched by match lines and written where rows are tagged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cells.arena import Arena
from ..cells.parameters import parameters_digest
from ..cells.racetrack import RacetrackCells
from ..cells.racetrack_counters import OperationCounters
from ..cells.racetrack_parameters import RacetrackParameters
from ..cells.racetrack_tracks import OVERHANG
from ..cells.racetrack_trials import ARENA
from .associative_kernel import ROLES, CompiledTable, OnePass, compiled_table
from .associative_matches import MatchCounts
from .associative_program import INSTRUCTION, Bits, bits_of
from .associative_sense import MatchLines
from .associative_state import AssociativeRecord, read_associative, write_associative
from .state_file import ChipFileError

__all__ = ["INSTRUCTION", "AssociativeChip"]

ROOM_TEMPERATURE = 300.0
_MOST_CELLS = 1 << 35
"""4 GB of them, once all are written."""

Columns = NDArray[np.uint32]
Planes = NDArray[np.uint8]


class AssociativeChip:
    """Rows and columns of bits, `column = track * domains + domain`; buy one with `AssociativeChip.buy`.

    Planes are (row_bytes,) u8: row 0 in the least significant bit of the first byte. What is given to a method is
    checked before anything is done: ValueError. counters: of all it has ever done. busy_seconds: that this took since
    it was last set. time: s on the bench's clock when it was last told, None before. temperature: K. tags: plane of
    words. No operation depends on how those before it were cut into calls.
    """

    cell_kind = "racetrack"

    def __init__(self, serial: str, parameters: RacetrackParameters, shape: tuple[int, int, int, int]) -> None:
        self.serial = serial
        self.parameters = parameters
        self.rows, self.tracks, self.domains, self.ports = shape
        self.temperature = ROOM_TEMPERATURE
        self.time: float | None = None
        self.counters = OperationCounters()
        arena = Arena(ARENA)
        self._cells = RacetrackCells(serial, shape, parameters, self.counters, arena)
        self._lines = MatchLines(serial, self.rows, parameters.sense_noise, arena)
        self.tags = np.zeros(self._cells.words, np.uint64)
        self._scratch = np.empty(self._cells.words, np.uint64)
        self._spent = 0.0  # of what the cells have worked, taken by whoever keeps the clock
        self._told = 0.0  # age at `time` by the clock, whose steps are longer than most work

    @classmethod
    def buy(
        cls,
        serial: str,
        parameters: RacetrackParameters | None = None,
        rows: int = 65_536,
        tracks: int = 128,
        domains: int = 64,
        ports: int = 2,
    ) -> AssociativeChip:
        """The chip of that serial number, fresh: all bits 0, heads at 0; its faults follow from the number.

        parameters: those of `racetrack` where None. Raises ValueError.
        """
        if rows < 1 or tracks < 1 or ports < 1 or domains < ports or domains % ports:
            raise ValueError(f"a chip of {rows} rows, {tracks} tracks, {domains} domains, {ports} ports cannot be made")
        if rows > 1 << 20 or tracks > 1 << 16 or tracks * domains > 1 << 20:
            raise ValueError("a chip has at most 2**20 rows, 2**16 tracks and 2**20 columns")
        if rows * tracks * (domains + 2 * OVERHANG) > _MOST_CELLS:
            raise ValueError(
                f"a chip of {rows} rows, {tracks} tracks and {domains} domains, with {2 * OVERHANG} more of each "
                f"nanowire, has more than {_MOST_CELLS} cells"
            )
        chosen = RacetrackParameters.named("racetrack") if parameters is None else parameters
        return cls(serial, chosen, (rows, tracks, domains, ports))

    @classmethod
    def restored(cls, path: Path, parameters: RacetrackParameters | None = None) -> AssociativeChip:
        """The chip as `save` left it, with the `parameters` it was bought with. Raises ChipFileError."""
        record = read_associative(path)
        chosen = RacetrackParameters.named("racetrack") if parameters is None else parameters
        record.check(path, parameters_digest(chosen))
        try:
            chip = cls.buy(record.serial, chosen, record.rows, record.tracks, record.domains, record.ports)
            chip._restore(record)
        except (IndexError, KeyError, TypeError, ValueError) as problem:
            raise ChipFileError(f"{path} cannot be read as the state of a simulated chip: {problem}") from problem
        return chip

    def save(self, path: Path) -> None:
        """Keep its state at `path`, in place of what is there."""
        write_associative(path, self._record())

    @property
    def columns(self) -> int:
        return self._cells.columns

    @property
    def row_bytes(self) -> int:
        """Of a plane."""
        return (self.rows + 7) // 8

    @property
    def reach(self) -> int:
        """Positions of a track's head."""
        return self._cells.reach

    @property
    def heads(self) -> NDArray[np.int64]:
        """(tracks,) where they are."""
        return np.array(self._cells.positions.heads, np.int64)

    @property
    def offsets(self) -> NDArray[np.int8]:
        """(tracks, rows) by how many domains nanowires really are ahead of their head, a copy: for tests of checks."""
        return self._cells.positions.offsets.copy()

    @property
    def column_writes(self) -> NDArray[np.int64]:
        """(columns,) writes of each so far."""
        return np.array(self._cells.wear.writes, np.int64)

    @property
    def busy_seconds(self) -> float:
        return self._cells.worked - self._spent

    @busy_seconds.setter
    def busy_seconds(self, seconds: float) -> None:
        self._spent = self._cells.worked - seconds

    @property
    def sense_threshold(self) -> float:
        """Of match lines, where 0 is the signal of a match and 1 that of one mismatch."""
        return self._lines.threshold

    @sense_threshold.setter
    def sense_threshold(self, threshold: float) -> None:
        if not math.isfinite(threshold):
            raise ValueError(f"a sense threshold is a finite number, not {threshold}")
        self._lines.threshold = threshold

    @property
    def verify_every(self) -> int:
        """Single shifts of a track after which its positions are checked and realigned; 0: never."""
        return self._cells.positions.verify_every

    @verify_every.setter
    def verify_every(self, shifts: int) -> None:
        if shifts < 0:
            raise ValueError(f"positions are verified every 0 or more shifts, not {shifts}")
        self._cells.positions.verify_every = shifts

    def wait(self, now: float) -> None:
        """It is `now`, s on the bench's clock: the time since it was last told, work apart, went by in idleness.

        A clock that goes backwards, as one that starts anew, makes no cell younger.
        """
        if self.time is None or now < self.time:
            self._told = self._cells.age
        else:
            self._told += now - self.time
            idle = self._told - self._cells.age
            if idle > 0.0:
                self._cells.wait(idle)
        self.time = now

    # -- single operations --

    def load(self, columns: Columns, planes: Planes) -> None:
        """Write whole columns in every row. columns: (n,) distinct. planes: (n, row_bytes)."""
        places = self._distinct(columns)
        if planes.shape != (len(places), self.row_bytes):
            raise ValueError(f"planes must be {len(places)} of {self.row_bytes} bytes, not {planes.shape}")
        for column, packed in zip(places, planes, strict=True):
            self._cells.seek([column])
            self.counters.loaded_columns += 1
            self._cells.write(column, self._cells.plane(packed), self._cells.every)

    def read(self, columns: Columns) -> Planes:
        """(n, row_bytes) whole columns."""
        places = self._inside(columns)
        planes = np.empty((len(places), self.row_bytes), np.uint8)
        for column, packed in zip(places, planes, strict=True):
            self._cells.seek([column])
            self.counters.read_columns += 1
            packed[:] = self._cells.packed(self._cells.read(column))
        return planes

    def search(self, columns: Columns, key: NDArray[np.uint8]) -> int:
        """Tag the rows where all `columns`, (n,) distinct, hold their bits of `key`, (n,); every row where n is 0.

        Gives how many.
        """
        places = self._together(columns)
        return self._search(places, _bits(key, len(places)))

    def write(self, columns: Columns, bits: NDArray[np.uint8]) -> None:
        """Write `bits`, (n,) of 0 and 1, to `columns`, (n,) distinct, of the tagged rows."""
        places = self._together(columns)
        self._write(places, _bits(bits, len(places)))

    def set_tags(self, plane: Planes) -> None:
        if plane.shape != (self.row_bytes,):
            raise ValueError(f"tags are a plane of {self.row_bytes} bytes, not {plane.shape}")
        self.tags = self._cells.plane(plane)

    def tag_plane(self) -> Planes:
        return self._cells.packed(self.tags)

    def shift(self, track: int, steps: int) -> None:
        """Shift `track` by `steps` domains, towards higher domains under the ports where positive."""
        self._cells.positions.shift(self._track(track), steps)

    def check(self, tracks: NDArray[np.uint16]) -> NDArray[np.int8]:
        """(n, rows) by how many domains nanowires of `tracks`, (n,), seem to be ahead of their head, -4 to 3."""
        places = [self._track(track) for track in np.asarray(tracks).tolist()]
        seeming = np.empty((len(places), self.rows), np.int8)
        for place, track in enumerate(places):
            seeming[place] = self._cells.positions.check(track)
        return seeming

    def realign(self, track: int, steps: int) -> None:
        """Shift the nanowires of `track` in the tagged rows by `steps`; the track's head stays."""
        if abs(steps) > self.domains:
            raise ValueError(f"nanowires of {self.domains} domains cannot be realigned by {steps}")
        rows = np.flatnonzero(np.unpackbits(self.tag_plane(), count=self.rows, bitorder="little"))
        self._cells.positions.realign(self._track(track), steps, rows)

    # -- programs --

    def execute(
        self, tables: Sequence[NDArray[np.uint8]], instructions: NDArray[Any], trace: bool = False
    ) -> NDArray[np.uint32] | None:
        """Do what `instructions`, (n,) of `INSTRUCTION`, say, with `tables` of (passes, 4) codes.

        Gives the rows tagged by each pass where `trace`.
        """
        compiled = [compiled_table(table) for table in tables]
        matches = MatchCounts(self._cells.words, max((len(each.passes) for each in compiled), default=1), trace)
        for portion in bits_of(compiled, instructions, self.tracks, self.domains, self.reach):
            self._do(compiled, portion, matches)
        return matches.total(self.counters)

    def _do(self, compiled: Sequence[CompiledTable], portion: Bits, matches: MatchCounts) -> None:
        for number, columns, settled in zip(portion.tables, portion.columns, portion.settled, strict=True):
            table = compiled[number]
            if not table.passes:
                continue
            registers = matches.registers(table)
            if not (settled and self._do_at_once(table, columns, registers)):
                self._do_one_by_one(table, columns, registers)
            self.tags = registers[-1]
        self.tags = self.tags.copy()

    def _do_at_once(self, table: CompiledTable, columns: Sequence[int], tags: Sequence[Any]) -> bool:
        """All passes of a table for one bit, if nothing is going to go wrong."""
        cells = self._cells
        named = [columns[role] for role in table.roles]
        cells.seek(named)
        rows = self.rows
        if not (self._lines.exact and self._lines.faults.quiet(table.searches * rows)):
            return False
        if not cells.quiet(named, table.written_columns, table.most_writes):
            return False
        self._lines.faults.skip(table.searches * rows)
        cells.write_faults.skip(table.written_columns * rows)
        registers: list[Any] = [None] * ROLES
        for role in table.roles:
            registers[role] = cells.see(columns[role])
        registers += (cells.every, self._scratch, *tags)
        for operation, first, second, into in table.steps:
            operation(registers[first], registers[second], registers[into])
        for role in table.rewritten:
            cells.put(columns[role], registers[role])
            cells.wear.count(columns[role], table.writes[role])
        counters = self.counters
        counters.searches += table.searches
        counters.searched_columns += table.searched_columns
        counters.writes += table.tagged_writes
        counters.written_columns += table.written_columns
        return True

    def _do_one_by_one(self, table: CompiledTable, columns: Sequence[int], tags: Sequence[Any]) -> None:
        for each, into in zip(table.passes, tags, strict=True):
            self._do_pass(each, columns)
            into[:] = self.tags

    def _do_pass(self, each: OnePass, columns: Sequence[int]) -> None:
        self._cells.seek([columns[role] for role in each.named])
        self._tag([columns[role] for role, _ in each.looked], [bit for _, bit in each.looked])
        if each.written:
            self._change([columns[role] for role, _ in each.written], [bit for _, bit in each.written])

    def _search(self, columns: Sequence[int], key: Sequence[int]) -> int:
        self._cells.seek(columns)
        self._tag(columns, key)
        found = int(np.bitwise_count(self.tags).sum(dtype=np.int64))
        self.counters.matches += found if columns else 0
        return found

    def _write(self, columns: Sequence[int], bits: Sequence[int]) -> None:
        self._cells.seek(columns)
        self._change(columns, bits)
        self.counters.written_bits += len(columns) * int(np.bitwise_count(self.tags).sum(dtype=np.int64))

    def _tag(self, columns: Sequence[int], key: Sequence[int]) -> None:
        """Of columns under their ports; matches are counted by the caller."""
        if not columns:
            self.tags = self._cells.every.copy()
            return
        self.counters.searches += 1
        self.counters.searched_columns += len(columns)
        self.tags = self._lines.tagged([self._cells.see(column) for column in columns], key, self._cells.every)

    def _change(self, columns: Sequence[int], bits: Sequence[int]) -> None:
        """Columns under their ports, in the tagged rows; written bits are counted by the caller."""
        self.counters.writes += 1
        self.counters.written_columns += len(columns)
        none = np.zeros_like(self.tags)
        for column, bit in zip(columns, bits, strict=True):
            self._cells.write(column, self._cells.every if bit else none, self.tags)

    # -- what may be asked --

    def _inside(self, columns: Columns) -> list[int]:
        places: list[int] = np.asarray(columns).reshape(-1).tolist()
        for column in places:
            if not 0 <= column < self.columns:
                raise ValueError(f"column {column} is not one of {self.columns}")
        return places

    def _distinct(self, columns: Columns) -> list[int]:
        places = self._inside(columns)
        if len(set(places)) != len(places):
            raise ValueError("the columns must be distinct")
        return places

    def _together(self, columns: Columns) -> list[int]:
        """Those that can be under their ports at the same time."""
        places = self._distinct(columns)
        heads: dict[int, int] = {}
        for column in places:
            track, domain = divmod(column, self.domains)
            if heads.setdefault(track, domain % self.reach) != domain % self.reach:
                raise ValueError(f"two columns of track {track} are not under its ports at the same time")
        return places

    def _track(self, track: int) -> int:
        if not 0 <= track < self.tracks:
            raise ValueError(f"track {track} is not one of {self.tracks}")
        return track

    # -- its state --

    def _record(self) -> AssociativeRecord:
        return AssociativeRecord(
            serial=self.serial,
            digest=parameters_digest(self.parameters),
            rows=self.rows,
            tracks=self.tracks,
            domains=self.domains,
            ports=self.ports,
            temperature=self.temperature,
            time=math.nan if self.time is None else self.time,
            told=self._told,
            spent=self._spent,
            sense_threshold=self.sense_threshold,
            verify_every=self.verify_every,
            state={
                "counters": np.array(dataclasses.astuple(self.counters), np.int64),
                "tags": self.tags,
                "sense_faults": np.array(self._lines.faults.state, np.int64),
                **self._cells.state(),
            },
        )

    def _restore(self, record: AssociativeRecord) -> None:
        self.temperature = record.temperature
        self.time = None if math.isnan(record.time) else record.time
        self._told, self._spent = record.told, record.spent
        self.verify_every = record.verify_every
        for field, count in zip(dataclasses.fields(self.counters), record.state["counters"].tolist(), strict=True):
            setattr(self.counters, field.name, count)
        self.tags[:] = record.state["tags"]
        self._lines.restore(record.sense_threshold, record.state["sense_faults"].tolist())
        self._cells.restore(record.state)


def _bits(given: NDArray[np.uint8], count: int) -> list[int]:
    bits: list[int] = np.asarray(given).reshape(-1).tolist()
    if len(bits) != count or set(bits) - {0, 1}:
        raise ValueError(f"{count} bits, each 0 or 1, are needed for {count} columns")
    return bits
