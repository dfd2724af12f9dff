"""Measurements of what an associative array computed: arithmetic beside numpy's, networks beside software."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from labctl.analysis.measurements.networks import attributes, of_layers
from labctl.analysis.measurements.recording import Ints, Recording
from labctl.associative import COUNTERS
from labctl.errors import RecordingError

_TOLD = ("network", "task", "taken_differently")
_WAYS = ("chip", "ternary", "float")
_JUDGED = tuple(f"accuracy_{way}" for way in _WAYS)
_LAYERS = ("inputs", "outputs", "operations_without_cse", "operations", "columns")


def selftest(run: Recording) -> xr.Dataset:
    """A run of `associative_selftest` from its first truth table on."""
    done, tables, layer = (_steps_of(run, phase, "operations") for phase in ("arithmetic", "tables", "layer"))
    if not len(tables):
        raise RecordingError("this self-test ended before its first truth table was compared")
    names = [str(each) for each in run.settings.get("kinds", ())]
    kind = run.scalar("kind")[done].astype(np.int64)
    variables: dict[str, Any] = {"kind": ("kind", np.array(names, object))}
    for name in ("operations", "mismatches", "passes"):
        variables[name] = ("kind", _per(kind, run.scalar(name)[done], len(names)))
    seconds = np.bincount(kind, run.scalar("board_seconds")[done], minlength=len(names))
    variables["board_seconds"] = ("kind", seconds, {"units": "s"})
    if "wrong_bits" in run.results:
        variables["wrong_bits"] = (("kind", "bit"), run.results["wrong_bits"].astype(np.int64))
    variables |= _counted(run, np.concatenate([tables, done, layer]))
    attrs = {name: run.summary[name] for name in ("tables", "table_states") if name in run.summary}
    attrs |= {"bits": int(run.settings["bits"])}
    for steps, of in ((tables, "table"), (layer, "layer")):
        attrs[f"{of}_compared"] = int(run.scalar("operations")[steps].sum())
        attrs[f"{of}_mismatches"] = int(run.scalar("mismatches")[steps].sum())
    return xr.Dataset(variables, attrs=attrs)


def inference(run: Recording) -> xr.Dataset:
    """A run of `associative_inference` from its first tile of rows on."""
    done = _steps_of(run, "run", "sums")
    if not len(done):
        raise RecordingError("this inference ended before anything was computed")
    layer = run.scalar("layer")[done].astype(np.int64)
    layers = int(np.nanmax(run.scalar("layer")[run.is_current])) + 1
    variables: dict[str, Any] = of_layers(run, layers, _LAYERS)
    for name, of in (("sums", "sums"), ("mismatches", "sums_mismatched"), ("passes", "passes")):
        variables[f"layer_{of}"] = ("of_layer", _per(layer, run.scalar(name)[done], layers))
    seconds = np.bincount(layer, run.scalar("board_seconds")[done], minlength=layers)
    variables["layer_board_seconds"] = ("of_layer", seconds, {"units": "s"})
    judged = done[np.isfinite(run.scalar("samples")[done])]
    variables["samples"] = ("group", run.scalar("samples")[judged].astype(np.int64))
    for name in ("differing", *(f"right_{way}" for way in _WAYS)):
        values = run.scalar(name)[judged]
        if np.isfinite(values).all():
            variables[name] = ("group", values.astype(np.int64))
    if "confusion" in run.results:
        variables["confusion"] = (("label", "predicted"), run.results["confusion"])
    attrs = {**attributes(run, _TOLD, _JUDGED), "differing_images": int(variables["differing"][1].sum())}
    attrs["samples"] = int(variables["samples"][1][-1]) if len(judged) else 0
    for way in [each for each in _WAYS if len(judged) and f"right_{each}" in variables]:
        attrs.setdefault(f"accuracy_{way}", float(variables[f"right_{way}"][1].sum() / attrs["samples"]))
    return xr.Dataset(variables | _counted(run, done), attrs=attrs)


def _steps_of(run: Recording, phase: str, name: str) -> Ints:
    """The steps of a phase that say `name`, of those that count."""
    return np.flatnonzero(run.is_current & (run.phase == phase) & np.isfinite(run.scalar(name)))


def _per(place: Ints, values: np.ndarray, count: int) -> Ints:
    """(count,) sums of whole numbers by their place."""
    totals: Ints = np.bincount(place, values, minlength=count).astype(np.int64)
    return totals


def _counted(run: Recording, steps: Ints) -> dict[str, Any]:
    """What the array did in `steps`, by counter."""
    totals = np.array([np.nansum(run.scalar(name)[steps]) for name in COUNTERS], np.int64)
    return {"counter": ("counter", np.array(COUNTERS, object)), "count": ("counter", totals)}
