"""How programmed cells drift: groups of cells programmed one after another, and each read at absolute times after.

A group is small, so that its cells are nearly of one age. Its reads are due at given times after its programming
ended, whatever was done meanwhile: the cadence does not drift. Those due soon come before the next group is
programmed; later reads of all groups go by when they are due. How late a read came is recorded with it.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from labctl.array import Capability, Cells, Geometry, MemoryArray, Operation, Readout, Scale
from labctl.errors import SettingsError, TargetError
from labctl.protocols import forming
from labctl.protocols.characterisation.cells import chosen
from labctl.protocols.characterisation.formed import FormedChoice, with_forming
from labctl.protocols.characterisation.programmed import begun, programmable_cells
from labctl.protocols.programming import OUTCOME, PROGRESS, Programming
from labctl.protocols.ramps import Ramp
from labctl.protocols.windows import windows
from labctl.protocols.write_verify_settings import RESET, SET, Confirm, WriteVerifySettings
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Second, Siemens

_WATCH = 60.0  # s: a longer wait is broken up, so that a stop is heard


class RetentionSettings(FormedChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """levels: conductances the cells are programmed to, shared out at random, in S; or target: (rows, cols) S instead,
    NaN for cells to leave alone. times: of the reads, s after a group's programming ended. group: cells programmed
    together. interleave: s; reads due within it come before the next group is programmed. The rest is as in
    write_verify, but that cells are believed at once and given fewer pulses, as the others age meanwhile.
    """

    cells: int | Literal["all"] = 1024
    levels: tuple[Siemens, ...] = tuple(Siemens(level * 2.5e-6) for level in range(1, 17))
    target: np.ndarray | None = None
    times: tuple[Second, ...] = tuple(Second(10.0**power) for power in range(-2, 6))
    group: int = 64
    interleave: Second = Second(10.0)
    tolerance: Siemens = Siemens(1e-6)
    aim: float = 0.8
    set: Ramp = SET
    reset: Ramp = RESET
    confirm: Confirm = Confirm(needed=0, reads=0)
    max_pulses: int = 100
    max_reversals: int = 30
    hold: int = 5

    def __post_init__(self) -> None:
        if self.target is None and not self.levels:
            raise ValueError("levels must be one or more conductances, where no target is given")
        if not self.times or not self.times[0] > 0 or any(after <= before for before, after in pairwise(self.times)):
            raise ValueError("times must be one or more delays above 0 s that increase")
        if self.times[-1] > 1e9:
            raise ValueError(f"times must be at most 1e9 s, not {self.times[-1]:g}")
        if self.group < 1:
            raise ValueError(f"group must be at least 1, not {self.group}")
        if self.interleave < 0:
            raise ValueError(f"interleave must not be negative, not {self.interleave:g}")
        self.write_verify(np.zeros((1, 1)))  # checks the rest

    def write_verify(self, target: np.ndarray) -> WriteVerifySettings:
        """Programming to `target` (rows, cols) S, NaN for cells to leave alone."""
        return WriteVerifySettings(
            target=target,
            cells=np.isfinite(target),
            tolerance=self.tolerance,
            aim=self.aim,
            set=self.set,
            reset=self.reset,
            confirm=self.confirm,
            max_pulses=self.max_pulses,
            max_reversals=self.max_reversals,
            hold=self.hold,
            form=self.form,
        )


@dataclass(frozen=True, slots=True, order=True)
class _Read:
    """One read to come; those that are due first are first. due: s since 1970. scheduled: s after programming."""

    due: float
    group: int
    scheduled: float = field(compare=False)


@dataclass(slots=True)
class _Study:
    """A run under way. verified, verified_at: (cells,) S and s since 1970 of the last verify read; NaN before."""

    array: MemoryArray
    settings: RetentionSettings
    groups: list[Cells]
    programming: Programming
    verified: np.ndarray
    verified_at: np.ndarray
    due: list[_Read] = field(default_factory=list)
    reads: int = 0
    latest: float = 0.0

    @classmethod
    def of(cls, array: MemoryArray, settings: RetentionSettings, cells: Cells, target: np.ndarray) -> _Study:
        shape = (array.geometry.rows, array.geometry.cols)
        programming = begun(array, settings.write_verify(target.reshape(shape)), cells)
        groups = np.split(cells, range(settings.group, len(cells), settings.group))
        verified, verified_at = np.full(array.geometry.cells, np.nan, np.float32), np.full(array.geometry.cells, np.nan)
        study = cls(array, settings, groups, programming, verified, verified_at)
        programming.on_verify = study.see
        return study

    def see(self, readout: Readout) -> None:
        self.verified[readout.cells] = readout.conductance[0]
        turns = np.arange(len(readout.cells)) * readout.seconds_per_cell
        self.verified_at[readout.cells] = readout.time + turns

    def steps(self) -> Generator[Step, None, None]:
        early = [time for time in self.settings.times if time <= self.settings.interleave]
        for number, cells in enumerate(self.groups):
            self.programming.labels = {"group": number}
            yield from self.programming.program(cells, "program")
            ended = self.array.clock.now()
            for scheduled in self.settings.times:
                heapq.heappush(self.due, _Read(ended + scheduled, number, scheduled))
            yield Step("program", {"group": number}, self.maps(), self.progress)
            yield from self.read_until(ended + early[-1] if early else ended)
        yield from self.read_until(np.inf)

    def read_until(self, last: float) -> Generator[Step, None, None]:
        """The reads due up to the moment `last`, in order."""
        while self.due and self.due[0].due <= last:
            read = heapq.heappop(self.due)
            yield from self.wait(read.due)
            readout = self.array.read(self.groups[read.group])
            self.reads += 1
            late = readout.time - read.due
            self.latest = max(self.latest, late)
            values = {"scheduled": read.scheduled, "group": read.group, "late": late}
            yield Step("read", values, progress=self.progress)

    def wait(self, moment: float) -> Generator[Step, None, None]:
        """Until `moment` on the array's clock, with a step now and then."""
        while moment - self.array.clock.now() > _WATCH:
            self.array.clock.sleep_until(self.array.clock.now() + _WATCH)
            yield Step("wait", progress=self.progress)
        self.array.clock.sleep_until(moment)

    @property
    def progress(self) -> tuple[float, float]:
        return self.reads, len(self.groups) * len(self.settings.times)

    def maps(self) -> dict[str, np.ndarray]:
        found = self.programming.maps()
        shape = found["target"].shape
        return {
            "target": found["target"],
            "programmed": self.verified.reshape(shape),
            "programmed_at": self.verified_at.reshape(shape),
            "outcome": found["outcome"],
            "pulses_per_cell": found["pulses_per_cell"],
        }

    def summary(self) -> dict[str, Any]:
        engine = self.programming.summary()
        return {
            "cells": engine["cells"],
            "groups": len(self.groups),
            "outcomes": engine["outcomes"],
            "fraction_in_window": engine["fraction_in_window"],
            "pulses": engine["pulses"],
            "reads_done": self.reads,
            "reads_planned": len(self.groups) * len(self.settings.times),
            "latest_read_s": self.latest,
        }


