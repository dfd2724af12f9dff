"""A small associative-processor board on a free TCP port, a bench with one, and sessions with such an array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from associative_benches import write_associative_bench
from boards import ServedBoard

from labctl.associative import (
    AssociativeArray,
    Check,
    Configure,
    Load,
    Pass,
    Program,
    Read,
    ReadTags,
    Realign,
    Run,
    Search,
    SetTags,
    Shift,
    Table,
    Write,
    instructions,
)
from labctl.drivers.associative_board import AssociativeBoard
from labctl.simulated_instruments.instruments import associative_board

SHAPE = {"rows": 100, "tracks": 6, "domains": 8, "ports": 2}
FAULTY = {"shift_error": 0.02, "sense_noise": 0.2, "write_error": 0.01, "read_error": 0.01, "transverse_misread": 0.001}
"""So many faults that a session without any is another one."""

ADDER = Table("add", "abc", (Pass("011", "10-"), Pass("101", "01-"), Pass("11-", "--0"), Pass("00-", "--1")))
COPY = Table("copy", "ab", (Pass("0-", "-0"), Pass("1-", "-1")))


class ServedAssociativeBoard(ServedBoard):
    """Of SHAPE, without faults unless `options` say otherwise."""

    build = staticmethod(associative_board.build)
    shape = SHAPE

    def __init__(self, folder: Path, **options: object) -> None:
        super().__init__(folder, **{"cells": "racetrack_ideal", **options})

    def driver(self, resource_name: str | None = None, **settings: object) -> AssociativeBoard:
        name = resource_name or self.resource_name
        given: dict[str, Any] = self._given(settings)
        return AssociativeBoard(
            AssociativeBoard.Settings(
                driver="associative_board", resource_name=name, **{"visa_library": "@py", **given}
            )
        )


def write_small_bench(folder: Path, **options: Any) -> Path:
    """A bench file of such a board that keeps a wire log."""
    return write_associative_bench(folder, chip="T-1", instrument='wire_log = "wire.log"', **SHAPE, **options)


def adding(bits: int = 4, times: int = 1) -> Program:
    """Four-bit words on tracks 0 and 1 are added, again and again, with a carry on track 2; one copied to track 3."""
    rows = [(0, bits, (0, 8, 16), (1, 1, 0)), (1, bits, (8, 24), (1, 1))]
    return Program((ADDER, COPY), instructions(rows * times), "adding")


def session(
    array: AssociativeArray, before: Callable[[], None] = lambda: None, *, aligned: bool = False
) -> list[object]:
    """Some of everything, `before` each call; what it showed. aligned: nothing is shifted out of its place."""
    rng = np.random.default_rng(5)
    planes = rng.integers(0, 256, (12, 13), dtype=np.uint8)
    planes[:, -1] &= 15  # of 100 rows
    columns = np.r_[0:4, 8:12, 16:20].astype(np.uint32)
    bits = np.array([1, 0], np.uint8)
    calls: list[Callable[[], object]] = [
        lambda: array.perform(Load(columns, planes), Read(columns[::-1])),
        lambda: array.perform(Search(columns[[0, 5]], bits), ReadTags(), Write(columns[[0, 9]], bits), Read(columns)),
        lambda: array.perform(Search(columns[:0], bits[:0]), SetTags(planes[3]), Write(columns[:1], bits[:1])),
        lambda: array.perform(Run(adding(), trace=True)),
        lambda: array.perform(Configure(verify_every=2), Run(adding(times=3)), Read(columns)),
        lambda: array.perform(Shift(4, 3), Check(np.array([4, 0], np.uint16))),
        lambda: () if aligned else array.perform(SetTags(planes[1]), Realign(4, -1), Check(np.array([4], np.uint16))),
        lambda: array.clock.sleep_until(array.clock.now() + 12.5),
        lambda: array.perform(Configure(0.4, 0), Run(adding(), trace=True), Run(adding(3)), Read(columns)),
        lambda: array.counters(),
    ]
    found: list[object] = []
    for call in calls:
        before()
        found.append(shown(call()))
    return found


def shown(result: object) -> object:
    """So that two of them can be compared."""
    if isinstance(result, tuple):
        return [shown(each) for each in result]
    if isinstance(result, np.ndarray):
        return (result.dtype.str, result.tolist())
    trace = getattr(result, "trace", None)
    return result if trace is None else (result.counters, result.seconds, trace.tolist())  # type: ignore[attr-defined]
