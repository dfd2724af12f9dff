"""The picture of a run, drawn from its file alone; one module a kind of measurement."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from labctl.analysis.figures import (
    array_map,
    associative,
    computing,
    endurance,
    forming,
    iv,
    mixed_precision,
    plain,
    programming,
    pruning,
    pulse_response,
    read_noise,
    retention,
    step_size,
)
from labctl.analysis.figures.panels import group
from labctl.analysis.measurements import measurement
from labctl.analysis.writing import write_whole
from labctl.errors import RecordingError
from labctl.recording.reader import open_run

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["draw", "save_figure"]

_OF_RUN: dict[str, Callable[[xr.DataTree], Figure]] = {
    "programming": programming.draw,
    "forming": forming.draw,
    "forming-density": forming.draw_density,
}
"""Kinds drawn from the whole run, as their maps and steps show more than the measurement."""

_OF_MEASUREMENT: dict[str, Callable[[xr.Dataset], Figure]] = {
    "iv": iv.draw,
    "pulse-response": pulse_response.draw,
    "endurance": endurance.draw,
    "retention": retention.draw,
    "read-noise": read_noise.draw,
    "map": array_map.draw,
    "step-size": step_size.draw,
    "pruning": pruning.draw,
    "training": mixed_precision.draw,
    "associative-characterisation": associative.draw,
    "associative-alignment": associative.draw_alignment,
    "associative-selftest": computing.draw_selftest,
    "associative-inference": computing.draw_inference,
}


def save_figure(run: str | Path, output: str | Path | None = None) -> Path:
    """Draw the run at `run` into `output` (PNG, SVG or PDF by its ending; default: a PNG beside the run)."""
    path = Path(run)
    target = Path(output) if output is not None else path.with_suffix(".png")
    if not target.suffix:
        raise RecordingError(f"{target}: name the kind of figure by an ending: .png, .svg or .pdf")
    tree = open_run(path)
    try:
        figure = draw(tree)
    finally:
        tree.close()
    FigureCanvasAgg(figure)
    drawn = io.BytesIO()
    try:
        figure.savefig(drawn, format=target.suffix[1:].lower(), dpi=100)
        write_whole(target, drawn.getvalue())
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise RecordingError(f"{target}: the figure cannot be written: {reason}") from None
    return target


def draw(tree: xr.DataTree) -> Figure:
    """The figure of one run by its kind of measurement; of one without, or that broke off, of whatever it has."""
    figure = _drawn(tree)
    serial, outcome = tree.attrs.get("chip_serial", "?"), tree.attrs.get("outcome", "?")
    started, title = str(tree.attrs.get("wall_time_start", "")), tree.attrs.get("title", tree.attrs.get("protocol", ""))
    told = " · ".join(str(each) for each in (title, f"chip {serial}", outcome, started) if each)
    figure.suptitle(told, fontsize=12, parse_math=False)
    return figure


def _drawn(tree: xr.DataTree) -> Figure:
    kind = str(tree.attrs.get("measurement", ""))
    if kind in _OF_MEASUREMENT:
        try:
            return _OF_MEASUREMENT[kind](measurement(tree))
        except RecordingError:  # it ended before it had what makes it one
            return plain.draw_steps(tree)
    if not any(np.isfinite(each.values).any() for each in group(tree, "maps").values() if each.dtype.kind == "f"):
        return plain.draw_steps(tree)
    return _OF_RUN.get(kind, plain.draw_maps)(tree)
