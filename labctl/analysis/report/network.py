"""What a pruned network reaches, in tables and pictures: beside other ways, by label and by layer; what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from labctl.analysis.characterisation.pruning import conductances, judged_ways, share_right
from labctl.analysis.estimators import Estimate
from labctl.analysis.figures import judgements
from labctl.analysis.figures.accounts import account_of, joules, times
from labctl.analysis.report.content import Block, Table
from labctl.analysis.report.material import Run
from labctl.analysis.report.pictures import picture
from labctl.analysis.report.words import duration, number, percent, quantity, with_micro

_PICTURES = 2
_SQUARE = (6.4, 5.8)  # inches
_STRIP = (17.0, 4.2)


def network(run: Run) -> list[Block]:
    """Nothing of other kinds of run, and of one that did not come so far."""
    if run.kind != "pruning" or run.measured is None:
        return []
    measured = run.measured
    return [
        *_ways(measured),
        *_labels(measured),
        *_pictures(measured),
        *_layers(measured),
        *_account(measured),
    ]


def _ways(measured: xr.Dataset) -> list[Block]:
    ways = judged_ways(measured)
    if not ways:
        return []
    areas = {what: dict(judged_ways(measured, what)) for what in ("pr_auc", "roc_auc")}
    there = [what for what, found in areas.items() if found]
    head = ("", "accuracy", "95 % interval", *(_AREAS[what] for what in there))
    rows = [
        (name, _accuracy(estimate.value), _interval(estimate), *(_area(areas[what].get(name)) for what in there))
        for name, estimate in ways
    ]
    verified = measured.attrs.get("accuracy_verified")
    if verified is not None:
        after = duration(float(measured["rest"].values[-1]))
        name = f"pruned on the array, on the board, after {after} and a verify"
        estimate = share_right(measured, verified)
        rows.insert(1, (name, _accuracy(estimate.value), _interval(estimate), *("" for _ in there)))
    return [Table("The network and other ways", head, rows, range(1, len(head)))]


_AREAS = {"pr_auc": "area, precision and recall", "roc_auc": "area, ROC"}


def _area(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.4f}"


def _accuracy(value: float) -> str:
    """So many digits as tell two ways apart that differ by one of ten thousand samples."""
    return with_micro(f"{value * 100:.2f} %")


def _interval(estimate: Estimate) -> str:
    if not np.isfinite([estimate.low, estimate.high]).all():
        return ""
    return f"{_accuracy(estimate.low)} to {_accuracy(estimate.high)}"


def _labels(measured: xr.Dataset) -> list[Block]:
    """Which labels are taken for which."""
    if "confusion" not in measured:
        return []
    counts = measured["confusion"].values
    names = judgements.class_names(measured, len(counts))
    figure = Figure(figsize=_SQUARE, layout="constrained")
    judgements.confusion(figure.subplots(), measured)
    right = np.diag(counts) / np.maximum(counts.sum(axis=1), 1)
    worst = int(np.argmin(right))
    told = f"Labels and what samples were taken for; {names[worst]} is right least often, {percent(right[worst])}"
    rows = [
        (name, *(f"{count:,}" for count in row), percent(float(share)))
        for name, row, share in zip(names, counts, right, strict=True)
    ]
    head = ("label", *names, "right")
    return [
        picture(figure, told, always=True, wide=False),
        Table("Samples by label, and by what they were taken for", head, rows, range(1, len(head)), folded=True),
    ]


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


def _account(measured: xr.Dataset) -> list[Block]:
    """What a sample takes, and other machines for it, with what the first ratio rests on."""
    if "account" not in measured.attrs:
        return []
    told = account_of(measured)
    total = float(told["energy"])
    parts = [
        (str(each["component"]), _joules(each["energy"]), percent(each["energy"] / total) if total else "", _s(each))
        for each in told["parts"]
    ]
    title = f"A sample on {told['name']}: {_joules(total)}, {quantity(float(told['latency']), 's', 3)}"
    return [
        Table(title, ("component", "energy", "share", "time"), parts, (1, 2, 3)),
        Table("Beside other machines", ("", "energy", "time", "takes"), _machines(told), (1, 2, 3)),
    ]


def _machines(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (str(each["name"]), _joules(each["energy"]), quantity(float(each["latency"]), "s", 3), times(each["ratio"]))
        for each in told["references"]
    ]
    return rows + [
        (f"published ({each['source']}), relative to: {each['relative_to']}", "", "", times(each["ratio"]))
        for each in told["published"]
    ]


def _joules(value: float) -> str:
    return with_micro(joules(float(value)))


def _s(part: Mapping[str, Any]) -> str:
    return quantity(float(part["seconds"]), "s", 3) if part["seconds"] else ""
