"""The runs a calibration is made from: opened, named by what they hold, those of a kind pooled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labctl.analysis.measurements import measurement
from labctl.errors import LabctlError, RecordingError, UsageError
from labctl.recording.layout import Outcome
from labctl.recording.reader import open_run

if TYPE_CHECKING:
    import xarray as xr

_MOST = 0.5
_SAME_TIME = 0.05  # of two schedules, that count as one


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run file as far as a fit needs it. fingerprint: the first 12 digits of its SHA-256. replay_of: the names of
    the wire logs that answered, of a run that is no measurement of its own."""

    path: Path
    kind: str
    dataset: xr.Dataset
    fingerprint: str
    settings: dict[str, Any]
    replay_of: str = ""

    def check_alone(self, others: int, why: str) -> None:
        """Raises UsageError where it is a replay and stands beside `others` runs: it says nothing that is new."""
        if self.replay_of and others:
            raise UsageError(f"{self.path.name} is a replay of {self.replay_of}: {why}")


def load(path: Path) -> MeasuredRun:
    """The run at `path`, measured into memory. Raises RecordingError, also for one that still goes on."""
    tree = open_run(path)
    try:
        if tree.attrs.get("outcome") == Outcome.LIVE:
            raise RecordingError(f"{path.name}: the run still goes on; calibrate from it once it is done")
        try:
            dataset = measurement(tree).load()
        except LabctlError as problem:
            raise RecordingError(f"{path.name}: {problem}") from None
        dataset.attrs |= _pulses(tree) | {"forms_cells": _forms(tree, dataset)}
        settings = _settings(tree)
        replay_of = str(tree.attrs.get("replay_of", ""))
    finally:
        tree.close()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return MeasuredRun(path, str(dataset.attrs["measurement"]), dataset, digest, settings, replay_of)


def pooled(runs: Sequence[MeasuredRun]) -> tuple[xr.Dataset, list[str]]:
    """The cells of runs of one kind as one measurement, and notes on what does not go together.

    Runs whose other coordinates (times, voltages, cycles) differ cannot share a fit: those of the schedule with the
    most cells are used. What all cells of a run share is the first run's.
    """
    import xarray as xr

    if len(runs) == 1:
        return runs[0].dataset, []
    families: list[list[MeasuredRun]] = []
    for run in runs:
        for family in families:
            if _alike(family[0].dataset, run.dataset):
                family.append(run)
                break
        else:
            families.append([run])
    families.sort(key=lambda family: -sum(each.dataset.sizes.get("cell", 0) for each in family))
    chosen, left = families[0], [run for family in families[1:] for run in family]
    notes = [f"{run.kind}: {run.path.name} not used: another schedule or other pulses than the rest" for run in left]
    first = chosen[0].dataset
    others = [
        each.dataset.assign_coords({name: first[name] for name in each.dataset.dims if name not in ("cell",)})
        for each in chosen[1:]
    ]
    if not others:
        return first, notes
    together = xr.concat(
        [first, *others],
        dim="cell",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    return together, notes


def _alike(first: xr.Dataset, second: xr.Dataset) -> bool:
    """Whether the cells of two measurements can stand in one table."""
    if first.sizes.keys() != second.sizes.keys() or "cell" not in first.sizes:
        return False
    if first.data_vars.keys() != second.data_vars.keys():
        return False
    for name in first.dims:
        if name == "cell":
            continue
        one, other = first[name].values, second[name].values
        if one.shape != other.shape:
            return False
        if one.dtype.kind in "fiu" and not np.allclose(one, other, rtol=_SAME_TIME):
            return False
    shared = [name for name, values in first.data_vars.items() if "cell" not in values.dims]
    if not all(_paced(first[name].values, second[name].values) for name in shared):
        return False
    names = ("amplitude_set", "amplitude_reset", "width", "gate_set", "gate_reset")
    return all(_equal(first.attrs.get(name), second.attrs.get(name)) for name in names)


def _paced(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two schedules of as many times are one, to 5 % of a time or of the usual interval."""
    interval = float(np.median(np.abs(np.diff(one)))) if one.size > 1 else 0.0
    return bool(np.allclose(one, other, rtol=_SAME_TIME, atol=_SAME_TIME * interval))


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.isclose(one, other, rtol=1e-3, equal_nan=True))


def _pulses(tree: xr.DataTree) -> dict[str, float]:
    """Gate, width and amplitude of SET and RESET pulses where all of them had the same, as attributes."""
    operations, events = tree["operations"].to_dataset(), tree["events"].to_dataset()
    kind = operations["kind"].values
    meanings = str(operations["kind"].attrs.get("flag_meanings", "")).split()
    codes = np.atleast_1d(operations["kind"].attrs.get("flag_values", []))
    found: dict[str, float] = {}
    for name in ("set", "reset"):
        if name not in meanings:
            continue
        rows = np.flatnonzero(kind == codes[meanings.index(name)])
        if not len(rows):
            continue
        first = operations["first_event"].values[rows].astype(np.int64)
        amplitude = events["amplitude"].values
        found |= _constant(f"pulse_gate_{name}", operations["gate"].values[rows])
        found |= _constant(f"pulse_width_{name}", operations["width"].values[rows])
        found |= _constant(f"pulse_amplitude_{name}", amplitude[first[first < len(amplitude)]])
    return found


def _forms(tree: xr.DataTree, dataset: xr.Dataset) -> bool:
    """Whether the run formed the cells it measured, most of them: cells that never form are tried again and again."""
    operations = tree["operations"].to_dataset()
    kind = operations["kind"]
    meanings = str(kind.attrs.get("flag_meanings", "")).split()
    codes = np.atleast_1d(kind.attrs.get("flag_values", []))
    if "form" not in meanings or "cell" not in dataset.coords:
        return False
    forming = np.flatnonzero(kind.values == codes[meanings.index("form")])
    first, count = (operations[name].values[forming].astype(np.int64) for name in ("first_event", "events"))
    cells = tree["events"].to_dataset()["cell"].values
    pulsed = np.zeros(0, cells.dtype)
    for start, length in zip(first, count, strict=True):
        pulsed = np.union1d(pulsed, cells[start : start + length])
    return bool(np.isin(dataset["cell"].values, pulsed).mean() > _MOST)


def _constant(name: str, values: np.ndarray) -> dict[str, float]:
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) > 1e-3 * abs(float(values[0])):
        return {}
    return {name: float(values[0])}


def _settings(tree: xr.DataTree) -> dict[str, Any]:
    import msgspec

    text = tree["provenance"].attrs.get("settings", "{}")
    try:
        found = msgspec.json.decode(text if isinstance(text, str | bytes) else "{}")
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def describe(runs: Iterable[MeasuredRun]) -> list[str]:
    """A line a run: its name, kind, cells and fingerprint."""
    return [
        f"{each.path.name}: {each.kind}, {each.dataset.sizes.get('cell', 0)} cells, sha256 {each.fingerprint}"
        for each in runs
    ]
