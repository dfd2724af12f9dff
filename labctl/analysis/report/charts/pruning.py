"""Charts of a network pruned on the array: its training, what it cost the cells, what they conduct, how it does."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.pruning import conductances, judged_ways
from labctl.analysis.characterisation.segmentation import detections
from labctl.analysis.estimators import Estimate
from labctl.analysis.figures.network_cells import GROUP_COLOURS
from labctl.analysis.figures.panels import thinned
from labctl.analysis.figures.training import MOST_NAMED, cells_of_layers
from labctl.analysis.report.charts.parts import (
    BLUE,
    GREY,
    MICRO,
    RED,
    Axis,
    Chart,
    Series,
    above_zero,
    cumulative,
    estimates,
    shades,
    survival,
)
from labctl.analysis.report.material import Run
from labctl.analysis.report.words import percent

_SHOWN = 0.9995  # of the cells' conductances
_MOST_WAYS = 6  # that have a line of their own beside an accuracy


def pruning(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    training = [_accuracy(measured), _loss(measured)] if measured.sizes["epoch"] else []
    layers = _of_layers(measured) if "switched_of_layer" in measured else []
    found = [
        *training,
        _edges(measured),
        *layers,
        _switches_of_cells(measured),
        _conductance(measured),
        _by_layer(measured),
        *_curves(measured),
        _rests(measured),
    ]
    return [each for each in found if each is not None]


def _accuracy(measured: xr.Dataset) -> Chart:
    epoch = measured["epoch"].values.astype(np.float64)
    learning, software = (measured[f"accuracy_{name}"].values * 100 for name in ("train", "software"))
    series = [Series("line", epoch, software, "test samples, in software", colour=BLUE)]
    if np.isfinite(learning).any():
        series.insert(0, Series("line", epoch, learning, "training samples, while learning", colour=GREY))
    told = f"Accuracy in software after {len(epoch)} epochs: {software[-1]:.4g} %."
    for place, (name, estimate) in enumerate(judged_ways(measured)):
        if name.endswith("on the board"):
            series.append(_point(epoch[-1], estimate, "on the board"))
            told += f" On the board: {estimate.value * 100:.4g} %."
        elif not name.startswith("pruned on the array"):
            level = np.full(2, estimate.value * 100)
            shade = shades(_MOST_WAYS)[place % _MOST_WAYS]
            series.append(Series("line", epoch[[0, -1]], level, name, colour=shade, dashed=True))
    return Chart("Accuracy", Axis("epoch"), Axis("accuracy (%)"), series, told)


def _point(x: float, estimate: Estimate, label: str) -> Series:
    made = estimates([x], [estimate], label, RED, 100)
    return Series("points", made.x, made.y, label, made.low, made.high, RED)


def _loss(measured: xr.Dataset) -> Chart:
    epoch, loss = measured["epoch"].values.astype(np.float64), measured["loss"].values
    told = f"Mean cross entropy of an epoch's batches: {loss[0]:.4g} at first, {loss[-1]:.4g} at last."
    line = Series("line", epoch, loss, "", colour=BLUE)
    return Chart("Loss", Axis("epoch"), Axis("mean cross entropy", low=0.0), [line], told)


def _edges(measured: xr.Dataset) -> Chart | None:
    at = measured["synchronised_at"].values
    names = {"pruned": RED, "reinstated": BLUE, "held": GREY}
    flips = {name: measured[f"edges_{name}"].values for name in names}
    known = np.isfinite(flips["pruned"])
    if not known.any():
        return None
    labels = {"pruned": "pruned", "reinstated": "reinstated", "held": "held back by hysteresis"}
    if np.array_equal(flips["pruned"][known], flips["reinstated"][known]):  # one line would hide the other
        labels = {"pruned": "pruned, and as many reinstated", "held": labels["held"]}
    series = [
        Series("line", at[known], above_zero(flips[name][known]), label, colour=names[name], dashed=name == "held")
        for name, label in labels.items()
    ]
    total = sum(int(flips[name][known].sum()) for name in ("pruned", "reinstated"))
    told = f"{total:,} edges flipped in {np.count_nonzero(known)} synchronisations."
    return Chart("Edges that flipped at a synchronisation", _TRAINED, Axis("edges", log=True), series, told)


_TRAINED = Axis("epochs of training")


def _of_layers(measured: xr.Dataset) -> list[Chart]:
    """Cells switched each time, and what that adds up to."""
    at, cells = measured["synchronised_at"].values, cells_of_layers(measured)
    counts, verifying = measured["switched_of_layer"].values, measured["verifying"].values
    names = [str(name) for name in measured["layer_name"].values]
    each_time, so_far = [], []
    for name, colour, column, size in zip(names, shades(len(names)), counts.T, cells, strict=True):
        label = name if len(names) <= MOST_NAMED else ""
        share = above_zero(column / size * 100)
        each_time.append(Series("line", at[~verifying], share[~verifying], label, colour=colour))
        so_far.append(Series("line", at, np.cumsum(column) / size, label, colour=colour))
        if verifying.any():
            each_time.append(Series("points", at[verifying], share[verifying], "", colour=colour))
    total = np.cumsum(counts.sum(axis=1)) / cells.sum()
    so_far.append(Series("line", at, total, "all layers", colour="#000000", dashed=True))
    order = "" if len(names) <= MOST_NAMED else "; dark: first layer, light: last"
    apart = "; single points: verified after rest" if verifying.any() else ""
    return [
        Chart(
            f"Cells switched at a synchronisation (at 0: masks by chance{apart}{order})",
            _TRAINED,
            Axis("of the layer's cells (%)", log=True),
            each_time,
            f"{int(counts.sum()):,} switches of cells in all, {int(counts[0].sum()):,} of them at first.",
        ),
        Chart(
            f"Switches a cell so far{order}",
            _TRAINED,
            Axis("RESETs and SETs a cell", low=0.0),
            so_far,
            f"Switches a cell, mean over all layers: {total[-1]:.3g} in the end.",
        ),
    ]


def _switches_of_cells(measured: xr.Dataset) -> Chart | None:
    values = measured["switches"].values
    made = survival(values, "", BLUE)
    if made is None or not values.any():
        return None
    told = f"Switches of a cell: mean {values.mean():.3g}, most {values.max()}."
    y = Axis("cells that had more (%)", log=True, high=100.0)
    line = Series("steps", made.x, above_zero(made.y), "", colour=BLUE)
    return Chart("Switches of a cell", Axis("RESETs and SETs", low=0.0), y, [line], told)


def _conductance(measured: xr.Dataset) -> Chart:
    found = conductances(measured)[0]
    series = [
        made
        for name, values in found.groups
        if (made := cumulative(values * MICRO, f"{name}: {len(values):,}", GROUP_COLOURS[name]))
    ]
    middles = [
        f"{name} {np.nanmedian(values) * MICRO:.3g} µS" for name, values in found.groups if np.isfinite(values).any()
    ]
    together = np.concatenate([values[np.isfinite(values)] for _, values in found.groups])
    top = float(np.quantile(together, _SHOWN)) * MICRO if together.size else None
    x, y = Axis("conductance (µS)", high=top), Axis("cells at or below (%)", low=0.0, high=100.0)
    return Chart("What cells of the network conduct", x, y, series, f"Medians: {', '.join(middles)}.")


def _by_layer(measured: xr.Dataset) -> Chart | None:
    """Median and 5 to 95 % of each; layers by number, beside each other what becomes of their cells."""
    found = conductances(measured)[1:]
    if len(found) < 2:
        return None
    series = []
    for shift, (name, colour) in zip((-0.15, 0.0, 0.15), GROUP_COLOURS.items(), strict=True):
        groups = [
            values[np.isfinite(values)] * MICRO for each in found for group, values in each.groups if group == name
        ]
        ends = np.array([np.quantile(each, [0.05, 0.5, 0.95]) if each.size else [np.nan] * 3 for each in groups])
        at = np.arange(1.0, len(found) + 1) + shift
        series.append(Series("points", at, ends[:, 1], name, ends[:, 0], ends[:, 2], colour))
    names = ", ".join(f"{number} {each.layer}" for number, each in enumerate(found, 1))
    title = f"Conductance by layer: median, 5 to 95 % ({names})" if len(found) <= MOST_NAMED else _MANY
    told = f"Conductance of kept, pruned and never formed cells of {len(found)} layers."
    return Chart(title, Axis("layer"), Axis("conductance (µS)"), series, told)


_MANY = "Conductance by layer: median, 5 to 95 %"


def _curves(measured: xr.Dataset) -> list[Chart]:
    """Of segmentation, over all thresholds."""
    curve = detections(measured)
    if curve is None:
        return []
    shown = thinned(len(curve.recall))
    found = []
    for area, title, x, y, chance in (
        ("pr_auc", "Precision and recall", curve.recall, curve.precision, [curve.precision[-1]] * 2),
        ("roc_auc", "Receiver operating characteristic", curve.fall_out, curve.recall, [0.0, 1.0]),
    ):
        labels = ("recall", "precision") if area == "pr_auc" else ("false positive rate", "true positive rate")
        line = Series("line", x[shown], y[shown], "the network", colour=BLUE)
        guide = Series("line", np.array([0.0, 1.0]), np.array(chance), "chance", colour=GREY, dashed=True)
        areas = ", ".join(f"{name} {estimate.value:.4f}" for name, estimate in judged_ways(measured, area))
        told = f"{title}; areas under the curve: {areas}."
        across, up = (Axis(label, low=0.0, high=1.0) for label in labels)
        found.append(Chart(title, across, up, [line, guide], told))
    return found


def _rests(measured: xr.Dataset) -> Chart | None:
    if "accuracy_after" not in measured:
        return None
    time, values = measured["rest"].values, measured["accuracy_after"].values
    there = time > 0  # a logarithm has no 0
    if not there.any():
        return None
    untouched = [share_right(measured, float(each)) for each in values[there]]
    series = [estimates(time[there], untouched, "untouched", BLUE, 100)]
    told = f"On the board {percent(float(values[-1]))} right after {time[-1]:.4g} s of rest"
    verified = measured.attrs.get("accuracy_verified")
    if verified is not None:
        series.append(_point(float(time[-1]), share_right(measured, verified), "then verified"))
        told += f", {percent(verified)} once verified"
    at_once = measured.attrs.get("accuracy_board")
    if at_once is not None:
        level = np.full(2, at_once * 100)
        series.append(Series("line", time[there][[0, -1]], level, "at once", colour=GREY, dashed=True))
    return Chart(
        "Accuracy on the board after rest", Axis("rest (s)", log=True), Axis("accuracy (%)"), series, f"{told}."
    )
