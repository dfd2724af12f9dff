"""The engine of program-and-verify: passes of one pulse on every active cell, until each has landed or is given up.

Cells are worked on in compact arrays, one entry an active cell, that shrink as cells end. Nothing is kept per pulse:
a cell's place on its ramp is the number of passes since the ramp began.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from labctl.array import Cells, MemoryArray, Operation, Readout, Scale
from labctl.protocols.forming import NOT_GIVEN
from labctl.protocols.ramps import Ramp, batch
from labctl.protocols.windows import Windows
from labctl.protocols.write_verify_settings import CellOutcome, WriteVerifySettings
from labctl.steps import Step, StopRequested, Variable

_UP, _DOWN, _DONE = 1, -1, 0
_WAITING = 2  # times the direction: landed, and waiting to be confirmed together with others
_WAIT_SHARE = 8  # one part in so many of what is left makes a confirming read worth its crossing of the wire
_EVERY_PASS, _EVERY = 64, 8  # report each of the first passes, then one in so many
_DOUBTED = 3  # landings that did not hold, after which noise is what stands in the way

Passes = Generator[Step, None, None]

PROGRESS = (
    Variable("active", "cells still being programmed", dtype="u4", fill=NOT_GIVEN),
    Variable("in_window", "cells in their window", dtype="u4", fill=NOT_GIVEN),
    Variable("pulses", "pulses in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("rms_error", "root mean square of reading minus target over targeted cells that have formed", unit="S"),
)
"""What every step of a programming pass says."""

OUTCOME = Variable(
    "outcome",
    "how programming the cell ended",
    ("row", "col"),
    "u1",
    flags={each.name.lower(): int(each) for each in CellOutcome},
)


@dataclass(slots=True)
class _Active:
    """The cells still being programmed, one entry a cell in every array; `direction` 0 entries are done with.

    start: the pass in which the present ramp began; of a waiting entry, its next place on the ramp. deadline: the
    pass at which ramp or budget is spent. reading, target, origin (the reading the ramp began from): codes, as
    float32; an entry that is done with reads its target, so that it adds nothing to the error. spent: pulses in this
    round.
    """

    cells: Cells
    aim_low: np.ndarray
    aim_high: np.ndarray
    target: np.ndarray
    reading: np.ndarray
    origin: np.ndarray
    direction: np.ndarray
    start: np.ndarray
    deadline: np.ndarray
    spent: np.ndarray
    reversals: np.ndarray
    triggers: np.ndarray
    left: int
    waiting: int = 0

    def compress(self) -> None:
        """Drop what is done with, once it is a good part of the whole."""
        if self.left > 0.8 * len(self.cells):
            return
        alive = np.flatnonzero(self.direction)
        for each in fields(self):
            values = getattr(self, each.name)
            if isinstance(values, np.ndarray):
                setattr(self, each.name, values.take(alive))


@dataclass(slots=True)
class Programming:
    """One array being programmed: what is known of every cell, and how to go on.

    reading: (cells,) codes of the last verify. outcome, pulses, reversals: (cells,). formable: how many of the
    targeted cells have formed. settled_error: sum of squared
    errors, in codes, of the cells that ended. labels: scalars that every step carries besides its own. on_verify: told
    of every verify read.
    """

    array: MemoryArray
    settings: WriteVerifySettings
    windows: Windows
    reading: np.ndarray
    outcome: np.ndarray
    pulses: np.ndarray
    reversals: np.ndarray
    set_codes: np.ndarray
    reset_codes: np.ndarray
    formable: int
    pulse_count: int = 0
    forming_pulses: int = 0
    read_count: int = 0
    in_window: int = 0
    settled_error: float = 0.0
    stopped: bool = False
    verifies: list[dict[str, Any]] = field(default_factory=list)
    labels: Mapping[str, float | int] = field(default_factory=dict)
    on_verify: Callable[[Readout], None] | None = None

    @classmethod
    def starting(
        cls, array: MemoryArray, settings: WriteVerifySettings, windows: Windows, conductance: np.ndarray
    ) -> Programming:
        """From the first reading: `conductance` (cells,) in S. Pristine cells are never formed."""
        outcome = np.full(array.geometry.cells, CellOutcome.NOT_TARGETED, np.uint8)
        outcome[windows.wanted] = CellOutcome.UNFINISHED
        outcome[windows.excluded] = CellOutcome.EXCLUDED
        outcome[windows.wanted & (conductance < settings.form.formed_at)] = CellOutcome.NEVER_FORMED
        codes = np.rint((conductance - array.adc.offset) / array.adc.step).clip(0, array.adc.top)
        return cls(
            array=array,
            settings=settings,
            windows=windows,
            reading=codes.astype(array.adc.dtype),
            outcome=outcome,
            pulses=np.zeros(array.geometry.cells, np.uint16),
            reversals=np.zeros(array.geometry.cells, np.uint16),
            set_codes=_table(settings.set, settings.hold, array.dac, "set"),
            reset_codes=_table(settings.reset, settings.hold, array.dac, "reset"),
            formable=int(np.count_nonzero(outcome == CellOutcome.UNFINISHED)),
        )

    # -- one round ----------------------------------------------------------------------------------------------

    def conductance(self) -> np.ndarray:
        """(cells,) S at the last reading."""
        return self.array.adc.values(self.reading)

    def unfinished(self) -> Cells:
        return np.flatnonzero(self.outcome == CellOutcome.UNFINISHED).astype(np.uint32)

    def program(self, cells: Cells, phase: str) -> Passes:
        """Pulse `cells` until each has landed or is given up.

        Every pass spends pulses of a finite budget or ends the waiting of cells that spent one to land.
        """
        active = self._activate(cells)
        passes = pulses = 0
        try:
            while active.left:
                pulses += self._pass(active, passes)
                passes += 1
                if passes < _EVERY_PASS or passes % _EVERY == 0 or not active.left:
                    yield self._step(phase, active, pulses, len(cells))
                    pulses = 0
        except StopRequested:
            self._leave_unfinished(active)
            raise

    def _pass(self, active: _Active, passes: int) -> int:
        """One pulse on every cell that is not waiting; confirm those waiting when it pays. Returns the pulses."""
        self._settle(active, np.flatnonzero(active.deadline == passes), passes)
        active.compress()
        going_up, going_down = active.direction == _UP, active.direction == _DOWN
        up, down = np.flatnonzero(going_up), np.flatnonzero(going_down)
        active.spent += going_up | going_down
        pulses = len(up) + len(down)
        if pulses:
            self._wait(active, self._pulse(active, up, down, passes), passes)
        if active.waiting and (not pulses or active.waiting * _WAIT_SHARE >= active.left):
            self._confirm(active, np.flatnonzero(np.abs(active.direction) == _WAITING), passes)
        return pulses

    def _activate(self, cells: Cells) -> _Active:
        reading = self.reading[cells].astype(np.float32)
        target = self._target_codes(cells)
        self.outcome[cells] = CellOutcome.UNFINISHED
        count = len(cells)
        active = _Active(
            cells=cells,
            aim_low=self.windows.aim_low[cells],
            aim_high=self.windows.aim_high[cells],
            target=target,
            reading=reading,
            origin=reading.copy(),
            direction=np.where(reading < target, _UP, _DOWN).astype(np.int8),
            start=np.zeros(count, np.int32),
            deadline=np.zeros(count, np.int32),
            spent=np.zeros(count, np.uint16),
            reversals=np.zeros(count, np.uint8),
            triggers=np.zeros(count, np.uint8),
            left=count,
        )
        self._go_on(active, np.arange(count), 0)
        return active

    def _go_on(self, active: _Active, entries: np.ndarray, passes: int, place: np.ndarray | int = 0) -> None:
        """`entries` are pulsed from pass `passes` on, beginning at `place` of the ramp their direction has."""
        active.start[entries] = passes - place
        budget = self.settings.max_pulses - self.pulses[active.cells[entries]].astype(np.int32) - active.spent[entries]
        length = self._ramp_length(active.direction[entries])
        active.deadline[entries] = np.minimum(passes - place + length, passes + budget)

    def _pulse(self, active: _Active, up: np.ndarray, down: np.ndarray, passes: int) -> np.ndarray:
        """One pulse and verify on every entry of `up` and `down`; returns those that landed, in order."""
        groups = [
            (entries, operation, ramp, codes)
            for entries, operation, ramp, codes in (
                (up, Operation.SET, self.settings.set, self.set_codes),
                (down, Operation.RESET, self.settings.reset, self.reset_codes),
            )
            if len(entries)
        ]
        batches = [
            batch(operation, ramp, active.cells.take(entries), codes.take(passes - active.start.take(entries)))
            for entries, operation, ramp, codes in groups
        ]
        readouts = self.array.pulse_and_verify(*batches)
        landed = []
        for (entries, operation, _, _), readout in zip(groups, readouts, strict=True):
            self.pulse_count += len(entries)
            active.reading[entries] = readout.codes[0]
            if self.on_verify is not None:
                self.on_verify(readout)
            landed.append(self._turn(active, entries, readout.codes[0], operation, passes))
        return np.sort(np.concatenate(landed))

    def _turn(
        self, active: _Active, entries: np.ndarray, codes: np.ndarray, operation: Operation, passes: int
    ) -> np.ndarray:
        """Reverse what crossed its window; return the entries inside it."""
        if operation is Operation.SET:
            arrived = entries.compress(codes >= active.aim_low.take(entries))
            crossed = active.reading[arrived] > active.aim_high[arrived]
        else:
            arrived = entries.compress(codes <= active.aim_high.take(entries))
            crossed = active.reading[arrived] < active.aim_low[arrived]
        self._reverse(active, arrived[crossed], passes)
        landed: np.ndarray = arrived[~crossed]
        return landed

    def _reverse(self, active: _Active, entries: np.ndarray, passes: int) -> None:
        """From the next pass on, the other polarity from the start of its ramp."""
        if not len(entries):
            return
        active.direction[entries] = np.sign(active.direction[entries])
        allowed = active.reversals[entries] < self.settings.max_reversals
        self._settle(active, entries[~allowed], passes + 1)
        entries = entries[allowed]
        active.direction[entries] *= -1
        active.origin[entries] = active.reading[entries]
        active.reversals[entries] += 1
        self._go_on(active, entries, passes + 1)

    def _wait(self, active: _Active, landed: np.ndarray, passes: int) -> None:
        active.direction[landed] *= _WAITING
        active.start[landed] = passes + 1 - active.start[landed]
        active.deadline[landed] = -1
        active.waiting += len(landed)

    def _confirm(self, active: _Active, landed: np.ndarray, passes: int) -> None:
        """Believe a landing only when enough further reads agree; else go on from their mean."""
        confirm = self.settings.confirm
        agreed = np.ones(len(landed), bool)
        active.waiting = 0
        if confirm.reads:
            cells = active.cells[landed]
            codes = self.array.read(cells, confirm.reads).codes
            self.read_count += codes.size
            agreed = self._inside(codes, cells) >= confirm.needed
            active.reading[landed] = codes.mean(axis=0, dtype=np.float32)
        self._settle(active, landed[agreed], passes + 1, CellOutcome.IN_WINDOW)
        doubtful = landed[~agreed]
        active.triggers[doubtful] += active.triggers[doubtful] < 255
        wanted = np.where(active.reading[doubtful] < active.target[doubtful], _UP, _DOWN)
        same = wanted == np.sign(active.direction[doubtful])
        going_on = doubtful[same]
        active.direction[going_on] = np.sign(active.direction[going_on])
        self._go_on(active, going_on, passes + 1, active.start[going_on])
        self._reverse(active, doubtful[~same], passes)

    # -- ends of cells ------------------------------------------------------------------------------------------

    def _settle(self, active: _Active, entries: np.ndarray, passes: int, outcome: CellOutcome | None = None) -> None:
        """Write what became of `entries` into the maps; None: find out why they failed."""
        if not len(entries):
            return
        cells = active.cells[entries]
        self.pulses[cells] += active.spent[entries]
        self.outcome[cells] = self._why(active, entries, passes) if outcome is None else outcome
        self.in_window += len(entries) if outcome is CellOutcome.IN_WINDOW else 0
        self.reading[cells] = np.rint(active.reading[entries])
        self.reversals[cells] += active.reversals[entries]
        error = active.reading[entries] - active.target[entries]
        self.settled_error += float(np.dot(error, error))
        active.reading[entries] = active.target[entries]
        active.direction[entries] = _DONE
        active.deadline[entries] = -1
        active.left -= len(entries)

    def _why(self, active: _Active, entries: np.ndarray, passes: int) -> np.ndarray:
        """The outcome of cells that were given up."""
        moved = np.abs(active.reading[entries] - active.origin[entries])
        whole_ramp = passes - active.start[entries] >= self._ramp_length(active.direction[entries])
        stuck = whole_ramp & (moved < self.settings.stuck_change / self.array.adc.step)
        low = active.reading[entries] < active.target[entries]
        outcome = np.full(len(entries), CellOutcome.UNREACHED, np.uint8)
        outcome[self.pulses[active.cells[entries]] >= self.settings.max_pulses] = CellOutcome.OVER_STRESSED
        outcome[active.triggers[entries] >= _DOUBTED] = CellOutcome.NOISE_LIMITED
        outcome[stuck & low] = CellOutcome.STUCK_LOW
        outcome[stuck & ~low] = CellOutcome.STUCK_HIGH
        return outcome

    def _leave_unfinished(self, active: _Active) -> None:
        """Keep the last readings of cells that were stopped half way."""
        entries = np.flatnonzero(active.direction)
        cells = active.cells[entries]
        self.reading[cells] = np.rint(active.reading[entries])
        self.pulses[cells] += active.spent[entries]
        self.reversals[cells] += active.reversals[entries]

    # -- later rounds -------------------------------------------------------------------------------------------

    def verify(self, delay: float, since: float) -> Passes:
        """Read the programmed cells again `delay` s after `since`; program anew what has left its window."""
        self.array.clock.sleep_until(since + delay)
        cells = np.flatnonzero(self.outcome == CellOutcome.IN_WINDOW).astype(np.uint32)
        if not len(cells):
            return
        left = self._left(cells)
        self.verifies.append(
            {"after_s": float(delay), "cells": len(cells), "in_window": len(cells) - len(left), "left": len(left)}
        )
        self.in_window -= len(left)
        self.outcome[left] = CellOutcome.UNFINISHED
        yield Step("reverify", {"active": len(left), "in_window": self.in_window})
        if len(left):
            self._count_error(left, -1.0)  # they are active again, and counted there
            yield from self.program(left, "reprogram")

    def _left(self, cells: Cells) -> Cells:
        """The cells outside their window: by one read, and of those that fail it, by the confirming reads."""
        confirm = self.settings.confirm
        codes = self._reread(cells, 1)
        out: Cells = cells[(codes[0] < self.windows.low[cells]) | (codes[0] > self.windows.high[cells])]
        if not len(out) or not confirm.reads:
            return out
        gone: Cells = out[self._inside(self._reread(out, confirm.reads), out) < confirm.needed]
        return gone

    def _reread(self, cells: Cells, repeats: int) -> np.ndarray:
        """(repeats, n) codes of cells that had ended; their mean is their reading from now on."""
        codes = self.array.read(cells, repeats).codes
        self.read_count += codes.size
        self._count_error(cells, -1.0)
        self.reading[cells] = codes[0] if repeats == 1 else np.rint(codes.mean(axis=0, dtype=np.float32))
        self._count_error(cells, 1.0)
        return codes

    def _inside(self, codes: np.ndarray, cells: Cells) -> np.ndarray:
        """(n,) how many of the (repeats, n) readings of `cells` are in their windows."""
        inside = (codes >= self.windows.low[cells]) & (codes <= self.windows.high[cells])
        counts: np.ndarray = np.count_nonzero(inside, axis=0)
        return counts

    # -- what is reported ---------------------------------------------------------------------------------------

    def _target_codes(self, cells: Cells) -> np.ndarray:
        """(n,) float32, unrounded."""
        adc = self.array.adc
        codes: np.ndarray = (self.windows.target[cells] - np.float32(adc.offset)) / np.float32(adc.step)
        return codes

    def _count_error(self, cells: Cells, sign: float) -> None:
        error = self.reading[cells] - self._target_codes(cells)
        self.settled_error = max(self.settled_error + sign * float(np.dot(error, error)), 0.0)

    def _ramp_length(self, direction: np.ndarray) -> np.ndarray:
        return np.where(direction > 0, len(self.set_codes), len(self.reset_codes))

    def _step(self, phase: str, active: _Active, pulses: int, most: int) -> Step:
        error = active.reading - active.target
        squares = self.settled_error + float(np.dot(error, error))
        values = {
            **self.labels,
            "active": active.left,
            "in_window": self.in_window,
            "pulses": pulses,
            "rms_error": float(np.sqrt(squares / max(self.formable, 1))) * self.array.adc.step,
        }
        return Step(phase, values, progress=(most - active.left, most))

    def maps(self) -> dict[str, np.ndarray]:
        """(rows, cols) of everything per cell."""
        shape = (self.array.geometry.rows, self.array.geometry.cols)
        reached = self.array.adc.values(self.reading)
        target = np.where(self.windows.wanted, self.windows.target, np.float32("nan"))
        found = {
            "target": target,
            "reached": reached,
            "error": reached - target,
            "outcome": self.outcome,
            "pulses_per_cell": self.pulses,
            "reversals": self.reversals,
        }
        return {name: values.reshape(shape) for name, values in found.items()}

    def summary(self) -> dict[str, Any]:
        """The run's result. Shares are of the formable cells: targeted, not excluded and not never formed; pulses per
        cell are of SET and RESET."""
        wanted = self.windows.wanted
        formable = wanted & (self.outcome != CellOutcome.NEVER_FORMED)
        count = int(np.count_nonzero(formable))
        outcomes = np.bincount(self.outcome, minlength=len(CellOutcome))
        first = self.verifies[0]["in_window"] if self.verifies else None
        error = (self.array.adc.values(self.reading) - self.windows.target)[formable]
        pulses = self.pulses[formable]
        return {
            "cells": int(np.count_nonzero(wanted | self.windows.excluded)),
            "outcomes": {each.name.lower(): int(outcomes[each]) for each in CellOutcome if each},
            "formable": count,
            "fraction_in_window": int(outcomes[CellOutcome.IN_WINDOW]) / count if count else None,
            "fraction_in_window_at_first_verify": first / count if count and first is not None else None,
            "verifies": self.verifies,
            "pulses": self.forming_pulses + self.pulse_count,
            "forming_pulses": self.forming_pulses,
            "reads": self.read_count + self.pulse_count,
            "pulses_per_cell": {
                "mean": float(pulses.mean()) if count else 0.0,
                "median": float(np.median(pulses)) if count else 0.0,
                "p99": float(np.quantile(pulses, 0.99)) if count else 0.0,
            },
            "rms_error_siemens": float(np.sqrt(np.mean(np.square(error, dtype=np.float64)))) if count else None,
        }


def _table(ramp: Ramp, hold: int, dac: Scale, name: str) -> np.ndarray:
    """The codes of every pulse a ramp can give, those held at its stop included."""
    codes = ramp.codes(dac, name)
    return np.concatenate([codes, np.repeat(codes[-1:], hold)])
