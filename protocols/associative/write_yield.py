"""How often writes and reads go wrong, and which cells take no more writes: patterns and their complements in turn.

Every write flips every cell of its columns, so one that fails shows. A state is read three times; what differs from
the majority was misread. Four more writes end it: a cell that holds the same bit after each of them is stuck.
Columns are written whole, by the host, and by tags. No track is shifted meanwhile, so nanowires astray do not matter.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
import numpy as np

from labctl.associative import ROLES, Action, AssociativeArray, Columns, Load, Planes, SetTags, Write
from labctl.protocols.associative.bits import READS, every_row, ones, random_planes, read_thrice, still_columns
from labctl.protocols.associative.counting import Counting
from labctl.steps import Result, Step, Variable

_LAST = 4  # writes, which tell what is stuck: one that was not would have to fail twice
WAYS = {"loaded": 0, "tagged": 1}

VARIABLES = (
    Variable("way", "how the columns were written", dtype="u1", flags=WAYS),
    Variable("bits_written", "bits written, each the other of what its cell held", dtype="u8"),
    Variable("bits_wrong", "of them, those that are not there", dtype="u8"),
    Variable("bits_read", "bits read, three times each", dtype="u8"),
    Variable("bits_misread", "of them, those that two other reads contradict", dtype="u8"),
)


class WriteYieldSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """columns: how many, each on its own track. cycles: of a pattern and its complement, each loaded and tagged."""

    columns: int = 32
    cycles: int = 3

    def __post_init__(self) -> None:
        for name in ("columns", "cycles"):
            if not 1 <= getattr(self, name) <= 10_000:
                raise ValueError(f"write_yield.{name} must be 1 to 10000, not {getattr(self, name)}")


def measure(
    array: AssociativeArray, settings: WriteYieldSettings, counting: Counting, rng: np.random.Generator
) -> Generator[Step, None, dict[str, Any]]:
    """The results of it."""
    rows = array.associative.rows
    turned = _Turned(array, still_columns(settings.columns, array.associative, "write_yield.columns"), rng)
    bits = len(turned.columns) * rows
    wrong: dict[str, list[Planes]] = {way: [] for way in WAYS}
    misread = 0
    turns = [way for way in WAYS for _ in range(2)] * settings.cycles
    for turn, way in enumerate(turns, 1):
        found, differing = turned.turn(way)
        wrong[way].append(found ^ turned.held)
        misread += differing
        values = {"way": WAYS[way], "bits_written": bits, "bits_wrong": ones(wrong[way][-1])}
        values |= {"bits_read": READS * bits, "bits_misread": differing, **counting.step()}
        yield Step("write_yield", values, progress=(turn, len(turns)))
    return _results(turned.columns, rows, turned.stuck(), wrong) | {
        "read_bits": Result(
            np.array([READS * bits * len(turns), misread]), ("read",), "bits read, and those of them that were misread"
        )
    }


class _Turned:
    """`columns` that all hold one pattern or its complement, by turns. held: (row_bytes,) what was written last."""

    def __init__(self, array: AssociativeArray, columns: Columns, rng: np.random.Generator) -> None:
        self.array, self.columns = array, columns
        self.held = random_planes(rng, 1, array.associative)[0]
        self._other = every_row(array.associative) & ~self.held
        array.perform(*_writing("loaded", columns, self.held, self._other))

    def turn(self, way: str) -> tuple[Planes, int]:
        """Write the other; what is read then, (n, row_bytes), and how many bits were misread."""
        self.held, self._other = self._other, self.held
        self.array.perform(*_writing(way, self.columns, self.held, self._other))
        return read_thrice(self.array, self.columns)

    def stuck(self) -> Planes:
        """(n, row_bytes) cells that hold the same bit whichever is written."""
        states = np.stack([self.turn("loaded")[0] for _ in range(_LAST)])
        found: Planes = np.bitwise_and.reduce(states) | every_row(self.array.associative) & ~np.bitwise_or.reduce(
            states
        )
        return found


def _writing(way: str, columns: Columns, pattern: Planes, others: Planes) -> list[Action]:
    """What writes `pattern`, (row_bytes,), to every one of `columns`; others: its complement."""
    if way == "loaded":
        return [Load(columns, np.tile(pattern, (len(columns), 1)))]
    done: list[Action] = []
    for bit in (1, 0):
        done.append(SetTags(pattern if bit else others))
        done += [
            Write(columns[first : first + ROLES], np.full(len(columns[first : first + ROLES]), bit, np.uint8))
            for first in range(0, len(columns), ROLES)
        ]
    return done


def _results(columns: Columns, rows: int, stuck: Planes, wrong: dict[str, list[Planes]]) -> dict[str, Any]:
    """Of writes that fail, those of cells that are stuck are left out."""
    sound = len(columns) * rows - ones(stuck)
    written = np.array([sound * len(each) for each in wrong.values()])
    failed = np.array([sum(ones(plane & ~stuck) for plane in each) for each in wrong.values()])
    by_column = np.bitwise_count(stuck).sum(axis=1, dtype=np.int64)
    return {
        "column": Result(columns.astype(np.int64), ("column",), "column"),
        "stuck": Result(by_column, ("column",), "cells that hold the same bit whatever is written"),
        "cells": Result(np.full(len(columns), rows), ("column",), "cells written"),
        "written_way": Result(
            np.arange(len(WAYS), dtype=np.uint8), ("written_way",), "how columns were written", flags=WAYS
        ),
        "sound_writes": Result(written, ("written_way",), "bits written to cells that are not stuck"),
        "failed_writes": Result(failed, ("written_way",), "of them, those that are not there"),
    }
