"""Which maps of a run there are to show, and what its events add to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labctl.analysis.characterisation.arrays import DEFECTS, classes
from labctl.analysis.characterisation.sweeps import REFERENCE_VOLTAGE
from labctl.analysis.estimators import known_mean, known_median
from labctl.analysis.figures.array_map import DEFECT_COLOURS
from labctl.analysis.figures.network_cells import KEPT_COLOURS, on_array
from labctl.analysis.figures.programming import OUTCOME_COLOURS, with_last_readings
from labctl.analysis.measurements.networks import NONE
from labctl.analysis.measurements.recording import last_readings
from labctl.analysis.report.charts.parts import shades
from labctl.analysis.report.content import Layer, Maps
from labctl.analysis.report.material import Run, flags_of, wrote
from labctl.analysis.report.words import quantity, spoken
from labctl.errors import RecordingError

if TYPE_CHECKING:
    import xarray as xr

_OF_NETWORK = ("kept", "pulses_set", "layer", "switches", "resets")
_OF_CELLS = ("error", "change", "noise", "outcome", "reached", "conductance", "defects", "lrs", "hrs", "last_reading")
_FIRST = (*_OF_NETWORK, *_OF_CELLS)
_LAST = ("gate", "programmed_at", "reversals")
_SIGNED = {"error"}
_OTHERS = ("#4c72b0", "#f2c14e", "#4c9f70", "#d1495b", "#a05fb4", "#e07a1f", "#3b3b58", "#b0b0b0")


def maps_of(run: Run) -> Maps | None:
    """Every map the run wrote, what its events say of each cell, and cells by defect; None where there is nothing."""
    known = _OF_KIND[run.kind](run.measured) if run.measured is not None and run.kind in _OF_KIND else []
    own = {each.name for each in known}
    layers = [_layer(name, values) for name, values in _written(run).items() if name not in own]
    layers += known
    names = {each.name for each in layers}
    if not names & {"reached", "conductance", "programmed"}:
        layers += _last_reading(run)
    if "pulses_per_cell" not in names:
        layers += _pulses(run)
    order = {name: place - len(_FIRST) for place, name in enumerate(_FIRST)} | dict.fromkeys(_LAST, 1)
    layers.sort(key=lambda each: order.get(each.name, 0))
    return Maps(layers) if layers else None


def _written(run: Run) -> dict[str, xr.DataArray]:
    maps = run.group("maps")
    if run.kind == "programming" and "target" in maps and wrote(maps["target"]):
        maps = with_last_readings(run.tree)
    return {str(name): each for name, each in maps.data_vars.items() if each.ndim == 2 and wrote(each)}


def _layer(name: str, values: xr.DataArray) -> Layer:
    label, flags = spoken(name), flags_of(values)
    if flags:
        colours = {
            code: (spoken(flag), OUTCOME_COLOURS.get(flag, _OTHERS[k % len(_OTHERS)]))
            for k, (code, flag) in enumerate(flags.items())
        }
        return Layer(name, label, values.values, flags=colours)
    if values.dtype.kind == "M":
        seconds = (values.values - np.nanmin(values.values)) / np.timedelta64(1, "s")
        return Layer(name, f"{label}, since the first", seconds, "s")
    return Layer(name, label, values.values, str(values.attrs.get("units", "")), signed=name in _SIGNED)


def _defects(measured: xr.Dataset) -> list[Layer]:
    found = classes(measured).astype(np.int16)
    none = len(DEFECTS)
    names = {code: (name, DEFECT_COLOURS[code]) for code, name in enumerate(DEFECTS)}
    flags = {**names, none: ("not read", "#ffffff")}
    return [Layer("defects", "defects", np.where(found < 0, none, found), flags=flags)]


def _change(measured: xr.Dataset) -> list[Layer]:
    conductance = measured["conductance"].values.astype(np.float64)
    label = f"change after {quantity(float(measured['time'].values[-1]), 's')}"
    return [_spread_out("change", label, measured, conductance[:, -1] - conductance[:, 0], "S", signed=True)]


def _states(measured: xr.Dataset) -> list[Layer]:
    conductance = measured["conductance"].values
    return [
        _spread_out(name, f"{name.upper()}, median", measured, known_median(conductance[:, place]), "S")
        for place, name in enumerate(("lrs", "hrs"))
    ]


def _noise(measured: xr.Dataset) -> list[Layer]:
    values = measured["conductance"].values.astype(np.float64)
    middle = known_mean(values)
    deviation = np.sqrt(known_mean((values - middle[:, None]) ** 2))
    return [_spread_out("noise", "standard deviation", measured, deviation, "S")]


def _sweep(measured: xr.Dataset) -> list[Layer]:
    place = int(np.argmin(np.abs(measured["voltage"].values - REFERENCE_VOLTAGE)))
    label = f"conductance at {quantity(float(measured['voltage'].values[place]), 'V')}"
    return [_spread_out("conductance", label, measured, measured["conductance"].values[:, place], "S")]


def _network(measured: xr.Dataset) -> list[Layer]:
    edges = dict(enumerate(KEPT_COLOURS.items())) | {NONE: ("none", "#ffffff")}
    kept = on_array(measured, measured["kept"].values, NONE)
    return [Layer("kept", "edges kept", kept, flags=edges), *_layers(measured)]


def _layers(measured: xr.Dataset) -> list[Layer]:
    names, none = [str(name) for name in measured["layer_name"].values], {NONE: ("none", "#ffffff")}
    flags = dict(enumerate(zip(names, shades(len(names)), strict=True))) | none
    values = on_array(measured, measured["layer"].values, NONE)
    return [Layer("layer", "layer of the weight", values, flags=flags)]


def _trained(measured: xr.Dataset) -> list[Layer]:
    given = {"pulses_set": ("pulses_set", "SET pulses"), "resets": ("pulses_reset", "RESET pulses")}
    counts = [
        _spread_out(name, label, measured, measured[of].values.astype(np.float64), "1")
        for name, (of, label) in given.items()
    ]
    return [*counts, *_layers(measured)]


def _spread_out(
    name: str, label: str, measured: xr.Dataset, values: NDArray[Any], unit: str, *, signed: bool = False
) -> Layer:
    """(cell,) `values` of a measurement where its cells stand on the array."""
    rows, cols = int(measured.attrs["rows"]), int(measured.attrs["cols"])
    whole = np.full(rows * cols, np.nan)
    whole[measured["cell"].values.astype(np.int64)] = values
    return Layer(name, label, whole.reshape(rows, cols), unit, signed=signed)


_OF_KIND: dict[str, Callable[[xr.Dataset], list[Layer]]] = {
    "map": _defects,
    "retention": _change,
    "endurance": _states,
    "read-noise": _noise,
    "iv": _sweep,
    "pruning": _network,
    "training": _trained,
}


def _last_reading(run: Run) -> list[Layer]:
    try:
        last = last_readings(run.recording)
    except RecordingError:
        return []  # there are none
    return [Layer("last_reading", "last reading", last.reshape(run.recording.shape), "S")]


def _pulses(run: Run) -> list[Layer]:
    """Pulses that each cell got in this run, whatever they were for; 0 stands for none."""
    if run.recording.is_associative:
        return []
    events = run.group("events")
    pulsed = events["cell"].values[np.isfinite(events["amplitude"].values)]
    if not len(pulsed):
        return []
    counted: NDArray[np.int64] = np.bincount(pulsed, minlength=run.recording.cells)
    return [Layer("pulses", "pulses", counted.reshape(run.recording.shape), "1")]