def _steps(array: MemoryArray, settings: RetentionSettings, rng: np.random.Generator) -> Steps:
    cells = yield from programmable_cells(array, settings, _cells(settings, array.geometry))
    study = _Study.of(array, settings, cells, _targets(settings, array.geometry, cells, rng))
    with contextlib.suppress(StopRequested):
        yield Step("begin", {}, study.maps(), study.progress)
        yield from study.steps()
    with contextlib.suppress(StopRequested):
        yield Step("done", {}, study.maps(), study.progress)
    return study.summary()


def _cells(settings: RetentionSettings, geometry: Geometry) -> Cells:
    """The chosen cells that have a target. Raises SettingsError where none has."""
    cells = chosen(settings, geometry)
    if settings.target is None:
        return cells
    if settings.target.shape != (geometry.rows, geometry.cols) or settings.target.dtype.kind not in "iuf":
        raise SettingsError(
            f"$.target: must be real numbers in S of shape ({geometry.rows}, {geometry.cols}), not "
            f"{settings.target.dtype} of shape {settings.target.shape}"
        )
    targeted: Cells = cells[np.isfinite(settings.target.ravel()[cells])]
    if not len(targeted):
        raise SettingsError("$.target: none of the chosen cells has one")
    return targeted


def _targets(settings: RetentionSettings, geometry: Geometry, cells: Cells, rng: np.random.Generator) -> np.ndarray:
    """(cells,) S, NaN but for `cells`. Levels are shared out evenly, at random within each group."""
    target = np.full(geometry.cells, np.nan, np.float32)
    if settings.target is not None:
        target[cells] = settings.target.ravel()[cells]
        return target
    level = np.arange(len(cells)) % len(settings.levels)
    for first in range(0, len(cells), settings.group):
        rng.shuffle(level[first : first + settings.group])
    target[cells] = np.array(settings.levels, np.float32)[level]
    return target


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: RetentionSettings) -> Cost:
    """The bound: every cell spends its whole budget, each pulse landing and being confirmed."""
    cells = _cells(settings, geometry)
    target = _targets(settings, geometry, cells, np.random.default_rng(0))
    try:
        windows(settings.write_verify(target.reshape(geometry.rows, geometry.cols)), geometry, adc)
    except TargetError as problem:
        if settings.target is not None:
            raise
        raise SettingsError(f"$.levels: {str(problem).removeprefix('$.target: ')}") from None
    ramps = {Operation.SET: (settings.set, "set"), Operation.RESET: (settings.reset, "reset")}
    reads = 2 + settings.max_pulses * (1 + settings.confirm.reads) + len(settings.times)
    cost = Cost(
        max_pulses=len(cells) * settings.max_pulses,
        max_reads=len(cells) * reads,
        amplitudes={op: float(dac.values(ramp.codes(dac, name).max())) for op, (ramp, name) in ramps.items()},
        gates={op: ramp.gate for op, (ramp, _) in ramps.items()},
        widths={op: ramp.width for op, (ramp, _) in ramps.items()},
        max_pulses_per_cell=settings.max_pulses,
    )
    return with_forming(cost, geometry, dac, settings)


retention = Procedure(
    name="retention",
    title="Retention",
    settings=RetentionSettings,
    phases=(*forming.PHASES, "begin", "program", "wait", "read", "done"),
    variables=(
        *forming.VARIABLES,
        *PROGRESS,
        Variable("scheduled", "when the read was due, after the group's programming ended", dtype="f8", unit="s"),
        Variable("group", "group of cells", dtype="u4", fill=forming.NOT_GIVEN),
        Variable("late", "how long after it was due the read began", dtype="f8", unit="s"),
        Variable("target", "target conductance", ("row", "col"), unit="S"),
        Variable("programmed", "verify reading after the cell's last pulse", ("row", "col"), unit="S"),
        Variable("programmed_at", "when that was, s since 1970-01-01T00:00:00Z", ("row", "col"), "f8", unit="s"),
        OUTCOME,
        Variable("pulses_per_cell", "SET and RESET pulses the cell got", ("row", "col"), "u2"),
    ),
    needs=Capability.PULSE | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="retention",
)
