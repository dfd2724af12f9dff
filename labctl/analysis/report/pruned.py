"""What a pruned network reaches, in tables and pictures: beside other ways, by label and by layer; what it costs."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.pruning import conductances, judged_ways
from labctl.analysis.estimators import Estimate
from labctl.analysis.figures import judgements
from labctl.analysis.report.content import Block, Table
from labctl.analysis.report.judged import account, accuracy, interval, labels
from labctl.analysis.report.pictures import picture
from labctl.analysis.report.words import duration, number, quantity

_PICTURES = 2
_STRIP = (17.0, 4.2)  # inches


def pruned(measured: xr.Dataset) -> list[Block]:
    """Of a `pruning` measurement."""
    return [
        *_ways(measured),
        *labels(measured),
        *_pictures(measured),
        *_layers(measured),
        *account(measured),
    ]


def _ways(measured: xr.Dataset) -> list[Block]:
    ways = judged_ways(measured)
    if not ways:
        return []
    areas = {what: dict(judged_ways(measured, what)) for what in ("pr_auc", "roc_auc")}
    there = [what for what, found in areas.items() if found]
    head = ("", "accuracy", "95 % interval", *(_AREAS[what] for what in there))
    rows = [
        (name, accuracy(estimate.value), interval(estimate), *(_area(areas[what].get(name)) for what in there))
        for name, estimate in ways
    ]
    verified = measured.attrs.get("accuracy_verified")
    if verified is not None:
        after = duration(float(measured["rest"].values[-1]))
        name = f"pruned on the array, on the board, after {after} and a verify"
        estimate = share_right(measured, verified)
        rows.insert(1, (name, accuracy(estimate.value), interval(estimate), *("" for _ in there)))
    return [Table("The network and other ways", head, rows, range(1, len(head)))]


_AREAS = {"pr_auc": "area, precision and recall", "roc_auc": "area, ROC"}


def _area(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.4f}"


def _pictures(measured: xr.Dataset) -> list[Block]:
    found: list[Block] = []
    for which in judgements.typical(measured)[:_PICTURES]:
        figure = Figure(figsize=_STRIP, layout="constrained")
        judgements.picture(figure.subplots(1, 4), measured, which)
        told = f"{which[1]}: what was shown, what is there, what the network says, and its errors"
        found.append(picture(figure, told[0].upper() + told[1:], always=True, wide=True))
    return found


def _layers(measured: xr.Dataset) -> list[Block]:
    if "layer_edges" not in measured:
        return []
    columns = [measured[f"layer_{name}"].values for name in ("name", "inputs", "outputs", "edges", "kept", "cells")]
    conducting = conductances(measured)[1:]
    layer, switches = measured["layer"].values, measured["switches"].values
    rows: list[tuple[str, ...]] = []
    for place, (name, inputs, outputs, edges, kept, cells) in enumerate(zip(*columns, strict=True)):
        row: tuple[str, ...] = (str(name), f"{inputs:,} × {outputs:,}", f"{edges:,}", f"{kept:,}", f"{cells:,}")
        if conducting:
            mean = float(switches[layer == place].mean())
            middles = (_middle(conducting[place].kept), _middle(conducting[place].pruned))
            row = (*row, number(mean, 3), *middles)
        rows.append(row)
    head: tuple[str, ...] = ("layer", "size", "edges", "kept", "cells")
    if conducting:
        head = (*head, "switches a cell", "kept cells, median", "pruned cells, median")
    return [Table(f"{len(rows)} layers", head, rows, range(1, len(head)))]


def _middle(values: np.ndarray) -> str:
    return quantity(float(np.nanmedian(values)), "S", 3) if np.isfinite(values).any() else "–"
