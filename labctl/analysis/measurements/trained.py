"""Measurements of networks trained on the array: how training went, what it cost the devices, how they were judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from labctl.analysis.measurements.networks import NONE, attributes, of_layers
from labctl.analysis.measurements.recording import Floats, Recording
from labctl.errors import RecordingError

_LEARNING = ("train", "judge")
"""Phases of steps that end a stretch of learning; the latter ends an epoch."""

_OF_STRETCH = ("loss", "accuracy_train", "rate", "pulses", "resets", "refreshed", "sparsity")
_OF_EPOCH = ("bits_per_char", "gan_score")
_LAYERS = ("inputs", "outputs", "products", "weights", "cells", "pulses", "pulses_per_device", "resets")
_LAYERS_LEARN = ("granule", "weight_per_siemens")
_RESTS = ("rest_time", "rest_accuracy", "rest_accuracy_compensated", "rest_factor")
_BASELINES = ("float", "ideal", "granularity", "pcm")
_BASELINE = "curve_accuracy_"
_TOLD = (
    *("task", "network", "epochs", "batch", "devices", "refreshed", "reads", "seconds_per_epoch", "sample"),
    *("pulses", "pulses_per_device", "resets", "resets_per_device", "sparsity"),
)
_JUDGED = (
    *("accuracy_low", "accuracy_high", "accuracy_float"),
    *("bits_per_char", "bits_per_char_float", "score", "score_float", "score_real"),
)


def training(run: Recording) -> xr.Dataset:
    """A run of `training` from the moment its network stood on the array."""
    layer = run.map("layer") if run.has_map("layer") else np.full(run.cells, np.nan)
    cells = np.flatnonzero(np.isfinite(layer) & (layer != NONE))
    if not len(cells):
        raise RecordingError("this training run ended before its network stood on the array")
    variables: dict[str, Any] = {
        "layer": ("cell", layer[cells].astype(np.uint8)),
        "pulses_set": ("cell", _counts(run, "pulses_set", cells)),
        "pulses_reset": ("cell", _counts(run, "resets", cells)),
        "conductance": ("cell", run.map("conductance")[cells].astype(np.float32), {"units": "S"}),
    }
    curve = _curve(run)
    layers = of_layers(run, int(layer[cells].max()) + 1, (*_LAYERS, *_LAYERS_LEARN))
    variables |= curve | _of_stretches(run) | layers | _of_results(run) | _of_rests(run)
    variables |= _of_baselines(run, len(curve["epoch"][1]))
    return xr.Dataset(variables, {"cell": cells.astype(np.uint32)}, _attributes(run, curve["accuracy_board"][1]))


def _counts(run: Recording, name: str, cells: np.ndarray) -> np.ndarray:
    counts: np.ndarray = np.nan_to_num(run.map(name)[cells]).astype(np.uint32)
    return counts


def _curve(run: Recording) -> dict[str, Any]:
    """Of each epoch that was ended."""
    ended = np.flatnonzero(run.is_current & (run.phase == "judge") & np.isfinite(run.scalar("loss")))
    told: dict[str, Any] = {
        "epoch": ("epoch", run.scalar("epoch")[ended].astype(np.uint32)),
        "accuracy_board": ("epoch", run.scalar("accuracy_board")[ended]),
        "loss": ("epoch", run.scalar("loss")[ended]),
    }
    for name in _OF_EPOCH:
        values = run.scalar(name)[ended]
        if np.isfinite(values).any():
            told[name] = ("epoch", values)
    return told


def _of_stretches(run: Recording) -> dict[str, Any]:
    """Of what the run recorded at a time while it learnt: images seen up to its end, and what went on in it."""
    learning = run.is_current & np.isin(run.phase, _LEARNING) & np.isfinite(run.scalar("loss"))
    told: dict[str, Any] = {"images": ("stretch", run.scalar("images")[learning].astype(np.int64))}
    for name in _OF_STRETCH:
        told[f"stretch_{name}"] = ("stretch", run.scalar(name)[learning])
    return told


def _of_results(run: Recording) -> dict[str, Any]:
    """Histograms and samples, which a run tells in the end."""
    results = run.results
    told: dict[str, Any] = {}
    dims = {
        "chi_histogram": ("of_layer", "chi_bin"),
        "conductance_histogram": ("moment", "of_layer", "conductance_bin"),
        "confusion": ("label", "predicted"),
        "samples": ("sample", "y", "x"),
        "samples_float": ("sample_float", "y", "x"),
    }
    for name, own in dims.items():
        if name in results:
            told[name] = (own, results[name])
    if "chi_histogram" in results:
        told["chi_bin"] = ("chi_bin", results["chi_bin"].astype(np.float64))
    if "conductance_histogram" in results:
        told["conductance_bin"] = ("conductance_bin", results["conductance_bin"].astype(np.float64), {"units": "S"})
        told["moment"] = ("moment", np.array(["before", "after"], object))
    return told


def _of_rests(run: Recording) -> dict[str, Any]:
    if "rest_time" not in run.results:
        return {}
    columns = {name: run.results[name].astype(np.float64) for name in _RESTS}
    return {
        "rest": ("rest", columns["rest_time"], {"units": "s"}),
        "accuracy_after": ("rest", columns["rest_accuracy"]),
        "accuracy_compensated": ("rest", columns["rest_accuracy_compensated"]),
        "compensation": (("rest", "of_layer"), columns["rest_factor"]),
    }


def _of_baselines(run: Recording, epochs: int) -> dict[str, Any]:
    """What the same network reaches elsewhere, by name, and how it came there."""
    told = run.summary.get("baselines")
    if not isinstance(told, dict) or not told:
        return {}
    told = {name: told[name] for name in sorted(told, key=lambda each: (*_BASELINES, each).index(each))}
    curves = np.full((len(told), epochs), np.nan)
    for row, name in zip(curves, told, strict=True):
        values = np.asarray(run.results.get(f"{_BASELINE}{name}", ()), np.float64)[:epochs]
        row[: len(values)] = values
    return {
        "baseline": ("baseline", np.array(list(told), object)),
        "baseline_accuracy": ("baseline", np.array(list(told.values()), np.float64)),
        "baseline_curve": (("baseline", "epoch"), curves),
    }


def _attributes(run: Recording, curve: Floats) -> dict[str, Any]:
    """What the run told in the end; of one that did not come so far, what its curve says."""
    attrs = attributes(run, _TOLD, _JUDGED)
    accuracy = run.summary.get("accuracy")
    known = curve[np.isfinite(curve)]
    if accuracy is not None:
        attrs["accuracy_board"] = float(accuracy)
    elif len(known):
        attrs["accuracy_board"] = float(known[-1])
    return attrs
