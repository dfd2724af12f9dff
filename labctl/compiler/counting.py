"""What a program will count on the chip: searches, writes, columns, and shifts exactly, without running it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labctl.associative import ROLES, AssociativeGeometry, Counters, Program

Heads = NDArray[np.int64]


def counters_of_stage(
    geometry: AssociativeGeometry,
    loaded: Sequence[NDArray[np.uint32]],
    program: Program,
    read: NDArray[np.uint32],
    heads: Heads,
) -> Counters:
    """Of loads of columns, a program, and a read of columns; `heads`, (tracks,), are moved to where they end."""
    total = Counters(loaded_columns=sum(len(each) for each in loaded), read_columns=len(read))
    total += Counters(shifts=sum(_visits(geometry, each, heads) for each in loaded))
    total += counters_of_program(geometry, program, heads)
    return total + Counters(shifts=_visits(geometry, read, heads))


def counters_of_program(geometry: AssociativeGeometry, program: Program, heads: Heads) -> Counters:
    """Of one run of `program`; `heads`, (tracks,), are moved to where they end. Matches and written bits are 0."""
    instructions = program.instructions
    if not len(instructions):
        return Counters()
    codes = [table.codes for table in program.tables]
    per_bit = np.array([_of_table(each) for each in codes], np.int64).reshape(-1, 4)
    counts = (per_bit[instructions["table"]] * instructions["bits"][:, None]).sum(axis=0)
    searches, searched, writes, written = (int(each) for each in counts)
    shifts = _shifts(geometry, program, heads)
    return Counters(searches=searches, searched_columns=searched, writes=writes, written_columns=written, shifts=shifts)


def _of_table(codes: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    keys, thens = np.bitwise_count(codes[:, 0]), np.bitwise_count(codes[:, 2])
    return int((keys > 0).sum()), int(keys.sum()), int((thens > 0).sum()), int(thens.sum())


def _visits(geometry: AssociativeGeometry, columns: NDArray[np.uint32], heads: Heads) -> int:
    """Shifts for columns that are sought one after another."""
    at = geometry.heads(columns)
    return _path(columns.astype(np.int64) // geometry.domains, at, at, heads)


def _path(tracks: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64], heads: Heads) -> int:
    """Shifts of moves in order, each of one track from `begin` to `end` in one direction; heads are moved along."""
    if not len(tracks):
        return 0
    narrow = tracks.astype(np.uint16) if tracks.max() < 1 << 16 else tracks
    order = np.argsort(narrow, kind="stable")  # a radix sort of narrow numbers
    tracks, begin, end = tracks[order], begin[order], end[order]
    first = np.concatenate([[True], tracks[1:] != tracks[:-1]])
    came_from = np.where(first, heads[tracks], np.concatenate([[0], end[:-1]]))
    last = np.concatenate([first[1:], [True]])
    heads[tracks[last]] = end[last]
    return int(np.abs(begin - came_from).sum() + np.abs(end - begin).sum())


def _shifts(geometry: AssociativeGeometry, program: Program, heads: Heads) -> int:
    """Instructions whose words each stay on a track of their own are one move a word; others are taken pass by pass."""
    made = program.instructions
    named = np.zeros((len(program.tables), ROLES), np.bool_)
    for number, table in enumerate(program.tables):
        used = np.bitwise_or.reduce(table.codes[:, 0] | table.codes[:, 2], initial=0)
        named[number] = used >> np.arange(ROLES) & 1
    used = named[made["table"]] & (made["bits"] > 0)[:, None]  # (n, roles)
    first = np.where(used, made["columns"], 0).astype(np.int64)
    last = first + np.where(used, made["steps"] * (made["bits"].astype(np.int64)[:, None] - 1), 0)
    tracks, begin, end = first // geometry.domains, geometry.heads(first), geometry.heads(last)
    straight = (tracks == last // geometry.domains) & (end - begin == last - first)
    alone = np.where(used, tracks, -1 - np.arange(ROLES))
    alone.sort(axis=1)
    plain = straight.all(axis=1) & (alone[:, 1:] != alone[:, :-1]).all(axis=1)
    if plain.all():
        return _path(tracks[used], begin[used], end[used], heads)
    tracks, at = _bit_by_bit(geometry, program)
    return _path(tracks, at, at, heads)


def _bit_by_bit(geometry: AssociativeGeometry, program: Program) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every column that every pass names, in order: tracks and heads."""
    columns: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for instruction in program.instructions:
        codes = program.tables[instruction["table"]].codes
        passes = [np.flatnonzero((mask | then) >> np.arange(ROLES) & 1) for mask, then in codes[:, [0, 2]]]
        for bit in range(int(instruction["bits"])):
            at = instruction["columns"].astype(np.int64) + bit * instruction["steps"].astype(np.int64)
            columns += [at[roles] for roles in passes]
    flat = np.concatenate(columns)
    return flat // geometry.domains, geometry.heads(flat)
