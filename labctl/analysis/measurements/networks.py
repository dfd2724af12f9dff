"""What runs of networks on the array tell alike: their layers, their other ways, what was said of them in the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from labctl.analysis.measurements.recording import Recording

NONE = 255
"""In place of a layer's number, and of whether an edge is kept, for cells that belong to none."""


def of_layers(run: Recording, count: int, columns: Iterable[str]) -> dict[str, Any]:
    """Of layers by their numbers: names, and those of `columns` that the run's summary says."""
    told = run.summary.get("layers")
    layers = told if isinstance(told, list) else [{"name": f"layer {number}"} for number in range(1, count + 1)]
    variables: dict[str, Any] = {"layer_name": ("of_layer", np.array([str(each["name"]) for each in layers], object))}
    for name in columns:
        if name in layers[0]:
            variables[f"layer_{name}"] = ("of_layer", np.array([each[name] for each in layers]))
    return variables


def attributes(run: Recording, told: Iterable[str], judged: Iterable[str]) -> dict[str, Any]:
    """What the summary says of these, `judged` as numbers; the task; how many samples and conversions there were."""
    summary = run.summary
    attrs = {name: summary[name] for name in told if summary.get(name) is not None}
    attrs |= {name: float(summary[name]) for name in judged if summary.get(name) is not None}
    attrs.setdefault("task", str(run.settings.get("task", "")))
    confusion = run.results.get("confusion")
    products = summary.get("products") or {}
    if summary.get("account") is not None:
        attrs["account"] = msgspec.json.encode(summary["account"]).decode()
    return attrs | {
        "samples": 0 if confusion is None else int(confusion.sum()),
        "conversions": int(products.get("conversions", 0)),
        "saturated": int(products.get("saturated", 0)),
    }
