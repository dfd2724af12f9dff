"""Tables and pictures that pages of networks on the array share: what is taken for what, and what a sample costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from labctl.analysis.estimators import Estimate
from labctl.analysis.figures import judgements
from labctl.analysis.figures.accounts import account_of, joules, times
from labctl.analysis.report.content import Block, Table
from labctl.analysis.report.pictures import picture
from labctl.analysis.report.words import percent, quantity, with_micro

_SQUARE = (6.4, 5.8)  # inches


def accuracy(value: float) -> str:
    """So many digits as tell two ways apart that differ by one of ten thousand samples."""
    return with_micro(f"{value * 100:.2f} %")


def interval(estimate: Estimate) -> str:
    if not np.isfinite([estimate.low, estimate.high]).all():
        return ""
    return f"{accuracy(estimate.low)} to {accuracy(estimate.high)}"


def labels(measured: xr.Dataset) -> list[Block]:
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


def account(measured: xr.Dataset) -> list[Block]:
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
