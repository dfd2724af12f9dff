"""Program every cell to its own target: incremental step pulses, verified after each one.

A cell below its window gets SET pulses of rising amplitude, one above it RESET pulses; crossing to the other side
reverses the polarity and starts its ramp anew. A verify read inside the window is believed only when enough of some
further reads agree. Later rounds read everything again after given delays and program anew what has left.

Every loop is bounded: each pass pulses each active cell once, and a cell has `max_pulses` in all, `max_reversals`
a round, and one ramp (with `hold` pulses at its top) a polarity and reversal.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec
import numpy as np

from labctl.array import Capability, Cells, Geometry, MemoryArray, Operation, Scale
from labctl.errors import RunError, SettingsError, TargetError
from labctl.protocols import forming
from labctl.protocols.ramps import Ramp, batch
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable
from labctl.units import Second, Siemens, Volt, format_quantity


class CellOutcome(enum.IntEnum):
    """How programming one cell ended."""

    NOT_TARGETED = 0
    IN_WINDOW = 1
    UNREACHED = 2
    NEVER_FORMED = 3
    STUCK_LOW = 4
    STUCK_HIGH = 5
    OVER_STRESSED = 6
    NOISE_LIMITED = 7
    EXCLUDED = 8
    UNFINISHED = 9


class Confirm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell is in its window when `needed` of `reads` further reads are."""

    needed: int = 2
    reads: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.needed <= self.reads <= 1000:
            raise ValueError(f"needed ({self.needed}) must be 0 to reads ({self.reads}), and reads at most 1000")


class WriteVerifySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to program and how.

    target: (rows, cols) conductances in S. cells: (rows, cols) bool, which of them to program (all where None).
    exclude: (rows, cols) bool, cells never to be touched. tolerance: half the window's width in S; tolerances:
    (rows, cols), each cell's own instead. aim: the inner share of the window in which a cell has to land, so that noise
    does not carry it out again. form: how to form pristine cells first; None: leave them, and call them never formed.
    formed_at: below it a cell counts as pristine. reverify: delays in s after programming at which every cell is read
    again. stuck_change: a whole ramp that moves a cell by less leaves it stuck.
    """

    target: np.ndarray
    cells: np.ndarray | None = None
    exclude: np.ndarray | None = None
    tolerance: Siemens = Siemens(1e-6)
    tolerances: np.ndarray | None = None
    aim: float = 0.8
    set: Ramp = Ramp(start=Volt(1.2), stop=Volt(2.5), step=Volt(0.05), width=Second(1e-7), gate=Volt(2.0))
    reset: Ramp = Ramp(start=Volt(1.4), stop=Volt(3.0), step=Volt(0.05), width=Second(1e-7), gate=Volt(2.5))
    confirm: Confirm = Confirm()
    max_pulses: int = 300
    max_reversals: int = 30
    hold: int = 5
    reverify: tuple[Second, ...] = (Second(0.0), Second(1.0))
    form: forming.FormingSettings | None = forming.FormingSettings()
    formed_at: Siemens = Siemens(0.5e-6)
    stuck_change: Siemens = Siemens(0.5e-6)

    def __post_init__(self) -> None:
        if not 1 <= self.max_pulses <= 30_000:
            raise ValueError(f"max_pulses must be 1 to 30000, not {self.max_pulses}")
        if not 0 <= self.max_reversals <= 250:
            raise ValueError(f"max_reversals must be 0 to 250, not {self.max_reversals}")
        if not 0 <= self.hold <= 1000:
            raise ValueError(f"hold must be 0 to 1000, not {self.hold}")
        if not 0 < self.aim <= 1:
            raise ValueError(f"aim must be more than 0 and at most 1, not {self.aim:g}")
        if not (self.tolerance > 0 and (self.tolerances is None or np.all(self.tolerances > 0))):
            raise ValueError("a tolerance must be more than 0 S")
        if any(not 0 <= delay < 1e9 for delay in self.reverify) or list(self.reverify) != sorted(self.reverify):
            raise ValueError("reverify must be delays in s that do not decrease")


@dataclass(frozen=True, slots=True)
class Windows:
    """(cells,) targets in S, and windows in ADC codes whose `low` and `high` are inside.

    `aim_low`, `aim_high`: where a cell has to land. `wanted`, `excluded`: bool. `count`: of wanted cells, at least 1.
    """

    target: np.ndarray
    low: np.ndarray
    high: np.ndarray
    aim_low: np.ndarray
    aim_high: np.ndarray
    wanted: np.ndarray
    excluded: np.ndarray
    count: int


def windows(settings: WriteVerifySettings, geometry: Geometry, adc: Scale) -> Windows:
    """Raises TargetError or SettingsError with one sentence where a target cannot be meant."""
    shape = (geometry.rows, geometry.cols)
    target = _map(settings.target, shape, "target").astype(np.float32)
    wanted = np.ones(shape, bool) if settings.cells is None else _map(settings.cells, shape, "cells").astype(bool)
    excluded = np.zeros(shape, bool) if settings.exclude is None else _map(settings.exclude, shape, "exclude").astype(bool)
    wanted &= ~excluded
    tolerance = (
        np.full(shape, settings.tolerance, np.float32)
        if settings.tolerances is None
        else _map(settings.tolerances, shape, "tolerances").astype(np.float32)
    )
    _check_targets(target, tolerance, wanted, adc)
    target = np.where(wanted, target, 0)
    low, high = _codes_within(target, tolerance, adc)
    aim_low, aim_high = _codes_within(target, tolerance * np.float32(settings.aim), adc)
    if np.any((aim_high < aim_low) & wanted.ravel()):
        raise SettingsError(f"$.tolerance: narrower than one step of the converter, {format_quantity(adc.step, 'S')}")
    return Windows(
        target.ravel(), low, high, aim_low, aim_high, wanted.ravel(), excluded.ravel(), max(np.count_nonzero(wanted), 1)
    )


def _codes_within(target: np.ndarray, tolerance: np.ndarray, adc: Scale) -> tuple[np.ndarray, np.ndarray]:
    """(cells,) lowest and highest code within `tolerance` of `target`, never the top one, which means saturated."""
    low = np.ceil((target - tolerance - adc.offset) / adc.step).clip(0, adc.top)
    high = np.floor((target + tolerance - adc.offset) / adc.step).clip(0, adc.top - 1)
    return low.astype(np.uint16).ravel(), high.astype(np.uint16).ravel()


def _map(values: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    if np.shape(values) != shape:
        raise TargetError(f"$.{name}: has shape {np.shape(values)}, the array is {shape}")
    return np.asarray(values)


def _check_targets(target: np.ndarray, tolerance: np.ndarray, wanted: np.ndarray, adc: Scale) -> None:
    most = adc.offset + adc.step * (adc.top - 1)
    problems = (
        (~np.isfinite(target), "is not a finite conductance"),
        (target < 0, "is negative"),
        (target - tolerance > most, f"is above what the board can read, {format_quantity(most, 'S')}"),
    )
    for wrong, what in problems:
        wrong = wrong & wanted
        if wrong.any():
            row, col = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise TargetError(f"$.target: {target[row, col]:g} S at row {row}, column {col} {what}")


_UP, _DOWN, _DONE = 1, -1, 0


@dataclass(slots=True)
class _Active:
    """The cells still being programmed, one entry a cell in every array; `direction` 0 entries are done with.

    `start` is the pass in which the present ramp began, so that a cell's place on it needs no counting; `deadline`
    the pass by which its ramp or its budget is spent. `reading` and `target` are in codes, as float32; an entry that
    is done with reads its target, so that it adds nothing to the error.
    """

    cells: Cells
    aim_low: np.ndarray
    aim_high: np.ndarray
    target: np.ndarray
    reading: np.ndarray
    direction: np.ndarray
    start: np.ndarray
    budget: np.ndarray
    deadline: np.ndarray
    origin: np.ndarray
    reversals: np.ndarray
    triggers: np.ndarray
    left: int

    def compress(self) -> None:
        """Drop what is done with, once it is a good part of the whole."""
        if self.left > 0.8 * len(self.cells):
            return
        alive = np.flatnonzero(self.direction)
        for each in fields(self):
            values = getattr(self, each.name)
            if isinstance(values, np.ndarray):
                setattr(self, each.name, values[alive])


@dataclass(slots=True)
class _Programming:
    """One array being programmed: what is known of every cell, and how to go on."""

    array: MemoryArray
    settings: WriteVerifySettings
    windows: Windows
    reading: np.ndarray
    outcome: np.ndarray
    pulses: np.ndarray
    reversals: np.ndarray
    set_codes: np.ndarray
    reset_codes: np.ndarray
    events: int = 0
    reads: int = 0
    in_window: int = 0
    settled_error: float = 0.0
    verifies: list[dict[str, Any]] = field(default_factory=list)

    # -- one round of programming ---------------------------------------------------------------------------

    def program(self, cells: Cells, phase: str) -> Steps:
        """Pulse `cells` until each has landed or is given up."""
        active = self._activate(cells)
        most = len(cells)
        for passes in range(self.settings.max_pulses):
            self._settle(active, np.flatnonzero(active.deadline == passes), passes)
            active.compress()
            up = np.flatnonzero(active.direction == _UP)
            down = np.flatnonzero(active.direction == _DOWN)
            if not len(up) + len(down):
                break
            pulses = len(up) + len(down)
            landed = self._pulse(active, up, down, passes)
            if len(landed):
                self._confirm(active, landed, passes)
            yield self._step(phase, active, pulses, most)
        self._settle(active, np.flatnonzero(active.direction), self.settings.max_pulses)
        return {}

    def _activate(self, cells: Cells) -> _Active:
        reading = self.reading[cells].astype(np.float32)
        target = self._target_codes(cells)
        self.outcome[cells] = CellOutcome.UNFINISHED
        count = len(cells)
        direction = np.where(reading < target, _UP, _DOWN).astype(np.int8)
        active = _Active(
            cells=cells,
            aim_low=self.windows.aim_low[cells],
            aim_high=self.windows.aim_high[cells],
            target=target,
            reading=reading,
            direction=direction,
            start=np.zeros(count, np.int16),
            budget=(self.settings.max_pulses - self.pulses[cells]).astype(np.int16),
            deadline=np.zeros(count, np.int16),
            origin=reading.copy(),
            reversals=np.zeros(count, np.uint8),
            triggers=np.zeros(count, np.uint8),
            left=count,
        )
        self._begin_ramp(active, np.arange(count), 0)
        return active

    def _begin_ramp(self, active: _Active, entries: np.ndarray, passes: int) -> None:
        """A new ramp, in the direction `entries` have, from pass `passes` on."""
        active.start[entries] = passes
        active.origin[entries] = active.reading[entries]
        length = np.where(active.direction[entries] == _UP, len(self.set_codes), len(self.reset_codes))
        active.deadline[entries] = np.minimum(passes + length, active.budget[entries])

    def _pulse(self, active: _Active, up: np.ndarray, down: np.ndarray, passes: int) -> np.ndarray:
        """One pulse and verify on every active cell; returns the entries that landed in their window."""
        batches, groups = [], []
        for entries, operation, ramp, codes in (
            (up, Operation.SET, self.settings.set, self.set_codes),
            (down, Operation.RESET, self.settings.reset, self.reset_codes),
        ):
            if len(entries):
                amplitude = codes[passes - active.start[entries]]
                batches.append(batch(operation, ramp, active.cells[entries], amplitude))
                groups.append((entries, operation))
        readouts = self.array.pulse_and_verify(*batches)
        self.events += len(up) + len(down)
        landed = []
        for (entries, operation), readout in zip(groups, readouts, strict=True):
            codes = readout.codes[0]
            active.reading[entries] = codes
            landed.append(self._turn(active, entries, codes, operation, passes))
        return np.sort(np.concatenate(landed))

    def _turn(
        self, active: _Active, entries: np.ndarray, codes: np.ndarray, operation: Operation, passes: int
    ) -> np.ndarray:
        """Reverse what crossed its window; return the entries inside it."""
        if operation is Operation.SET:
            arrived = entries[codes >= active.aim_low[entries]]
            crossed = active.reading[arrived] > active.aim_high[arrived]
        else:
            arrived = entries[codes <= active.aim_high[entries]]
            crossed = active.reading[arrived] < active.aim_low[arrived]
        self._reverse(active, arrived[crossed], passes)
        return arrived[~crossed]

    def _reverse(self, active: _Active, entries: np.ndarray, passes: int) -> None:
        if not len(entries):
            return
        active.direction[entries] *= -1
        active.reversals[entries] += 1
        self._begin_ramp(active, entries, passes + 1)
        spent = entries[active.reversals[entries] > self.settings.max_reversals]
        self._settle(active, spent, passes + 1)

    def _confirm(self, active: _Active, landed: np.ndarray, passes: int) -> None:
        """Believe a landing only when enough further reads agree; else go on from their mean."""
        confirm = self.settings.confirm
        agreed = np.ones(len(landed), bool)
        if confirm.reads:
            cells = active.cells[landed]
            codes = self.array.read(cells, confirm.reads).codes
            self.reads += codes.size
            agreed = self._inside(codes, cells) >= confirm.needed
            active.reading[landed] = codes.mean(axis=0, dtype=np.float32)
        self._settle(active, landed[agreed], passes + 1, CellOutcome.IN_WINDOW)
        doubtful = landed[~agreed]
        if not len(doubtful):
            return
        active.triggers[doubtful] += active.triggers[doubtful] < 255
        direction = np.where(active.reading[doubtful] < active.target[doubtful], _UP, _DOWN)
        self._reverse(active, doubtful[direction != active.direction[doubtful]], passes)

    # -- ends of cells --------------------------------------------------------------------------------------

    def _settle(
        self, active: _Active, entries: np.ndarray, passes: int, outcome: CellOutcome | None = None
    ) -> None:
        """Write what became of `entries` into the maps; None: find out why they failed."""
        if not len(entries):
            return
        cells = active.cells[entries]
        self.outcome[cells] = self._why(active, entries, passes) if outcome is None else outcome
        self.in_window += len(entries) if outcome is CellOutcome.IN_WINDOW else 0
        self.reading[cells] = np.rint(active.reading[entries])
        self.pulses[cells] += passes
        self.reversals[cells] += active.reversals[entries]
        error = active.reading[entries] - active.target[entries]
        self.settled_error += float(np.dot(error, error))
        active.reading[entries] = active.target[entries]
        active.direction[entries] = _DONE
        active.deadline[entries] = -1
        active.left -= len(entries)

    def _why(self, active: _Active, entries: np.ndarray, passes: int) -> np.ndarray:
        moved = np.abs(active.reading[entries] - active.origin[entries])
        still = moved < self.settings.stuck_change / self.array.adc.step
        below = active.reading[entries] < active.aim_low[entries]
        length = np.where(active.direction[entries] == _UP, len(self.set_codes), len(self.reset_codes))
        whole_ramp = passes - active.start[entries] >= length
        outcome = np.full(len(entries), CellOutcome.UNREACHED, np.uint8)
        outcome[active.budget[entries] <= passes] = CellOutcome.OVER_STRESSED
        outcome[active.triggers[entries] >= 3] = CellOutcome.NOISE_LIMITED
        outcome[still & whole_ramp] = np.where(below, CellOutcome.STUCK_LOW, CellOutcome.STUCK_HIGH)[still & whole_ramp]
        return outcome

    # -- later rounds ---------------------------------------------------------------------------------------

    def verify(self, delay: float, since: float) -> Steps:
        """Read the programmed cells again `delay` s after `since`; program anew what has left its window."""
        self.array.clock.sleep_until(since + delay)
        cells = np.flatnonzero(self.outcome == CellOutcome.IN_WINDOW).astype(np.uint32)
        if not len(cells):
            return {}
        left = self._left(cells)
        self.verifies.append(
            {"after_s": float(delay), "cells": len(cells), "in_window": len(cells) - len(left), "left": len(left)}
        )
        self.in_window -= len(left)
        yield Step("reverify", {"active": len(left), "in_window": self.in_window})
        if len(left):
            error = self.reading[left] - self._target_codes(left)
            self.settled_error = max(self.settled_error - float(np.dot(error, error)), 0.0)  # they are active again
            yield from self.program(left, "reprogram")
        return {}

    def _left(self, cells: Cells) -> Cells:
        """The cells outside their window: by one read, and of those that fail it, by the confirming reads."""
        codes = self.array.read(cells).codes[0]
        self.reads += len(cells)
        self._note_readings(cells, codes)
        out = (codes < self.windows.low[cells]) | (codes > self.windows.high[cells])
        doubtful, confirm = cells[out], self.settings.confirm
        if not len(doubtful) or not confirm.reads:
            return doubtful
        codes = self.array.read(doubtful, confirm.reads).codes
        self.reads += codes.size
        self._note_readings(doubtful, np.rint(codes.mean(axis=0, dtype=np.float32)).astype(np.uint16))
        return doubtful[self._inside(codes, doubtful) < confirm.needed]

    def _inside(self, codes: np.ndarray, cells: Cells) -> np.ndarray:
        """(n,) how many of the (repeats, n) readings of `cells` are in their windows."""
        inside: np.ndarray = (codes >= self.windows.low[cells]) & (codes <= self.windows.high[cells])
        return np.count_nonzero(inside, axis=0)

    def _note_readings(self, cells: Cells, codes: np.ndarray) -> None:
        target = self._target_codes(cells)
        before, after = self.reading[cells] - target, codes - target
        self.settled_error = max(self.settled_error + float(np.dot(after, after) - np.dot(before, before)), 0.0)
        self.reading[cells] = codes

    # -- what is recorded -----------------------------------------------------------------------------------

    def _target_codes(self, cells: Cells) -> np.ndarray:
        adc = self.array.adc
        return (self.windows.target[cells] - np.float32(adc.offset)) / np.float32(adc.step)

    def _step(self, phase: str, active: _Active, pulses: int, most: int) -> Step:
        error = active.reading - active.target
        squares = self.settled_error + float(np.dot(error, error))
        left = active.left
        values = {
            "active": left,
            "in_window": self.in_window,
            "pulses": pulses,
            "rms_error": float(np.sqrt(squares / self.windows.count)) * self.array.adc.step,
        }
        return Step(phase, values, progress=(most - left, most))

    def maps(self) -> dict[str, np.ndarray]:
        shape = (self.array.geometry.rows, self.array.geometry.cols)
        adc = self.array.adc
        reached = adc.values(self.reading)
        target = np.where(self.windows.wanted, self.windows.target, np.float32("nan"))
        return {
            name: values.reshape(shape)
            for name, values in {
                "target": target,
                "reached": reached,
                "error": reached - target,
                "outcome": self.outcome,
                "pulses_per_cell": self.pulses,
                "reversals": self.reversals,
            }.items()
        }

    def summary(self) -> dict[str, Any]:
        wanted = self.windows.wanted
        programmable = wanted & (self.outcome != CellOutcome.NEVER_FORMED)
        pulses = self.pulses[programmable]
        error = (self.array.adc.values(self.reading) - self.windows.target)[programmable]
        counts = np.bincount(self.outcome, minlength=len(CellOutcome))
        formable, first = int(np.count_nonzero(programmable)), self.verifies[0] if self.verifies else None
        return {
            "cells": int(np.count_nonzero(wanted | self.windows.excluded)),
            "outcomes": {each.name.lower(): int(counts[each]) for each in CellOutcome if each},
            "formable": formable,
            "fraction_in_window": _share(int(counts[CellOutcome.IN_WINDOW]), formable),
            "fraction_in_window_at_first_verify": _share(first["in_window"], formable) if first else None,
            "verifies": self.verifies,
            "pulses": self.events,
            "reads": self.reads + self.events,
            "pulses_per_cell": {
                "mean": float(pulses.mean()) if formable else 0.0,
                "median": float(np.median(pulses)) if formable else 0.0,
                "p99": float(np.quantile(pulses, 0.99)) if formable else 0.0,
            },
            "rms_error_siemens": float(np.sqrt(np.mean(np.square(error, dtype=np.float64)))) if formable else None,
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _start(array: MemoryArray, settings: WriteVerifySettings, conductance: np.ndarray, limits: Windows) -> _Programming:
    """Everything known after the first read (or forming): `conductance` (cells,) in S."""
    outcome = np.full(array.geometry.cells, CellOutcome.NOT_TARGETED, np.uint8)
    outcome[limits.wanted] = CellOutcome.UNFINISHED
    outcome[limits.excluded] = CellOutcome.EXCLUDED
    pristine = limits.wanted & (conductance < settings.formed_at)
    outcome[pristine] = CellOutcome.NEVER_FORMED
    if pristine.any() and np.array_equal(pristine, limits.wanted):
        raise RunError(
            f"all {int(pristine.sum())} cells read below {format_quantity(settings.formed_at, 'S')}: "
            "the array has not been formed; form it first"
        )
    codes = np.rint((conductance - array.adc.offset) / array.adc.step).clip(0, array.adc.top).astype(np.uint16)
    return _Programming(
        array=array,
        settings=settings,
        windows=limits,
        reading=codes,
        outcome=outcome,
        pulses=np.zeros(array.geometry.cells, np.uint16),
        reversals=np.zeros(array.geometry.cells, np.uint16),
        set_codes=_table(settings.set, settings.hold, array.dac, "set"),
        reset_codes=_table(settings.reset, settings.hold, array.dac, "reset"),
    )


def _table(ramp: Ramp, hold: int, dac: Scale, name: str) -> np.ndarray:
    codes = ramp.codes(dac, name)
    return np.concatenate([codes, np.repeat(codes[-1:], hold)])


def _steps(array: MemoryArray, settings: WriteVerifySettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    limits = windows(settings, array.geometry, array.adc)
    shape = (array.geometry.rows, array.geometry.cols)
    if settings.form is not None:
        formed = yield from forming.form(array, settings.form, limits.wanted)
        conductance = formed.conductance
    else:
        conductance = array.read().conductance[0]
        yield Step("initial_read", {"active": int(np.count_nonzero(limits.wanted))})
    programming = _start(array, settings, conductance, limits)
    yield Step("initial_read", {}, {"initial": conductance.reshape(shape)})
    try:
        todo = np.flatnonzero(programming.outcome == CellOutcome.UNFINISHED).astype(np.uint32)
        yield from programming.program(todo, "program")
        since = array.clock.now()
        for delay in settings.reverify:
            yield from programming.verify(delay, since)
    except StopRequested:
        pass  # what is recorded below says which cells are unfinished
    yield Step("done", {}, programming.maps())
    return programming.summary()


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: WriteVerifySettings) -> Cost:
    """The bound: every cell spends its whole budget, each pulse landing and being confirmed."""
    cells = int(np.count_nonzero(windows(settings, geometry, adc).wanted))
    form = forming.form_cost(geometry, dac, settings.form) if settings.form is not None else None
    ramps = {Operation.SET: (settings.set, "set"), Operation.RESET: (settings.reset, "reset")}
    peaks = {op: float(dac.values(ramp.codes(dac, name).max())) for op, (ramp, name) in ramps.items()}
    reads_a_pulse = 1 + settings.confirm.reads
    later = len(settings.reverify) * reads_a_pulse
    return Cost(
        max_pulses=cells * settings.max_pulses + (form.max_pulses if form else 0),
        max_reads=cells * (settings.max_pulses * reads_a_pulse + later) + (form.max_reads if form else geometry.cells),
        amplitudes=peaks | (dict(form.amplitudes) if form else {}),
        gates={op: ramp.gate for op, (ramp, _) in ramps.items()} | (dict(form.gates) if form else {}),
        widths={op: ramp.width for op, (ramp, _) in ramps.items()} | (dict(form.widths) if form else {}),
        max_pulses_per_cell=settings.max_pulses + (form.max_pulses_per_cell if form else 0),
    )


write_verify = Procedure(
    name="write_verify",
    title="Program and verify",
    settings=WriteVerifySettings,
    phases=(*forming.PHASES, "program", "reverify", "reprogram", "done"),
    variables=(
        *forming.VARIABLES,
        Variable("active", "cells still being programmed", dtype="u4"),
        Variable("in_window", "cells in their window", dtype="u4"),
        Variable("pulses", "pulses in this step", dtype="u4"),
        Variable("rms_error", "root mean square of reading minus target over targeted cells", unit="S"),
        Variable("initial", "conductance before programming, after forming", ("row", "col"), unit="S"),
        Variable("target", "target conductance", ("row", "col"), unit="S"),
        Variable("reached", "conductance at the cell's last verify", ("row", "col"), unit="S"),
        Variable("error", "reached minus target", ("row", "col"), unit="S"),
        Variable(
            "outcome",
            "how programming the cell ended",
            ("row", "col"),
            "u1",
            flags={each.name.lower(): int(each) for each in CellOutcome},
        ),
        Variable("pulses_per_cell", "SET and RESET pulses the cell got", ("row", "col"), "u2"),
        Variable("reversals", "changes of polarity", ("row", "col"), "u2"),
    ),
    needs=Capability.PULSE | Capability.READ,
    steps=_steps,
    plan=_plan,
)
