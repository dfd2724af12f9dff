"""How programming converges: what the pulses given so far have come to, from the events of the run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.arrays import PRISTINE_BELOW
from labctl.analysis.estimators import Estimate
from labctl.analysis.measurements.passes import Pass, passes
from labctl.analysis.measurements.recording import Floats, Ints, Recording
from labctl.analysis.measurements.windows import half_widths
from labctl.analysis.studies.arguments import quantity
from labctl.analysis.studies.labelled import Variables, bounded, estimated, plain
from labctl.analysis.studies.many import Runs, chosen_runs, of_run, opened, path_of, together
from labctl.errors import RecordingError

_POINTS = 200
_CURVES = ("in_window", "rms_error", "unfinished")
_LONG_NAMES = {
    "in_window": "share of cells that last read inside their window",
    "rms_error": "root mean square of the last reading minus target",
    "unfinished": "share of cells that got a further pulse",
}
_UNITS = {"in_window": "1", "rms_error": "S", "unfinished": "1"}


def learning_curve(
    runs: Runs, *, window: float | str | None = None, pulses: Sequence[float] | None = None
) -> xr.Dataset:
    """Cells in window, error and cells still at work, against the SET and RESET pulses given so far.

    Of one run, along `step` (those that gave such pulses, and the one before the first): `pulses` so far a cell,
    in_window, rms_error (S) and unfinished, each with its 95 % interval (NAME_low, NAME_high); and `phase`. All from
    events: a cell is where its last reading says. Of a run that broke off too; there `unfinished` is a lower bound, as
    it counts cells that got a further pulse. window: half width, S (or text, as "1 uS"); without, what the run's
    settings say (in_window is NaN where they do not).

    Counted are targeted cells but those that never got a SET or RESET pulse and last read below 0.5 uS: these were
    never formed.

    Of many runs, the same along `run` on one grid of `pulses` (a cell; default: 200 up to the longest run): the last
    step that had given no more. A run that ended stays where it ended, one that broke off is NaN from there. Beside
    them NAME_median, its interval between runs (NAME_median_low, NAME_median_high; infinite for less than 6 runs), and
    `runs`, how many runs the median is of.

    Raises RecordingError for a run without targets, or without a SET or RESET pulse.
    """
    chosen = chosen_runs(runs)
    if not isinstance(chosen, list):
        with opened(chosen) as tree:
            return _curve(tree, window).assign_coords(of_run(tree.attrs, path_of(tree)))
    curves = []
    for each in chosen:
        with opened(each) as tree:
            curves.append(_curve(tree, window).assign_coords(of_run(tree.attrs, path_of(tree))))
    return on_one_grid(curves, pulses)


def on_one_grid(curves: Sequence[xr.Dataset], pulses: Sequence[float] | None = None) -> xr.Dataset:
    """Learning curves of one run each as those of many, on a grid of pulses a cell."""
    if pulses is None:
        grid = np.linspace(0.0, max(float(each["pulses"].values[-1]) for each in curves), _POINTS)
    else:
        grid = np.asarray(pulses, np.float64)
    found = together([_resampled(each, grid) for each in curves])
    told: Variables = {}
    for name in _CURVES:
        columns = [estimators.median(column) for column in found[name].transpose("pulses", "run").values]
        told |= estimated(
            f"{name}_median", ("pulses",), columns, _UNITS[name], f"median over runs of the {_LONG_NAMES[name]}"
        )
    known = np.isfinite(found["rms_error"].transpose("pulses", "run").values).sum(axis=1)
    return found.assign(told | plain("runs", ("pulses",), known, "1", "runs that got so far"))


@dataclass
class _Replay:
    """The array as its readings come in. Of the cells counted: sums over them that one step changes by little.

    target, last: (cells,) S. counted, inside: (cells,) bool. last_pulse: (cells,) which of the passes gave a cell
    its last SET or RESET pulse so far; -1: none.
    """

    target: Floats
    widths: Floats | None
    counted: NDArray[np.bool_]
    last: Floats = field(init=False)
    last_pulse: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.last = np.full(len(self.target), np.nan)
        self.last_pulse = np.full(len(self.target), -1)

    def apply(self, place: int, done: Pass) -> Floats:
        """What the pass `done`, the one at `place`, changed: pulses, cells read, cells in window, and the sums of
        error^2 and error^4."""
        pulsed = done.cell[done.programmed]
        self.last_pulse[pulsed] = place
        read = np.isfinite(done.reading)
        changed = np.zeros(len(self.last), bool)
        changed[done.cell[read]] = True
        touched = np.flatnonzero(changed & self.counted)
        before = self._sums(touched)
        self.last[done.cell[read]] = done.reading[read]  # of a cell read twice the last one stays
        pulses = np.count_nonzero(self.counted[pulsed])
        change: Floats = np.array([pulses, *(self._sums(touched) - before)])
        return change

    def _sums(self, cells: Ints) -> Floats:
        error = self.last[cells] - self.target[cells]
        known = np.isfinite(error)
        square = np.where(known, error, 0.0) ** 2
        inside = np.zeros(1, bool)
        if self.widths is not None:
            with np.errstate(invalid="ignore"):
                inside = (error >= -self.widths[0, cells]) & (error <= self.widths[1, cells])
        return np.array([known.sum(), inside.sum(), square.sum(), (square**2).sum()], np.float64)


def _curve(tree: xr.DataTree, window: float | str | None) -> xr.Dataset:
    run = Recording(tree)
    target = run.written_map("target")
    widths = half_widths(run) if window is None else np.full((2, run.cells), quantity("window", window, "S"))
    replay = _Replay(target, widths, _counted(tree, target))
    count = int(replay.counted.sum())
    numbers, rows = [], []
    for place, done in enumerate(passes(tree)):
        numbers.append(done.step)
        rows.append(replay.apply(place, done))
    changes = np.array(rows).reshape(-1, 5)
    at_work = np.flatnonzero(changes[:, 0])
    if not len(at_work):
        raise RecordingError("this run gave no SET or RESET pulse to a cell with a target")
    sums = np.cumsum(changes, axis=0)
    steps = np.concatenate([at_work[:1] - 1, at_work]) if at_work[0] else at_work
    final = np.bincount(replay.last_pulse[replay.counted] + 1, minlength=len(changes) + 1)
    finished = np.cumsum(final)[1:]  # cells whose last pulse was in this step or an earlier one
    told: Variables = plain("pulses", ("step",), sums[steps, 0] / count, "1", "SET and RESET pulses so far, a cell")
    told |= _shares("in_window", sums[steps, 2], count) if widths is not None else _unknown("in_window", len(steps))
    told |= _shares("unfinished", count - finished[steps], count)
    errors = [estimators.root_of_mean(row[3], row[4], int(row[1])) for row in np.maximum(sums[steps], 0.0)]
    told |= estimated("rms_error", ("step",), errors, "S", _LONG_NAMES["rms_error"])
    number = np.array(numbers)[steps]
    phase = np.append(run.phase, "")[np.minimum(number, len(run.phase))]
    coords = {"step": ("step", number, {"long_name": "row of the step", "units": "1"}), "phase": ("step", phase)}
    attrs = {"cells": count, "outcome": str(tree.attrs.get("outcome", ""))}
    return xr.Dataset(told, coords, attrs)


def _counted(tree: xr.DataTree, target: Floats) -> NDArray[np.bool_]:
    """(cells,) targeted, and formed as far as one can tell."""
    last, pulsed = np.full(len(target), np.nan), np.zeros(len(target), bool)
    for done in passes(tree):
        read = np.isfinite(done.reading)
        last[done.cell[read]] = done.reading[read]
        pulsed[done.cell[done.programmed]] = True
    counted: NDArray[np.bool_] = np.isfinite(target) & (pulsed | (last >= PRISTINE_BELOW))
    return counted


def _shares(name: str, counts: Floats | Ints, of: int) -> Variables:
    found: list[Estimate] = [estimators.fraction(int(each), of) for each in counts]
    return estimated(name, ("step",), found, _UNITS[name], _LONG_NAMES[name])


def _unknown(name: str, length: int) -> Variables:
    missing = np.full(length, np.nan)
    return bounded(name, ("step",), missing, missing, missing, units=_UNITS[name], long_name=_LONG_NAMES[name])


def _resampled(curve: xr.Dataset, grid: Floats) -> xr.Dataset:
    """On the grid of pulses a cell, as the last step that had given no more."""
    place = np.searchsorted(curve["pulses"].values, grid, side="right") - 1
    known = place >= 0
    if curve.attrs["outcome"] in ("killed", "live", "interrupted", "failed"):
        known &= grid <= curve["pulses"].values[-1]
    sampled = curve.drop_vars(["phase", "step", "pulses"]).isel(step=np.maximum(place, 0)).rename(step="pulses")
    sampled = sampled.where(xr.DataArray(known, dims="pulses"))
    told = {"long_name": "SET and RESET pulses so far, a cell", "units": "1"}
    return sampled.assign_coords(pulses=("pulses", grid, told))
