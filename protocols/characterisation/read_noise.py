"""The same cells read over and over, nothing pulsed in between: the noise of a reading, and its spectrum.

Either as fast as the board reads, or one sample an interval on an absolute schedule, whose cadence does not drift.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from labctl.array import Capability, Cells, Geometry, MemoryArray, Readout, Scale
from labctl.errors import RunError
from labctl.protocols import forming
from labctl.protocols.characterisation.cells import chosen
from labctl.protocols.characterisation.formed import FormedChoice, formed_cells, with_forming
from labctl.protocols.moments import RunningMoments
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Second, format_quantity

_MOST_READINGS = 1 << 18  # of one operation, so that memory stays small and a stop is soon heard
_MOST_REPEATS = 10_000  # of one operation, as the test board takes


class ReadNoiseSettings(FormedChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """samples: readings of each cell. interval: s from one to the next; as fast as the board reads where None."""

    cells: int | Literal["all"] = 256
    samples: int = 4096
    interval: Second | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.samples <= 100_000_000:
            raise ValueError(f"samples must be 2 to 100000000, not {self.samples}")
        if self.interval is not None and not self.interval > 0:
            raise ValueError(f"interval must be more than 0 s, not {self.interval:g}")


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: ReadNoiseSettings) -> Cost:  # noqa: ARG001
    reads = len(chosen(settings, geometry)) * settings.samples
    return with_forming(Cost(0, reads, {}, {}, {}), geometry, dac, settings)


def _steps(array: MemoryArray, settings: ReadNoiseSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    cells = yield from formed_cells(array, settings, chosen(settings, array.geometry))
    moments, saturated = RunningMoments(len(cells)), np.zeros(len(cells), np.uint64)
    readouts = _fast(array, cells, settings.samples)
    if settings.interval is not None:
        readouts = _scheduled(array, cells, settings.samples, settings.interval)
    with contextlib.suppress(StopRequested):  # the samples so far are a measurement too
        for readout in readouts:
            moments.add(readout.conductance)
            saturated += np.count_nonzero(readout.saturated, axis=0).astype(np.uint64)
            yield Step("read", {"samples": moments.count}, progress=(moments.count, settings.samples))
    return _summary(moments, saturated)


def _fast(array: MemoryArray, cells: Cells, samples: int) -> Iterator[Readout]:
    most = max(1, min(_MOST_REPEATS, _MOST_READINGS // len(cells)))
    for taken in range(0, samples, most):
        yield array.read(cells, repeats=min(most, samples - taken))


def _scheduled(array: MemoryArray, cells: Cells, samples: int, interval: float) -> Iterator[Readout]:
    """Raises RunError where the board needs longer for the cells than the interval."""
    began = array.clock.now()
    for turn in range(samples):
        array.clock.sleep_until(began + turn * interval)
        readout = array.read(cells)
        missed = (readout.time - began) // interval - turn
        if missed >= 1:  # nobody was there to take them, as before a resumed run went on: not now, in a burst
            began += missed * interval
        takes = len(cells) * readout.seconds_per_cell
        if takes > interval:
            raise RunError(
                f"a sample of {len(cells)} cells takes the board {format_quantity(takes, 's')}, longer than the "
                f"interval of {format_quantity(interval, 's')}: choose fewer cells or a longer interval"
            )
        yield readout


def _summary(moments: RunningMoments, saturated: np.ndarray) -> dict[str, Any]:
    """Medians are over cells that were read within the converter's range every time."""
    known = (saturated == 0) & (moments.mean > 0) & (moments.count > 1)
    relative = moments.spread[known] / moments.mean[known]
    return {
        "cells": len(moments.mean),
        "samples": moments.count,
        "saturated": int(np.count_nonzero(saturated)),
        "conductance_median_siemens": float(np.median(moments.mean[known])) if known.any() else float("nan"),
        "relative_noise_median": float(np.median(relative)) if known.any() else float("nan"),
    }


read_noise = Procedure(
    name="read_noise",
    title="Noise of repeated reads",
    settings=ReadNoiseSettings,
    phases=(*forming.PHASES, "read"),
    variables=(*forming.VARIABLES, Variable("samples", "samples of each cell so far", dtype="u4")),
    needs=Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="read-noise",
)
