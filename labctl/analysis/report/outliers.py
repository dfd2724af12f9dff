"""The cells of a run that are furthest from the others, by kind of measurement."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.arrays import DEFECTS, classes
from labctl.analysis.characterisation.cycling import states_of
from labctl.analysis.characterisation.sweeps import fit_currents
from labctl.analysis.report.content import Table
from labctl.analysis.report.material import Run, flags_of
from labctl.analysis.report.words import percent, quantity, spoken

if TYPE_CHECKING:
    import xarray as xr

_MOST = 20
_IN_WORDS = ("outcome", "kind", "layer", "edge")
_Columns = list[tuple[str, Callable[[int], str]]]


def outliers(run: Run) -> Table | None:
    """The worst of them first; None where the run measured nothing that has any."""
    if run.measured is None or run.kind not in _OF_KIND:
        return None
    badness, title, columns = _OF_KIND[run.kind](run, run.measured)
    badness = np.where(np.isnan(badness), -np.inf, badness)
    ordered = np.argsort(-badness, kind="stable")
    worst = [int(each) for each in ordered[:_MOST] if badness[each] > -np.inf]
    if not worst:
        return None
    cols = run.recording.shape[1]
    cells = _cells(run.measured)
    rows = [
        (str(int(cells[each]) // cols), str(int(cells[each]) % cols), *(text(each) for _, text in columns))
        for each in worst
    ]
    head = ("row", "column", *(name for name, _ in columns))
    numeric = [place for place, name in enumerate(head) if name not in _IN_WORDS]
    return Table(f"{title}: the first {len(rows)} of {len(cells):,} cells", head, rows, numeric)


def _cells(measured: xr.Dataset) -> NDArray[np.int64]:
    if "cell" in measured.coords:
        return np.asarray(measured["cell"].values, np.int64)
    return np.arange(measured["conductance"].size)


def _column(values: NDArray[Any], unit: str) -> Callable[[int], str]:
    return lambda place: quantity(float(values[place]), unit)


def _programming(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:
    target, reached, pulses = (measured[name].values.astype(np.float64) for name in ("target", "reached", "pulses"))
    error = reached - target
    outcome = run.group("maps")["outcome"]
    names, codes = flags_of(outcome), outcome.values.ravel()[_cells(measured)].astype(int)
    columns: _Columns = [
        ("target", _column(target, "S")),
        ("reached", _column(reached, "S")),
        ("error", _column(error, "S")),
        ("pulses", _column(pulses, "1")),
        ("outcome", lambda place: spoken(names.get(int(codes[place]), str(codes[place])))),
    ]
    return np.abs(error), "Furthest from their targets", columns


def _forming(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    voltage, conductance, gate = (
        measured[name].values.astype(np.float64) for name in ("forming_voltage", "conductance", "gate")
    )
    columns: _Columns = [
        (
            "forming voltage",
            lambda place: quantity(float(voltage[place]), "V") if np.isfinite(voltage[place]) else "did not form",
        ),
        ("conductance", _column(conductance, "S")),
        ("gate", _column(gate, "V")),
    ]
    return np.where(np.isfinite(voltage), voltage, np.inf), "Never formed, then hardest to form", columns


def _furthest_formed(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:
    """Of cells that formed, as the others were not to."""
    _, _, columns = _forming(run, measured)
    conductance = measured["conductance"].values.astype(np.float64)
    formed = np.where(np.isfinite(measured["forming_voltage"].values), conductance, np.nan)
    return np.abs(formed - estimators.median(formed).value), "Furthest from the median of formed cells", columns


def _map(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    conductance, spread = (measured[name].values.astype(np.float64).ravel() for name in ("conductance", "spread"))
    kind = classes(measured).ravel()
    usual = conductance[kind == DEFECTS.index("good")]
    centre, width = estimators.median(usual).value, estimators.robust_spread(usual).value
    far = (conductance - centre) / width if width else np.full(conductance.shape, np.nan)
    columns: _Columns = [
        ("conductance", _column(conductance, "S")),
        ("from the median", lambda place: f"{far[place]:+.1f} robust sd"),
        ("sd between repeats", _column(spread, "S")),
        ("kind", lambda place: DEFECTS[kind[place]]),
    ]
    formed = kind != DEFECTS.index("pristine")
    return np.where(formed, np.abs(far), np.nan), "Furthest from the median of formed cells", columns


def _iv(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    fit = fit_currents(measured["voltage"].values, measured["current"].values)
    columns: _Columns = [
        ("conductance", _column(fit.conductance, "S")),
        ("nonlinearity", lambda place: f"{fit.nonlinearity[place]:.3g} 1/V²"),
        ("offset current", _column(fit.offset, "A")),
        ("residual, RMS", _column(fit.residual, "A")),
    ]
    residual = np.where(np.isfinite(fit.conductance), fit.residual, np.nan)
    return residual, "Worst described by I = I₀ + G V (1 + a V²)", columns


def _pulse_response(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    ramps = measured["conductance"].sel(direction="set").values.astype(np.float64)
    start, end = (estimators.known_median(ramps[..., place]) for place in (0, -1))
    columns: _Columns = [
        ("before a SET train", _column(start, "S")),
        ("after it", _column(end, "S")),
        ("moved by", _column(end - start, "S")),
    ]
    return start - end, "Moved least by SET trains", columns


def _endurance(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    states, cycle = states_of(measured), measured["cycle"].values
    lrs, hrs = (10 ** estimators.known_median(each) for each in (states.lrs, states.hrs))
    columns: _Columns = [
        (
            "failed from cycle",
            lambda place: f"{cycle[states.failed_at[place]]:,}" if states.failed_at[place] < len(cycle) else "–",
        ),
        ("LRS, median", _column(lrs, "S")),
        ("HRS, median", _column(hrs, "S")),
        ("window", lambda place: f"{lrs[place] / hrs[place]:.3g} ×"),
    ]
    window = np.log10(lrs / hrs)
    return (len(cycle) - states.failed_at) * 1e3 - window, "First to fail, then with the smallest window", columns


def _retention(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    conductance, target = (measured[name].values.astype(np.float64) for name in ("conductance", "target"))
    change = conductance[:, -1] - conductance[:, 0]
    columns: _Columns = [
        ("target", _column(target, "S")),
        ("programmed", _column(conductance[:, 0], "S")),
        (f"after {quantity(float(measured['time'].values[-1]), 's')}", _column(conductance[:, -1], "S")),
        ("change", _column(change, "S")),
    ]
    return np.abs(change), "Changed most", columns


def _read_noise(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    values = measured["conductance"].values.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, sd = (
            estimators.known_mean(values),
            np.sqrt(estimators.known_mean((values - estimators.known_mean(values)[:, None]) ** 2)),
        )
        relative = sd / np.abs(mean)
    columns: _Columns = [
        ("mean", _column(mean, "S")),
        ("standard deviation", _column(sd, "S")),
        ("of the mean", lambda place: percent(float(relative[place]))),
    ]
    return relative, "Noisiest", columns


def _pruning(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    switches, conductance = (measured[name].values.astype(np.float64) for name in ("switches", "conductance"))
    names, layer, kept = (measured[name].values for name in ("layer_name", "layer", "kept"))
    columns: _Columns = [
        ("switches", _column(switches, "1")),
        ("layer", lambda place: str(names[layer[place]])),
        ("edge", lambda place: {0: "pruned", 1: "kept"}.get(int(kept[place]), "–")),
        ("conductance", _column(conductance, "S")),
    ]
    return np.where(switches > 0, switches, np.nan), "Switched most often", columns


def _training(run: Run, measured: xr.Dataset) -> tuple[NDArray[Any], str, _Columns]:  # noqa: ARG001
    names = ("pulses_set", "pulses_reset", "conductance")
    pulses, resets, conductance = (measured[name].values.astype(np.float64) for name in names)
    layers, layer = (measured[name].values for name in ("layer_name", "layer"))
    columns: _Columns = [
        ("SET pulses", _column(pulses, "1")),
        ("RESET pulses", _column(resets, "1")),
        ("layer", lambda place: str(layers[layer[place]])),
        ("conductance", _column(conductance, "S")),
    ]
    return np.where(pulses > 0, pulses, np.nan), "Most SET pulses", columns


_OF_KIND: dict[str, Callable[[Run, xr.Dataset], tuple[NDArray[Any], str, _Columns]]] = {
    "programming": _programming,
    "step-size": _programming,
    "forming": _forming,
    "forming-density": _furthest_formed,
    "map": _map,
    "iv": _iv,
    "pulse-response": _pulse_response,
    "endurance": _endurance,
    "retention": _retention,
    "read-noise": _read_noise,
    "pruning": _pruning,
    "training": _training,
}
