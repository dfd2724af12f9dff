"""How long columns keep their bits: written once, and read at given times after, on an absolute schedule.

Each time the majority of three reads is compared with that of the first three, and bits that changed are counted by
what they were. Nothing is shifted meanwhile.
"""

from __future__ import annotations

import time as computer
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from labctl.array import Clock
from labctl.associative import AssociativeArray, Load
from labctl.protocols.associative.bits import every_row, ones, random_planes, read_thrice, still_columns
from labctl.protocols.associative.counting import Counting
from labctl.steps import Result, Step, Variable
from labctl.units import Second

_WATCH = 60.0  # s: a longer wait is broken up, so that a stop is heard
_SOON = 1.0  # s of the computer: parts that take less, as on a simulated board, are made longer

VARIABLES = (
    Variable("scheduled", "when the read was due, after the first", dtype="f8", unit="s"),
    Variable("elapsed", "when it was made, after the first", dtype="f8", unit="s"),
    Variable("flipped", "bits that were not what they were at first", dtype="u8"),
)


class BitRetentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """columns: how many, each on its own track. times: of the reads, s after the first."""

    columns: int = 32
    times: tuple[Second, ...] = tuple(Second(10.0**power) for power in range(6))

    def __post_init__(self) -> None:
        if not 1 <= self.columns <= 10_000:
            raise ValueError(f"retention.columns must be 1 to 10000, not {self.columns}")
        if not self.times or not self.times[0] > 0 or any(after <= before for before, after in pairwise(self.times)):
            raise ValueError("retention.times must be one or more delays above 0 s that increase")
        if self.times[-1] > 1e9:
            raise ValueError(f"retention.times must be at most 1e9 s, not {self.times[-1]:g}")


def measure(
    array: AssociativeArray, settings: BitRetentionSettings, counting: Counting, rng: np.random.Generator
) -> Generator[Step, None, dict[str, Any]]:
    """The results of it."""
    geometry, clock = array.associative, array.clock
    columns = still_columns(settings.columns, geometry, "retention.columns")
    array.perform(Load(columns, random_planes(rng, len(columns), geometry)))
    first, _ = read_thrice(array, columns)
    began = clock.now()
    elapsed, flipped = [], []
    for turn, time in enumerate(settings.times, 1):
        for _ in _waits(clock, began + time):
            yield Step("retention", progress=(turn - 1, len(settings.times)))
        elapsed.append(clock.now() - began)
        found, _ = read_thrice(array, columns)
        changed = found ^ first
        flipped.append([ones(changed & ~first), ones(changed & first)])
        values = {"scheduled": time, "elapsed": elapsed[-1], "flipped": sum(flipped[-1]), **counting.step()}
        yield Step("retention", values, progress=(turn, len(settings.times)))
    held = np.array([ones(every_row(geometry) & ~first), ones(first)])
    return {
        "retention_time": Result(np.array(elapsed), ("retention_time",), "since the first read", unit="s"),
        "stored": Result(np.array([0, 1]), ("stored",), "the bit that was stored"),
        "stored_bits": Result(held, ("stored",), "bits stored"),
        "flipped_bits": Result(np.array(flipped), ("retention_time", "stored"), "bits that changed, by what they were"),
    }


def _waits(clock: Clock, moment: float) -> Iterator[None]:
    """Until `moment`, in parts."""
    part = _WATCH
    while moment - clock.now() > part:
        begun = computer.monotonic()
        clock.sleep_until(clock.now() + part)
        part *= 2 if computer.monotonic() - begun < _SOON else 1
        yield
    clock.sleep_until(moment)
