"""What a chip's record says to a run that is about to begin: cells to leave alone, and how worn the others may get."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Operation
from labctl.bench.live import BenchArray
from labctl.chips.history import history
from labctl.chips.record import runs_of
from labctl.chips.sparing import spared_cells
from labctl.chips.wear import wear_of
from labctl.plugins import load_protocol
from labctl.runner.preparing import Prepared
from labctl.runner.telling import tell
from labctl.steps import Cost, Procedure


def sparing(
    protocol: str | Procedure, array: BenchArray, out: str | Path | None, settings: dict[str, Any], *, all_cells: bool
) -> dict[str, Any]:
    """`settings` with the chip's bad cells among those to `exclude`, where the protocol can leave cells out; says on
    stderr how many those are. out: where the run goes, as in `run`. all_cells: nothing is left out, not even what
    people exclude.

    Raises UsageError where what people exclude of the chip cannot be read, or is not on it.
    """
    procedure = load_protocol(protocol) if isinstance(protocol, str) else protocol
    can_exclude = "exclude" in procedure.settings.__struct_fields__
    if not (can_exclude and isinstance(array, BenchArray) and array.chip_serial):
        return settings
    geometry = array.geometry
    spared = spared_cells(
        array.chip_serial,
        _archives(array, Path(out) if out is not None else array.bench.runs_folder),
        geometry.rows,
        geometry.cols,
        retries=procedure.retries,
        by_people_only=array.is_volatile,
        as_of=array.replayed_at,
    )
    if not spared.count:
        return settings
    more = f"labctl chip show {array.chip_serial}"
    if all_cells:
        tell(f"labctl: chip {array.chip_serial}: all cells, also those usually left alone: {spared} ({more})")
        return settings
    tell(f"labctl: chip {array.chip_serial}: left alone: {spared} ({more}; --all-cells)")
    given = settings.get("exclude")
    is_mask = isinstance(given, np.ndarray) and given.shape == spared.mask.shape and given.dtype == bool
    if given is not None and not is_mask:
        return settings  # which is refused for it
    return {**settings, "exclude": spared.mask if given is None else spared.mask | given}


def warn_of_wear(prepared: Prepared, array: BenchArray, folder: Path) -> None:
    """Say on stderr how many cells the run may take how far through the lifetime that the bench file gives them.

    Which cells a protocol chooses, it alone knows; its plan says how many at most.
    """
    wear, geometry = array.wear, array.geometry
    if (wear.max_pulses is None and wear.max_dose is None) or not prepared.cost.max_pulses or array.is_volatile:
        return
    pulses, dose = np.zeros(geometry.cells, np.uint64), np.zeros(geometry.cells)
    for each in _archives(array, folder):
        runs, *shape = runs_of(array.chip_serial, each) if each.is_dir() else ([], 0, 0)
        if shape == [geometry.rows, geometry.cols]:
            ledger = history(each, array.chip_serial, runs, geometry.rows, geometry.cols).ledger
            pulses, dose = pulses + ledger.pulses.sum(axis=0), dose + ledger.dose
    kept = ~_excluded(prepared.settings, geometry.cells)
    for found in wear_of(wear, pulses[kept], dose[kept], prepared.cost.max_pulses_per_cell, _most_dose(prepared.cost)):
        if found.beyond:
            at_most = replace(found, beyond=min(found.beyond, _most_cells(prepared.cost, geometry.cells)))
            tell(f"labctl: chip {array.chip_serial}: wear: this run may take up to {at_most}")


def people_exclude(array: BenchArray, folder: Path) -> NDArray[np.bool_]:
    """(cells,) what people exclude of the chip, as it stands in the archives that a run in `folder` has."""
    rows, cols = array.geometry.rows, array.geometry.cols
    return spared_cells(
        array.chip_serial, _archives(array, folder), rows, cols, retries=(), by_people_only=True, as_of=None
    ).mask.ravel()


def excluded_count(settings: msgspec.Struct) -> int:
    """How many cells the settings exclude."""
    mask = getattr(settings, "exclude", None)
    return 0 if mask is None else int(np.count_nonzero(mask))


def _excluded(settings: msgspec.Struct, cells: int) -> NDArray[np.bool_]:
    """(cells,) those that the settings exclude."""
    mask = getattr(settings, "exclude", None)
    return np.zeros(cells, bool) if mask is None else np.asarray(mask, bool).ravel()


def _most_cells(cost: Cost, cells: int) -> int:
    """How many of the array's `cells` a run pulses at most: a plan gives each of its cells the whole budget."""
    return min(math.ceil(cost.max_pulses / cost.max_pulses_per_cell), cells) if cost.max_pulses_per_cell else cells


def _most_dose(cost: Cost) -> float:
    """V s that a cell may get: the pulses that form it, and all others of the kind that has most."""
    dose = {kind: volts * cost.widths[kind] for kind, volts in cost.amplitudes.items()}
    form = cost.max_form_pulses_per_cell * (dose.pop(Operation.FORM) if cost.max_form_pulses_per_cell else 0.0)
    others = cost.max_pulses_per_cell - cost.max_form_pulses_per_cell
    return form + others * max(dose.values(), default=0.0)


def _archives(array: BenchArray, folder: Path) -> list[Path]:
    """Where the chip's history is: where the bench keeps its runs, and the `folder` of this one; of one within the
    other, the outer."""
    usual, own = array.bench.runs_folder.resolve(), folder.resolve()
    if own.is_relative_to(usual):
        return [usual]
    return [own] if usual.is_relative_to(own) else [usual, own]
