"""Measurements of networks pruned on the array: how training went, which cells they took, how they were judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from labctl.analysis.measurements.networks import attributes, of_layers
from labctl.analysis.measurements.recording import Floats, Recording
from labctl.errors import RecordingError

_OF_EPOCH = ("loss", "accuracy_train", "accuracy_software")
_OF_SYNCHRONISATION = ("edges_pruned", "edges_reinstated", "edges_held", "switched", "pulses", "failed")
_SWITCHING = ("synchronise", "rest")
_TOLD = ("task", "network", "bits", "tiles", "switches_per_cell", "switches_per_cell_most", "pulses")
_JUDGED = (
    *(f"accuracy_{name}" for name in ("board", "board_low", "board_high", "software", "verified")),
    *(f"{area}_auc_{where}" for area in ("pr", "roc") for where in ("board", "software")),
)
_LAYERS = ("inputs", "outputs", "edges", "kept", "cells")
_PICTURES = ("pictures", "truth", "probability", "field")


def pruning(run: Recording) -> xr.Dataset:
    """A run of `pruning` from the moment its network stood on the array."""
    layer = run.map("layer") if run.has_map("layer") else np.full(run.cells, np.nan)
    cells = np.flatnonzero(np.isfinite(layer))
    if not len(cells):
        raise RecordingError("this pruning run ended before its network stood on the array")
    variables: dict[str, Any] = {
        "layer": ("cell", layer[cells].astype(np.uint8)),
        "kept": ("cell", run.map("kept")[cells].astype(np.uint8)),
        "formed": ("cell", _conducting(run)[cells]),
        "switches": ("cell", np.nan_to_num(run.map("switches")[cells]).astype(np.uint16)),
        "conductance": ("cell", run.map("conductance")[cells].astype(np.float32), {"units": "S"}),
    }
    variables |= dict(_of_epochs(run)) | dict(_of_synchronisations(run, layer))
    variables |= of_layers(run, int(layer[cells].max()) + 1, _LAYERS) | _of_rests(run) | _of_baselines(run)
    variables |= {name: (("picture", "y", "x"), run.results[name]) for name in _PICTURES if name in run.results}
    if "confusion" in run.results:
        variables["confusion"] = (("label", "predicted"), run.results["confusion"])
    return xr.Dataset(variables, {"cell": cells.astype(np.uint32)}, _attributes(run))


def _conducting(run: Recording) -> np.ndarray:
    return run.flagged("forming_outcome", "formed") | run.flagged("forming_outcome", "formed_before")


def _of_epochs(run: Recording) -> Iterator[tuple[str, Any]]:
    """Of each epoch that was ended."""
    ended = _ends_epoch(run)
    yield "epoch", ("epoch", run.scalar("epoch")[ended].astype(np.uint32))
    for name in _OF_EPOCH:
        yield name, ("epoch", run.scalar(name)[ended])


def _of_synchronisations(run: Recording, layer: Floats) -> Iterator[tuple[str, Any]]:
    """What switched cells: masks by chance, each synchronisation, and verifying after a rest.

    `synchronised_at`: epochs that training had gone on for.
    """
    rows = np.flatnonzero(run.is_current & np.isin(run.phase, _SWITCHING) & np.isfinite(run.scalar("switched")))
    yield "synchronised_at", ("synchronisation", _epochs_before(run, rows))
    yield "verifying", ("synchronisation", run.phase[rows] == "rest")
    for name in _OF_SYNCHRONISATION:
        yield name, ("synchronisation", run.scalar(name)[rows])
    if run.summary.get("tiles", 1) == 1:
        yield "switched_of_layer", (("synchronisation", "of_layer"), _switched(run, rows, layer))


def _switched(run: Recording, rows: np.ndarray, layer: Floats) -> np.ndarray:
    """(rows, layers) cells that got pulses in those steps."""
    layers = int(np.nanmax(layer)) + 1
    place = np.full(len(run.phase) + 1, -1)
    place[rows] = np.arange(len(rows))
    of_step = place[np.minimum(run.operation("step").astype(np.int64), len(run.phase))]
    found = []
    for kind in ("set", "reset"):
        cell, operation = run.pulses(kind)
        counted = (of_step[operation] >= 0) & np.isfinite(layer[cell])
        found.append(of_step[operation[counted]] * run.cells + cell[counted])
    step, cell = np.divmod(np.unique(np.concatenate(found)), run.cells)
    counts = np.bincount(step * layers + layer[cell].astype(np.int64), minlength=len(rows) * layers)
    return counts.reshape(len(rows), layers)


def _epochs_before(run: Recording, rows: np.ndarray) -> Floats:
    """Those within an epoch are evenly far apart, the last one ending it; what came after them all is at the end."""
    ended = np.flatnonzero(_ends_epoch(run))
    epoch = np.searchsorted(ended, rows)  # how many had ended
    going = np.flatnonzero((epoch < len(ended)) | (run.phase[rows] != "rest"))[1:]  # the first is before all training
    found = epoch.astype(np.float64)
    for each in np.unique(epoch[going]):
        own = going[epoch[going] == each]
        found[own] = each + np.arange(1, len(own) + 1) / len(own)
    return found


def _ends_epoch(run: Recording) -> np.ndarray:
    ends: np.ndarray = run.is_current & (run.phase == "train") & np.isfinite(run.scalar("accuracy_software"))
    return ends


def _of_rests(run: Recording) -> dict[str, Any]:
    if "accuracy_after" not in run.results:
        return {}
    return {
        "rest": ("rest", run.results["after"], {"units": "s"}),
        "accuracy_after": ("rest", run.results["accuracy_after"]),
    }


def _of_baselines(run: Recording) -> dict[str, Any]:
    told = run.summary.get("baselines")
    if not isinstance(told, dict) or not told:
        return {}
    variables: dict[str, Any] = {
        "baseline": ("baseline", np.array(list(told), object)),
        "baseline_accuracy": ("baseline", np.array(list(told.values()), np.float64)),
    }
    for area in ("pr_auc", "roc_auc"):
        areas = run.summary.get(f"baselines_{area}")
        if isinstance(areas, dict):
            variables[f"baseline_{area}"] = ("baseline", np.array([areas.get(name, np.nan) for name in told], float))
    return variables


def _attributes(run: Recording) -> dict[str, Any]:
    """What the run told in the end; of one that did not come so far, what its steps and settings say."""
    attrs = attributes(run, _TOLD, _JUDGED)
    on_board = run.scalar("accuracy_board")[run.is_current]
    on_board = on_board[np.isfinite(on_board)]
    if len(on_board):
        attrs.setdefault("accuracy_board", float(on_board[0]))
    return attrs
