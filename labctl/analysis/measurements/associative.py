"""Measurements of what an associative chip is like: counts of what went wrong, by what was tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from labctl.analysis.measurements.recording import Recording
from labctl.errors import RecordingError

_DIMS: dict[str, tuple[str, ...]] = {
    "displaced": ("track", "direction", "displacement"),
    "position_checks": ("track",),
    "position_misreads": ("track",),
    "stride": ("one_stride",),
    "matching": ("sense_threshold",),
    "false_misses": ("sense_threshold",),
    "mismatching": ("sense_threshold",),
    "false_matches": ("sense_threshold",),
    "stuck": ("column",),
    "cells": ("column",),
    "sound_writes": ("way",),
    "failed_writes": ("way",),
    "read_bits": ("read",),
    "stored_bits": ("stored",),
    "flipped_bits": ("elapsed", "stored"),
}
_AXES = {
    "track": "track",
    "direction": "direction",
    "displacement": "displacement",
    "sense_threshold": "sense_threshold",
    "column": "column",
    "stored": "stored",
    "elapsed": "retention_time",
}
"""Coordinate -> the result that holds it."""
_WAYS = ("loaded", "tagged")
_ALIGNED = ("tracks", "nanowires", "tries", "checked", "misreads")


def characterisation(run: Recording) -> xr.Dataset:
    """A run of `associative_characterisation` of which one kind was measured to its end."""
    results = run.results
    variables: dict[str, Any] = {
        name: (dims, results[name].astype(np.int64)) for name, dims in _DIMS.items() if name in results
    }
    if not variables:
        raise RecordingError("this characterisation ended before one of its kinds was measured")
    coordinates: dict[str, Any] = {axis: results[name] for axis, name in _AXES.items() if name in results}
    if "sound_writes" in variables:
        coordinates["way"] = np.array(_WAYS, object)
    return xr.Dataset(variables, coordinates)


def alignment(run: Recording) -> xr.Dataset:
    """A run of `associative_alignment` that checked a track."""
    results = run.results
    if not len(results.get("nanowires_before", ())):
        raise RecordingError("this alignment ended before a track was checked")
    variables = {name: (("track", "offset"), results[f"nanowires_{name}"]) for name in ("before", "after")}
    coordinates = {name: results[name] for name in ("track", "offset")}
    return xr.Dataset(variables, coordinates, {name: run.summary[name] for name in _ALIGNED if name in run.summary})
