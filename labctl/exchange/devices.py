"""What simulators of in-memory computing ask of a device.

Programming error, change after programming, read noise and conductance steps, each by conductance level. Nothing here
is fitted to a simulator's formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ByLevel:
    """Mean and standard deviation of an error, in S, at conductance levels: (n,) each, levels increasing."""

    levels: Floats
    mean: Floats
    spread: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """levels: (n,) S. times: (m,) s after programming. changes: for each level (cells, m) S since programming, NaN
    where not read.
    """

    levels: Floats
    times: Floats
    changes: tuple[Floats, ...]

    def at(self, column: int) -> ByLevel:
        """The change at one of the times."""
        values = [each[:, column] for each in self.changes]
        mean, spread = ([float(f(each)) for each in values] for f in (np.nanmean, np.nanstd))
        return ByLevel(self.levels, np.array(mean), np.array(spread))


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """What single pulses do: conductance before, S, and the change, S, for each of many pulses."""

    up_from: Floats
    up: Floats
    down_from: Floats
    down: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """What is known of one kind of device; None: not measured. g_max: the highest conductance in use, S.

    noise: standard deviation of reads of one cell. notes: what the reader of an export should know. sources: the files
    it was made of, with their fingerprints.
    """

    name: str
    g_max: float
    relaxation: Relaxation | None = None
    programming: ByLevel | None = None
    noise: ByLevel | None = None
    steps: Steps | None = None
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
