"""What an associative array is asked to do, checked before anything is sent, as it travels."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.associative import INSTRUCTION, NO_COLUMN, ROLES, AssociativeGeometry, Planes, Program, Table

_MAX_THRESHOLD = 64.0
_MAX_VERIFY_EVERY = 1_000_000


class Checks:
    """Of an array of `geometry`. Every call raises ValueError with one sentence."""

    def __init__(self, geometry: AssociativeGeometry) -> None:
        self._geometry = geometry
        self._programs: set[str] = set()  # digests of those that are known to be good

    def columns(self, columns: ArrayLike, *, together: bool = False) -> NDArray[np.uint32]:
        """(n,), distinct. together: named in the same search or write, so two of a track need the same head."""
        named = _whole(columns, self._geometry.columns, "column")
        if len(named) > 1:
            if len(np.unique(named)) < len(named):
                raise ValueError("a column is named twice")
            if together:
                self._check_together(named)
        return named.astype("<u4")

    def planes(self, planes: Planes, columns: int) -> Planes:
        """(columns, row_bytes) of bytes."""
        expected = columns, self._geometry.row_bytes
        if planes.dtype != np.uint8 or planes.shape != expected:
            raise ValueError(f"planes must be bytes, {expected}, not {planes.dtype} of {planes.shape}")
        return np.ascontiguousarray(planes)

    def tracks(self, tracks: ArrayLike) -> NDArray[np.uint16]:
        return _whole(tracks, self._geometry.tracks, "track").astype("<u2")

    def track(self, track: int) -> int:
        return int(self.tracks([track])[0])

    def steps(self, steps: int) -> int:
        if not _is_whole(steps) or not -self._geometry.domains <= steps <= self._geometry.domains:
            raise ValueError(f"{steps} steps where a nanowire has {self._geometry.domains} domains")
        return int(steps)

    def program(self, program: Program) -> None:
        """Looked at once."""
        if program.digest not in self._programs:
            self._check_program(program)
            self._programs.add(program.digest)

    def _check_together(self, columns: NDArray[np.int64]) -> None:
        tracks, heads = columns // self._geometry.domains, self._geometry.heads(columns)
        order = np.lexsort((heads, tracks))
        tracks, heads = tracks[order], heads[order]
        apart = np.flatnonzero((tracks[1:] == tracks[:-1]) & (heads[1:] != heads[:-1]))
        if len(apart):
            raise ValueError(_never_together(int(tracks[apart[0]])))

    def _check_program(self, program: Program) -> None:
        given = program.instructions
        if given.dtype != INSTRUCTION or given.ndim != 1:
            raise ValueError(f"instructions must be (n,) of INSTRUCTION, not {given.dtype} of {given.shape}")
        if not len(given):
            return
        if given["table"].max() >= len(program.tables):
            raise ValueError(f"there is no table {given['table'].max()}, but {len(program.tables)}")
        named = [_named_together(table) for table in program.tables]
        together = np.array(named)[given["table"]] & (given["bits"] > 0)[:, None, None]
        lasts = given["columns"] + (given["bits"].astype(np.int64) - 1)[:, None] * given["steps"]
        self._check_named(given["columns"].astype(np.int64), lasts, together.diagonal(axis1=1, axis2=2))
        for one, other in combinations(range(ROLES), 2):
            both = together[:, one, other]
            self._check_pair(given[both], lasts[both], one, other)

    def _check_named(self, firsts: NDArray[np.int64], lasts: NDArray[np.int64], wanted: NDArray[np.bool_]) -> None:
        """(n, roles) each: the columns of an instruction's first and last bit, and whether its table names them."""
        if (wanted & (firsts == NO_COLUMN)).any():
            instruction, role = np.argwhere(wanted & (firsts == NO_COLUMN))[0].tolist()
            raise ValueError(f"instruction {instruction} has no column for role {role} of its table")
        for columns in (firsts, lasts):
            outside = wanted & ((columns < 0) | (columns >= self._geometry.columns))
            if outside.any():
                instruction, role = np.argwhere(outside)[0].tolist()
                raise ValueError(
                    f"instruction {instruction} names column {columns[instruction, role]}, which is not one of "
                    f"{self._geometry.columns}"
                )

    def _check_pair(self, given: NDArray[Any], lasts: NDArray[np.int64], one: int, other: int) -> None:
        """Of instructions that name two columns: never different positions of one track for the same bit."""
        spans = []
        for role in (one, other):
            ends = np.sort(np.stack([given["columns"][:, role].astype(np.int64), lasts[:, role]]), axis=0)
            spans.append(ends // self._geometry.domains)
        near = np.flatnonzero((spans[0][0] <= spans[1][1]) & (spans[1][0] <= spans[0][1]))
        left = given[near]
        bit = 0
        while len(left):
            columns = left["columns"].astype(np.int64) + bit * left["steps"].astype(np.int64)
            pair = columns[:, [one, other]]
            tracks, heads = pair // self._geometry.domains, self._geometry.heads(pair)
            apart = (tracks[:, 0] == tracks[:, 1]) & (heads[:, 0] != heads[:, 1])
            if apart.any():
                raise ValueError(_never_together(int(tracks[apart][0, 0])))
            bit += 1
            left = left[left["bits"] > bit]


def _named_together(table: Table) -> NDArray[np.bool_]:
    """(ROLES, ROLES): whether some pass of `table` names both roles; a role with itself: whether one names it."""
    masks = table.codes[:, 0] | table.codes[:, 2]
    named = (masks[:, None] >> np.arange(ROLES) & 1).astype(np.bool_)
    together: NDArray[np.bool_] = np.logical_or.reduce(named[:, :, None] & named[:, None, :], axis=0)
    return together


def checked_bits(bits: ArrayLike, columns: int) -> NDArray[np.uint8]:
    """(columns,) of 0 and 1. Raises ValueError with one sentence."""
    given = np.asarray(bits)
    is_of_bits = given.dtype.kind in "biu" and not (given.size and (given.min() < 0 or given.max() > 1))
    if given.shape != (columns,) or not is_of_bits:
        raise ValueError(f"bits must be ({columns},) of 0 and 1")
    return given.astype(np.uint8)


def checked_threshold(threshold: float) -> float:
    """Raises ValueError with one sentence."""
    if not 0.0 <= threshold <= _MAX_THRESHOLD:
        raise ValueError(f"sense_threshold must be 0 to {_MAX_THRESHOLD:g}, not {threshold:g}")
    return float(threshold)


def checked_verify_every(shifts: int) -> int:
    """Raises ValueError with one sentence."""
    if not _is_whole(shifts) or not 0 <= shifts <= _MAX_VERIFY_EVERY:
        raise ValueError(f"verify_every must be 0 to {_MAX_VERIFY_EVERY}, not {shifts}")
    return int(shifts)


def _is_whole(number: int) -> bool:
    return isinstance(number, (int, np.integer))


def _whole(numbers: ArrayLike, count: int, name: str) -> NDArray[np.int64]:
    """(n,) of 0 to count - 1."""
    given = np.asarray(numbers)
    if not given.size:
        given = given.astype(np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise ValueError(f"{name}s must be (n,) whole numbers, not {given.dtype} of {given.shape}")
    whole = given.astype(np.int64)
    outside = (whole < 0) | (whole >= count)
    if outside.any():
        raise ValueError(f"{name} {whole[outside][0]} is not one of {count}")
    return whole


def _never_together(track: int) -> str:
    return f"two columns of track {track} are never under its ports at the same time"
