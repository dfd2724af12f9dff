"""The golden model: an associative array of plain booleans, without faults; slow, and so simple that it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry
from labctl.associative import (
    NO_COLUMN,
    ROLES,
    Action,
    AssociativeGeometry,
    Check,
    Configure,
    Counters,
    Execution,
    Load,
    Planes,
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


class GoldenArray:
    """Does what an associative array without faults does, and counts it. Fresh: all bits 0, all heads at 0, no tags.

    cells: (columns, rows) bool. tags: (rows,) bool. heads: (tracks,). It takes no time: executions last 0 s.
    """

    def __init__(self, geometry: AssociativeGeometry) -> None:
        self.associative = geometry
        self.geometry = Geometry(geometry.rows, geometry.columns, "racetrack")
        self.cells = np.zeros((geometry.columns, geometry.rows), np.bool_)
        self.tags = np.zeros(geometry.rows, np.bool_)
        self.heads = np.zeros(geometry.tracks, np.int64)
        self._counted = dict.fromkeys(Counters().as_values(), 0)

    def counters(self) -> Counters:
        """What it has done so far."""
        return Counters(**self._counted)

    def perform(self, *actions: Action) -> tuple[Any, ...]:
        """Do `actions` in order; gives what each of them gives. Raises ValueError where one cannot be right."""
        return tuple(self._do(action) for action in actions)

    def _do(self, action: Action) -> Any:
        match action:
            case Load(columns, planes):
                if len(set(columns.tolist())) != len(columns):
                    raise ValueError("the columns of a load must be distinct")
                for column, plane in zip(columns.tolist(), planes, strict=True):
                    self._seek([column])
                    self.cells[column] = self._bits_of(plane)
                self._count(loaded_columns=len(columns))
            case Read(columns):
                for column in columns.tolist():
                    self._seek([column])
                self._count(read_columns=len(columns))
                return np.stack([self._plane_of(self.cells[each]) for each in columns.tolist()])
            case Search(columns, key):
                self._seek(columns.tolist())
                return self._search(columns.tolist(), key.tolist())
            case Write(columns, bits):
                self._seek(columns.tolist())
                self._write(columns.tolist(), bits.tolist())
            case ReadTags():
                return self._plane_of(self.tags)
            case SetTags(plane):
                self.tags = self._bits_of(plane)
            case Shift(track, steps):
                self._move(track, int(self.heads[track]) + steps)
            case Check(tracks):
                self._count(checks=len(tracks))
                return np.zeros((len(tracks), self.associative.rows), np.int8)
            case Realign():
                raise ValueError("the nanowires of a golden array are always where they should be: nothing to realign")
            case Configure():
                pass
            case Run(program, trace):
                return self._run(program, trace)
        return None

    def _run(self, program: Program, trace: bool) -> Execution:
        before, matches = self.counters(), []
        for instruction in program.instructions:
            table = program.tables[instruction["table"]]
            for bit in range(int(instruction["bits"])):
                columns = [
                    int(first) + bit * int(step) if first != NO_COLUMN else None
                    for first, step in zip(instruction["columns"], instruction["steps"], strict=True)
                ]
                for each in table.passes:
                    matches.append(self._pass(each.key, each.then, columns))
        return Execution(self.counters() - before, 0.0, np.array(matches, np.uint32) if trace else None)

    def _pass(self, key: str, then: str, columns: Sequence[int | None]) -> int:
        """All columns it names come under their ports first, in the order of roles. Gives how many rows it tagged."""
        named = [role for role in range(min(ROLES, len(key))) if key[role] != "-" or then[role] != "-"]
        where = {role: columns[role] for role in named}
        if None in where.values():
            raise ValueError("an instruction has no column for a role of its table")
        self._seek([where[role] for role in named])
        looked, written = ([role for role in named if word[role] != "-"] for word in (key, then))
        found = self._search([where[role] for role in looked], [int(key[role]) for role in looked])
        if written:
            self._write([where[role] for role in written], [int(then[role]) for role in written])
        return found

    def _search(self, columns: Sequence[Any], key: Sequence[int]) -> int:
        if not columns:
            self.tags = np.ones(self.associative.rows, np.bool_)
            return self.associative.rows
        wanted = np.array(key, np.bool_)[:, None]
        self.tags = (self.cells[list(columns)] == wanted).all(axis=0)
        found = int(self.tags.sum())
        self._count(searches=1, searched_columns=len(columns), matches=found)
        return found

    def _write(self, columns: Sequence[Any], bits: Sequence[int]) -> None:
        for column, bit in zip(columns, bits, strict=True):
            self.cells[column, self.tags] = bool(bit)
        self._count(writes=1, written_columns=len(columns), written_bits=len(columns) * int(self.tags.sum()))

    def _seek(self, columns: Sequence[Any]) -> None:
        geometry = self.associative
        if outside := [each for each in columns if not 0 <= each < geometry.columns]:
            raise ValueError(f"column {outside[0]} is not one of {geometry.columns}")
        wanted: dict[int, int] = {}
        for column, head in zip(columns, geometry.heads(columns).tolist(), strict=True):
            track = column // geometry.domains
            if wanted.setdefault(track, head) != head:
                raise ValueError(f"two columns of track {track} are not under its ports at the same time")
        for track, head in wanted.items():
            self._move(track, head)

    def _move(self, track: int, head: int) -> None:
        if not (0 <= track < self.associative.tracks and 0 <= head < self.associative.reach):
            raise ValueError(f"track {track} has no position {head}")
        self._count(shifts=abs(head - int(self.heads[track])))
        self.heads[track] = head

    def _count(self, **more: int) -> None:
        for name, number in more.items():
            self._counted[name] += number

    def _bits_of(self, plane: Planes) -> NDArray[np.bool_]:
        return np.unpackbits(plane, count=self.associative.rows, bitorder="little").astype(np.bool_)

    @staticmethod
    def _plane_of(bits: NDArray[np.bool_]) -> Planes:
        return np.packbits(bits, bitorder="little")
