"""How far apart match lines of a match and of one mismatch are: searches of known rows while the threshold is swept.

Columns are written so that half of the rows match a key and half miss it in one column; what they hold is read back,
so that neither write errors nor nanowires astray count. No track is shifted between the searches. Rows that match and
are not tagged are false misses, rows with one mismatch that are tagged false matches; where the share of either
jumps from one threshold to the next, thresholds between them are tried as well.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.associative import Action, AssociativeArray, Columns, Configure, Load, Planes, ReadTags, Search
from labctl.protocols.associative.bits import every_row, ones, random_planes, read_thrice, still_columns
from labctl.protocols.associative.counting import Counting
from labctl.steps import Result, Step, Variable

_JUMP = 0.15
"""Of a share, between neighbouring thresholds, over which one between them is tried."""

VARIABLES = (
    Variable("sense_threshold", "of the match lines: 0 is the signal of a match, 1 that of one mismatch", dtype="f8"),
    Variable("matching", "searches of rows that match the key", dtype="u8"),
    Variable("false_misses", "of them, those that were not tagged", dtype="u8"),
    Variable("mismatching", "searches of rows that miss the key in one column", dtype="u8"),
    Variable("false_matches", "of them, those that were tagged", dtype="u8"),
)


class SearchMarginSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """columns: of the key. thresholds: from, to, and how many. refine: rounds in which thresholds between them are
    tried. searches: at each threshold.
    """

    columns: int = 3
    low: float = 0.0
    high: float = 1.0
    thresholds: int = 21
    refine: int = 3
    searches: int = 4

    def __post_init__(self) -> None:
        for name, least in (("columns", 1), ("thresholds", 2), ("refine", 0), ("searches", 1)):
            if not least <= getattr(self, name) <= 10_000:
                raise ValueError(f"search_margin.{name} must be {least} to 10000, not {getattr(self, name)}")
        if not self.low < self.high:
            raise ValueError(f"search_margin.low must be less than high, not {self.low:g} and {self.high:g}")


@dataclass(slots=True)
class _Sweep:
    """counts: threshold -> searches of matching rows, false misses, searches of rows with one mismatch, false matches.

    matching, mismatching: (row_bytes,) rows that hold the key, and those with one column that does not.
    """

    search: Search
    searches: int
    matching: Planes
    mismatching: Planes
    counts: dict[float, NDArray[np.int64]] = field(default_factory=dict)

    def at(self, array: AssociativeArray, threshold: float) -> dict[str, float | int]:
        """A step's values."""
        searched: list[Action] = [self.search, ReadTags()]
        done = array.perform(Configure(sense_threshold=threshold), *(searched * self.searches))
        tags = np.stack(done[2::2])
        missed, matched = ones(self.matching & ~tags), ones(self.mismatching & tags)
        known = [ones(each) * self.searches for each in (self.matching, self.mismatching)]
        self.counts[threshold] = np.array([known[0], missed, known[1], matched], np.int64)
        names = ("matching", "false_misses", "mismatching", "false_matches")
        return {"sense_threshold": threshold, **dict(zip(names, self.counts[threshold].tolist(), strict=True))}

    def between(self) -> list[float]:
        """Thresholds to try next."""
        tried = sorted(self.counts)
        table = np.array([self.counts[each] for each in tried], np.float64)
        shares = table[:, 1::2] / np.maximum(table[:, ::2], 1)
        jumps = np.flatnonzero((np.abs(np.diff(shares, axis=0)) > _JUMP).any(axis=1))
        return [(tried[place] + tried[place + 1]) / 2 for place in jumps]


def measure(
    array: AssociativeArray, settings: SearchMarginSettings, counting: Counting, rng: np.random.Generator
) -> Generator[Step, None, dict[str, Any]]:
    """The results of it."""
    columns = still_columns(settings.columns, array.associative, "search_margin.columns")
    sweep = _prepared(array, columns, settings.searches, rng)
    wanted = np.linspace(settings.low, settings.high, settings.thresholds).tolist()
    for _ in range(settings.refine + 1):
        for turn, threshold in enumerate(wanted, 1):
            values = sweep.at(array, threshold)
            yield Step("search_margin", {**values, **counting.step()}, progress=(turn, len(wanted)))
        wanted = sweep.between()
    return _results(sweep)


def _prepared(array: AssociativeArray, columns: Columns, searches: int, rng: np.random.Generator) -> _Sweep:
    geometry, count = array.associative, len(columns)
    key = rng.integers(0, 2, count).astype(np.uint8)
    held = every_row(geometry) * key[:, None]
    missing = random_planes(rng, 1, geometry)[0]
    where = np.packbits(rng.integers(0, count, geometry.rows) == np.arange(count)[:, None], axis=1, bitorder="little")
    array.perform(Load(columns, held ^ where & missing))
    found, _ = read_thrice(array, columns)
    wrong = found ^ held
    once, more = np.zeros_like(missing), np.zeros_like(missing)
    for each in wrong:
        once, more = once ^ each & ~more, more | once & each
    once &= ~more
    return _Sweep(Search(columns, key), searches, every_row(geometry) & ~(once | more), once)


def _results(sweep: _Sweep) -> dict[str, Any]:
    tried = sorted(sweep.counts)
    columns = np.array([sweep.counts[each] for each in tried], np.int64).T
    told = {
        "matching": "searches of rows that match the key",
        "false_misses": "of them, those that were not tagged",
        "mismatching": "searches of rows that miss the key in one column",
        "false_matches": "of them, those that were tagged",
    }
    swept = {
        name: Result(values, ("sense_threshold",), long_name)
        for (name, long_name), values in zip(told.items(), columns, strict=True)
    }
    return {"sense_threshold": Result(np.array(tried), ("sense_threshold",), "of the match lines"), **swept}
