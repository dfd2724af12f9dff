"""Charts of a network trained on the array: how it learnt, what updates did to its devices, what drift takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.training import BOARD, update_sparsity, updates_per_device, ways, what_is_right
from labctl.analysis.figures.learning_curves import EARLIEST, way_colours
from labctl.analysis.figures.mixed_precision import histograms
from labctl.analysis.figures.training import MOST_NAMED
from labctl.analysis.figures.updates import GRANULE, counted, edges_of, last_filled
from labctl.analysis.report.charts.parts import (
    BLUE,
    GREY,
    MICRO,
    RED,
    Axis,
    Chart,
    Series,
    above_zero,
    estimates,
    shades,
)
from labctl.analysis.report.material import Run

_SEEN = "samples seen"


def training(run: Run) -> list[Chart]:
    assert run.measured is not None
    measured = run.measured
    found = [_accuracy(measured), _bits(measured)]
    if measured.sizes["stretch"]:
        found += [_loss(measured), _sparsity(measured), _so_far(measured)]
    found += [_given(measured, "pulses_set", "SET"), _given(measured, "pulses_reset", "RESET"), _chi(measured)]
    found += [_conductance(measured, layer) for layer in histograms(measured)]
    found.append(_drift(measured))
    return [each for each in found if each is not None]


def _accuracy(measured: xr.Dataset) -> Chart | None:
    epoch, found = measured["epoch"].values.astype(np.float64), ways(measured)
    series, told = [], []
    for way, colour in zip(found, way_colours(len(found)), strict=True):
        own = way.name == BOARD
        if np.isfinite(way.curve).any():
            series.append(Series("line", epoch, way.curve * 100, way.name, colour=colour, dashed=not own))
        if own and len(epoch):
            last = estimates(epoch[-1:], [way.final], "", colour, 100)
            series.append(Series("points", last.x, last.y, "", last.low, last.high, colour))
        told.append(f"{way.name} {way.final.value * 100:.4g} %")
    if not series:
        return None
    return Chart("Accuracy after each epoch", Axis("epoch"), _right(measured), series, f"{', '.join(told)}.")


def _right(measured: xr.Dataset) -> Axis:
    return Axis(f"{what_is_right(measured)} (%)")


def _bits(measured: xr.Dataset) -> Chart | None:
    if "bits_per_char" not in measured:
        return None
    epoch, values = measured["epoch"].values.astype(np.float64), measured["bits_per_char"].values
    series = [Series("line", epoch, values, BOARD, colour=RED)]
    in_float = measured.attrs.get("bits_per_char_float")
    if in_float is not None:
        level = np.full(2, float(in_float))
        series.append(Series("line", epoch[[0, -1]], level, "in float32, in the end", colour="#000000", dashed=True))
    told = f"Bits that a character of the test text takes: {values[-1]:.4g} in the end."
    return Chart("Test text", Axis("epoch"), Axis("bits a character"), series, told)


def _loss(measured: xr.Dataset) -> Chart:
    images, loss = measured["images"].values.astype(np.float64), measured["stretch_loss"].values
    told = f"Mean loss of the epoch so far: {loss[0]:.4g} at first, {loss[-1]:.4g} at last."
    line = Series("line", images, loss, "", colour=BLUE)
    return Chart("Loss while learning, mean of the epoch so far", Axis(_SEEN), Axis("mean loss", low=0.0), [line], told)


def _sparsity(measured: xr.Dataset) -> Chart:
    """Few weights have a pulse in a batch: the others are what updates are sparse by."""
    images, share = measured["images"].values.astype(np.float64), 1 - measured["stretch_sparsity"].values
    sparsity = update_sparsity(measured)
    told = "" if sparsity is None else f"{sparsity * 100:.6g} % of weights times batches had no pulse."
    line = Series("line", images, above_zero(share * 100), "", colour=BLUE)
    title = "Update sparsity: weights that have a pulse in a batch"
    return Chart(title, Axis(_SEEN), Axis("weights (%)", log=True), [line], told)


def _so_far(measured: xr.Dataset) -> Chart:
    images, devices = measured["images"].values.astype(np.float64), measured.sizes["cell"]
    series = []
    for name, label, colour in (("pulses", "SET, of updates", BLUE), ("resets", "RESET, of refreshes", RED)):
        total = np.nancumsum(measured[f"stretch_{name}"].values) / devices
        series.append(Series("line", images, above_zero(total), label, colour=colour, dashed=name == "resets"))
    pulses, resets = updates_per_device(measured)
    told = f"{pulses:.4g} SET and {resets:.4g} RESET pulses a device in the end."
    return Chart("Pulses so far, mean over devices", Axis(_SEEN), Axis("pulses a device", log=True), series, told)


def _given(measured: xr.Dataset, name: str, kind: str) -> Chart:
    values, names = measured[name].values, [str(each) for each in measured["layer_name"].values]
    edges, found = counted(values, measured["layer"].values, len(names))
    told = f"{kind} pulses that a device was given: mean {values.mean():.3g}, most {values.max():,}."
    title = f"{kind} pulses of a device: to prepare, update and refresh it"
    up = Axis("devices", log=True, low=_floor(found))
    return Chart(title, Axis(f"{kind} pulses"), up, _by_layer(names, edges, found), told)


def _chi(measured: xr.Dataset) -> Chart | None:
    if "chi_histogram" not in measured:
        return None
    edges, names = edges_of(measured["chi_bin"].values), [str(each) for each in measured["layer_name"].values]
    counts = measured["chi_histogram"].values
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 100
    series = _by_layer(names, edges, share)
    ends = np.array([_floor(share), share.max()])
    for side in (-GRANULE, GRANULE):
        label = "a granule: a pulse" if side > 0 else ""
        series.append(Series("line", np.full(2, side), ends, label, colour=GREY, dashed=True))
    told = "Accumulators in the end; at -1 and 1 granule they turn into pulses."
    across = Axis("chi (granules)", low=min(edges[0], -GRANULE) - 0.05, high=max(edges[-1], GRANULE) + 0.05)
    return Chart("Accumulators in the end", across, Axis("weights (%)", log=True, low=_floor(share)), series, told)


def _conductance(measured: xr.Dataset, layer: int | None) -> Chart:
    counts = measured["conductance_histogram"].values
    own = counts.sum(axis=1) if layer is None else counts[:, layer]
    edges = edges_of(measured["conductance_bin"].values * MICRO)
    series = [
        _stairs(edges, row, _floor(own), f"{moment} training", colour, dashed=moment == "before")
        for moment, row, colour in zip(("before", "after"), own, (GREY, BLUE), strict=True)
    ]
    name = "all layers" if layer is None else str(measured["layer_name"].values[layer])
    told = f"{int(own[0].sum()):,} devices of {name} by what they conduct, before and after training."
    across = Axis("conductance (µS)", low=0.0, high=float(edges[last_filled(own) + 1]))
    up = Axis("devices", log=True, low=_floor(own))
    return Chart(f"What devices conduct: {name}", across, up, series, told)


def _by_layer(names: Sequence[str], edges: np.ndarray, found: np.ndarray) -> list[Series]:
    """A line a layer, named where they are few."""
    return [
        _stairs(edges, row, _floor(found), name if len(names) <= MOST_NAMED else "", colour)
        for name, row, colour in zip(names, found, shades(len(names)), strict=True)
    ]


def _stairs(
    edges: np.ndarray, counts: np.ndarray, floor: float, label: str, colour: str, *, dashed: bool = False
) -> Series:
    """A histogram as a line that ends where its last bin does, and goes down to `floor` where there is nothing."""
    values = np.maximum(np.append(counts, counts[-1]).astype(np.float64), floor)
    return Series("steps", edges, values, label, colour=colour, dashed=dashed)


def _floor(counts: np.ndarray) -> float:
    """Where nothing is drawn on a logarithmic axis: half of the smallest there is."""
    there = counts[counts > 0]
    return float(there.min()) / 2 if there.size else 0.5


def _drift(measured: xr.Dataset) -> Chart | None:
    if "rest" not in measured:
        return None
    time = np.maximum(measured["rest"].values, EARLIEST)
    series = []
    for name, label, colour in (("compensated", "with drift compensation", BLUE), ("after", "without", RED)):
        found = [share_right(measured, float(each)) for each in measured[f"accuracy_{name}"].values]
        series.append(estimates(time, found, label, colour, 100))
    plain, better = (measured[f"accuracy_{name}"].values[-1] * 100 for name in ("after", "compensated"))
    told = f"After {time[-1]:.4g} s: {plain:.4g} %, with drift compensated {better:.4g} %."
    return Chart("Accuracy over drift", Axis("time after training (s)", log=True), _right(measured), series, told)
