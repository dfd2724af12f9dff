"""From measured runs to a chip file: faults told apart, parameters fitted with intervals, the rest from a base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labctl.analysis.calibration import (
    endurance,
    forming,
    iv,
    pulse_response,
    read_noise,
    retention,
    scaling,
)
from labctl.analysis.calibration.chipfile import ChipFile, read_chip
from labctl.analysis.calibration.parameters import Base, Fit, Parameter
from labctl.analysis.calibration.runs import MeasuredRun, describe, load, pooled
from labctl.errors import RecordingError, UsageError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Base", "ChipFile", "Fit", "MeasuredRun", "Parameter", "calibrate", "load", "read_chip"]

_FITS: dict[str, Callable[[xr.Dataset, Base], Fit]] = {
    "read-noise": read_noise.fit,
    "iv": iv.fit,
    "forming": forming.fit,
    "endurance": endurance.fit,
    "pulse-response": pulse_response.fit,
    "retention": retention.fit,
}
"""In this order, as read noise is taken out of what comes after it."""

_OTHER_KINDS = {"PCM"}
"""Words for cells that are simulated, but by another model than the one that is fitted."""


def calibrate(paths: Sequence[str | Path], base: str = "rram_40nm", serial: str | None = None) -> ChipFile:
    """The chip that the runs at `paths` were measured on, as far as they tell; `base` gives the rest.

    Raises UsageError for an unknown base, runs of different cells or a replay beside others, RecordingError for files
    that are no runs of a measurement, or from which nothing can be fitted.
    """
    given = Base.load(base)
    runs = [load(Path(each)) for each in paths]
    if not runs:
        raise UsageError("calibrate: name at least one run file")
    for run in runs:
        run.check_alone(len(runs) - 1, "it would count the same cells again")
    kind = _kind(runs, given)
    parameters, notes = _fit(runs, given)
    if not parameters:
        raise RecordingError(_nothing(runs, notes))
    chips = sorted({str(run.dataset.attrs.get("chip_serial", "")) for run in runs} - {""})
    chosen = serial or f"{'+'.join(chips)[:40] or 'chip'}-twin"
    return ChipFile(kind, base, chosen, parameters, _heading(runs, chips, base, len(parameters)), notes)


def _nothing(runs: Sequence[MeasuredRun], notes: Sequence[str]) -> str:
    """Why nothing could be fitted."""
    if any(run.kind in _FITS for run in runs):
        return f"nothing could be fitted: {'; '.join(notes)}"
    kinds = " and ".join(sorted({run.kind for run in runs}))
    return f"nothing is fitted from runs of {kinds}; name one of {', '.join(_FITS)}"


def _kind(runs: Sequence[MeasuredRun], base: Base) -> str:
    """Of cells: the base's, whatever a run calls its own. Raises UsageError where a run, or the base, is of cells that
    are simulated by a model that nothing is fitted for."""
    if "RRAM" not in base.kind.split():
        raise UsageError(f"--base {base.name}: describes {base.kind!r}; calibration fits sets of RRAM cells")
    for run in runs:
        cell = str(run.dataset.attrs.get("cell", ""))
        if _OTHER_KINDS & set(cell.upper().split()):
            raise UsageError(f"{run.path.name}: its cells are {cell!r}; calibration fits RRAM cells")
    return base.kind


def _fit(runs: Sequence[MeasuredRun], base: Base) -> tuple[dict[str, Parameter], list[str]]:
    """Parameters of every kind of run there is, those of a kind pooled; empty where no fit succeeded."""
    datasets: dict[str, xr.Dataset] = {}
    notes: list[str] = []
    for kind in _FITS:
        same = [run for run in runs if run.kind == kind]
        if same:
            datasets[kind], further = pooled(same)
            notes += further
    found, further = _fit_scaled(datasets, base, frozenset(datasets))
    notes += further
    unused = [run for run in runs if run.kind not in _FITS]
    notes += [f"{run.kind}: {run.path.name} not used: nothing is fitted from it" for run in unused]
    missing = [name for name in _FITS if name not in datasets]
    if found and missing:
        notes.append(f"not measured, so as in {base.name}: what runs of {', '.join(missing)} would tell")
    return found, notes


def _fit_scaled(
    datasets: Mapping[str, xr.Dataset], base: Base, scaling_from: frozenset[str]
) -> tuple[dict[str, Parameter], list[str]]:
    """The fits in their order, on the base scaled as the kinds `scaling_from` need it.

    Only runs that something is fitted from may scale it: where one of them fails, all is done again without it.
    """
    scaled = scaling.fit([each for kind, each in datasets.items() if kind in scaling_from], base)
    found, notes = dict(scaled.parameters), list(scaled.notes)
    current = replace(base.with_fit(scaled), measured=frozenset())
    failed = set()
    for kind, dataset in datasets.items():
        try:
            fitted = _FITS[kind](dataset, current)
        except RecordingError as problem:
            notes.append(f"not fitted: {problem}")
            failed.add(kind)
            continue
        found |= fitted.parameters
        notes += fitted.notes
        current = current.with_fit(fitted)
    if scaled.parameters and failed & scaling_from:
        return _fit_scaled(datasets, base, scaling_from - failed)
    return (found if found.keys() - scaled.parameters.keys() else {}), notes


def _heading(runs: Sequence[MeasuredRun], chips: Sequence[str], base: str, count: int) -> list[str]:
    """The first lines of the file: what it is, and what it was made from."""
    return [
        f"A twin of {', '.join(chips) or 'a chip'}: name this file as `chip` of a simulated board.",
        f"{count} parameters stand here; every other one is that of {base}. Intervals are 95 %.",
        "[calibrated]: fitted. [bounded]: the most or least the runs allow. [assumed]: only suggested by them.",
        "",
        *describe(runs),
    ]
