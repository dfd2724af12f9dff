"""The device that measured runs of one chip show."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.calibration import faults
from labctl.analysis.measurements import measurement
from labctl.analysis.measurements.recording import Recording
from labctl.errors import ExportError
from labctl.exchange.devices import ByLevel, Device, Floats, Relaxation, Steps
from labctl.recording import open_run

if TYPE_CHECKING:
    import xarray as xr

_BINS = 8
"""Levels that measured cells are sorted into, in equal numbers."""
_FEWEST = 20
"""Cells a level needs."""


def measured_device(paths: Sequence[Path], g_max: float | None) -> Device:
    """Of the runs at `paths`, one of a kind. g_max: S, instead of the highest found. Raises ExportError."""
    parts: dict[str, list[xr.Dataset]] = {}
    serials: dict[str, None] = {}
    sources = []
    for path in paths:
        found = _measured(path)
        kind = str(found.attrs["measurement"])
        parts.setdefault(kind, []).append(found)
        serials[str(found.attrs["chip_serial"])] = None
        with path.open("rb") as stream:
            sources.append(f"{path.name}: {kind}, sha256 {hashlib.file_digest(stream, 'sha256').hexdigest()[:12]}")
    unused = sorted(set(parts) - {"retention", "programming", "read-noise", "pulse-response"})
    notes = tuple(f"a run of {kind} tells a device model nothing" for kind in unused)
    for kind, runs in parts.items():
        if len(runs) > 1 and kind not in unused:
            raise ExportError(f"{len(runs)} runs of {kind}: export one of a kind")
    device = Device("-".join(serials), g_max or _highest(parts), notes=notes, sources=tuple(sources))
    if "retention" in parts:
        device = _with_retention(device, parts["retention"][0])
    if "programming" in parts:
        run = parts["programming"][0]
        kept = run["success"].values
        levels = run["target"].values[kept].astype(float)
        device = replace(device, programming=_by_level(levels, run["reached"].values[kept] - levels))
    if "read-noise" in parts:
        table = parts["read-noise"][0]["conductance"].values.astype(np.float64)
        device = replace(device, noise=_noise(np.nanmean(table, axis=1), np.nanstd(table, axis=1)))
    if "pulse-response" in parts:
        device = replace(device, steps=_steps(parts["pulse-response"][0]["conductance"].values.astype(np.float64)))
    return device


def _measured(path: Path) -> xr.Dataset:
    """The measurement in the run at `path`; of retention the usable cells alone, `unused` of them left out."""
    with open_run(path) as tree:
        found = measurement(tree).load()
        if found.attrs["measurement"] != "retention":
            return found
        kept = _usable(found, Recording(tree))
    return found.isel(cell=kept).assign_attrs(unused=int(np.count_nonzero(~kept)))


def _usable(run: xr.Dataset, recording: Recording) -> NDArray[np.bool_]:
    """(cells,) which cells of a run of retention work, and came into their window where the run tells.

    Cells that never did are no error of programming: a verify finds them, and they would not be used.
    """
    target = run["target"].values.astype(np.float64)
    found = faults.of_states(run["conductance"].values.astype(np.float64), target if _any(target) else None).usable
    if recording.has_map("outcome"):
        found &= recording.flagged("outcome", "in_window")[run["cell"].values.astype(np.intp)]
    return found


def _any(values: Floats) -> bool:
    return bool(np.isfinite(values).any())


def _highest(parts: Mapping[str, list[xr.Dataset]]) -> float:
    """The highest target; where there was none, the highest level in use, but for one cell in 200."""
    targets = [run["target"].values for kind in ("retention", "programming") for run in parts.get(kind, ())]
    tops = [float(np.nanmax(each)) for each in targets if _any(each)]
    if not tops:
        states = [run["conductance"].values[:, 0] for run in parts.get("retention", ())]
        states += [run["conductance"].values for run in parts.get("pulse-response", ())]
        tops = [float(np.nanquantile(each, 0.995)) for each in states if _any(each)]
    if not tops and "read-noise" in parts:
        tops = [float(np.nanmax(run["conductance"].values)) for run in parts["read-noise"]]
    return max(tops, default=math.nan)


def _with_retention(device: Device, run: xr.Dataset) -> Device:
    """Change since programming; and where cells had targets, how far from them they were programmed."""
    table = run["conductance"].values.astype(np.float64)
    programmed, times = table[:, 0], run["time"].values[1:]
    groups = _groups(programmed)
    change = table[:, 1:] - programmed[:, None]
    columns = np.array([all(np.isfinite(change[group, k]).sum() > 1 for group in groups) for k in range(len(times))])
    levels = np.array([np.median(programmed[group]) for group in groups])
    relaxation = Relaxation(levels, times[columns], tuple(change[group][:, columns] for group in groups))
    unused = run.attrs["unused"]
    left_out = (f"{unused} cells of the run of retention left out: faulty, or never in their window",) if unused else ()
    device = replace(device, relaxation=relaxation if columns.any() else None, notes=(*device.notes, *left_out))
    target = run["target"].values.astype(np.float64)
    known = np.isfinite(target)
    if known.sum() < _FEWEST:
        return device
    return replace(device, programming=_by_level(target[known], (programmed - target)[known]))


def _groups(values: Floats) -> list[NDArray[np.intp]]:
    """The cells of each level: equally many a level. Raises ExportError where there are too few."""
    if len(values) < _FEWEST:
        raise ExportError(f"{len(values)} cells: a distribution needs at least {_FEWEST}")
    order = np.argsort(values, kind="stable")
    return list(np.array_split(order, min(_BINS, len(values) // _FEWEST)))


def _by_level(values: Floats, errors: Floats) -> ByLevel:
    known = np.isfinite(values) & np.isfinite(errors)
    values, errors = values[known], errors[known]
    groups = _groups(values)
    levels, mean = (np.array([each[group].mean() for group in groups]) for each in (values, errors))
    return ByLevel(levels, mean, np.array([errors[group].std(ddof=1) for group in groups]))


def _noise(levels: Floats, spread: Floats) -> ByLevel:
    """Of few cells each by itself; of many, the root mean square a level."""
    groups = _groups(levels) if len(levels) >= _BINS * _FEWEST else list(np.argsort(levels)[:, None])
    rms = np.array([np.sqrt(np.mean(spread[group] ** 2)) for group in groups])
    centres = np.array([levels[group].mean() for group in groups])
    return ByLevel(centres, np.zeros(len(groups)), rms)


def _steps(table: Floats) -> Steps:
    """Every step of every train. table: (cell, train, direction, pulse) S."""
    before, change = table[..., :-1], np.diff(table, axis=-1)
    parts = []
    for direction in range(2):
        known = np.isfinite(change[:, :, direction])
        parts += [before[:, :, direction][known], change[:, :, direction][known]]
    return Steps(*parts)
