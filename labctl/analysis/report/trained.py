"""What a trained network reaches, in words, tables and pictures: beside other ways, after drift; what it makes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.training import (
    Way,
    is_generated,
    on_board,
    update_sparsity,
    updates_per_device,
    ways,
    what_is_right,
)
from labctl.analysis.figures import generated
from labctl.analysis.report.content import Block, Table, Terms, Text
from labctl.analysis.report.judged import account, accuracy, interval, labels
from labctl.analysis.report.pictures import picture
from labctl.analysis.report.words import count, duration, number, percent, with_micro
from labctl.learning.trainable.tasks import TRAINING_BASELINES

_WIDE = 17.0  # inches
_TITLE = 0.5
_FLOAT = TRAINING_BASELINES["float"]


def trained(measured: xr.Dataset) -> list[Block]:
    """Of a `training` measurement."""
    return [
        *_told(measured),
        *_ways(measured),
        *_text(measured),
        *_samples(measured),
        *labels(measured),
        *_rests(measured),
        *_layers(measured),
        *account(measured),
    ]


def _told(measured: xr.Dataset) -> list[Block]:
    """One paragraph: how far it came, how sure that is, what it took, and what a single run does not say."""
    own = on_board(measured)
    if own is None:
        return []
    others = {way.name: way for way in ways(measured)}
    parts = [_reached(measured), *_beside(own.low, own.value, others.get(_FLOAT)), _took(measured)]
    parts.append(
        "Intervals are of these test samples: how far training again, with another seed or on another chip, would end "
        "elsewhere, one run does not say."
        if measured.attrs["samples"]
        else "One run does not say how far training again, with another seed or on another chip, would end elsewhere."
    )
    return [Text(" ".join(parts))]


def _reached(measured: xr.Dataset) -> str:
    own = on_board(measured)
    assert own is not None
    epochs = count(int(measured["epoch"].values[-1]), "epoch") if measured.sizes["epoch"] else "no epoch"
    of = f"{own.n:,}" if own.n else "the"
    sure = f" (95 %: {interval(own)})" if interval(own) else ""
    bits = measured.attrs.get("bits_per_char")
    more = f"; a character of the test text takes {bits:.3f} bits" if bits is not None else ""
    return with_micro(
        f"After {epochs}, on the board: {accuracy(own.value)} of {of} {what_is_right(measured)}{sure}{more}."
    )


def _beside(low: float, value: float, in_float: Way | None) -> list[str]:
    """How far it is from float32, and whether these samples can tell that."""
    if in_float is None:
        return []
    points = (value - in_float.final.value) * 100
    told = f"That is {abs(points):.2f} points {'below' if points < 0 else 'above'} the same network in float32"
    if not points:
        told = "That is what the same network reaches in float32"
    if not np.isfinite([low, in_float.final.low]).all():
        return [f"{told}."]
    apart = low > in_float.final.high or value + (value - low) < in_float.final.low
    return [f"{told}{', more than chance among these samples' if apart else '; their intervals overlap'}."]


def _took(measured: xr.Dataset) -> str:
    pulses, resets = updates_per_device(measured)
    told = f"Training gave {number(pulses, 3)} SET pulses of updates and {number(resets, 2)} RESET pulses a device"
    sparsity = update_sparsity(measured)
    if sparsity is None:
        return f"{told}."
    return f"{told}; a batch left {percent(sparsity)} of the weights without a pulse."


def _ways(measured: xr.Dataset) -> list[Block]:
    found = ways(measured)
    if len(found) < 2:
        return []
    in_float = next((way.final.value for way in found if way.name == _FLOAT), None)
    head = ["", what_is_right(measured), "95 % interval"]
    rows = [[way.name, accuracy(way.final.value), interval(way.final)] for way in found]
    if in_float is not None:
        head.append("less float32, points")
        for row, way in zip(rows, found, strict=True):
            row.append("" if way.name == _FLOAT else with_micro(f"{(way.final.value - in_float) * 100:+.2f}"))
    return [Table("The network on the board and elsewhere", head, rows, range(1, len(head)))]


def _text(measured: xr.Dataset) -> list[Block]:
    told = measured.attrs
    names = {"bits_per_char": "bits a character, on the board", "bits_per_char_float": f"bits a character, {_FLOAT}"}
    items = [(label, f"{told[name]:.4f}") for name, label in names.items() if name in told]
    if "sample" in told:
        items.append(("written on the board", generated.printable(str(told["sample"]))))
    return [Terms("Text", items)] if items else []


def _samples(measured: xr.Dataset) -> list[Block]:
    found: list[Block] = []
    for name, told in generated.SAMPLES.items():
        if name in measured:
            height, width = generated.montage(generated.first(measured, name)).shape
            figure = Figure(figsize=(_WIDE, _WIDE * height / width + _TITLE), layout="constrained")
            generated.samples(figure.subplots(), measured, name, told)
            found.append(picture(figure, f"Pictures {told}", always=True))
    scores = {"score": "on the board", "score_float": _FLOAT, "score_real": "real digits, by the same judge"}
    items = [(label, accuracy(measured.attrs[name])) for name, label in scores.items() if name in measured.attrs]
    if items and is_generated(measured):
        found.insert(0, Terms("Pictures that a judge, trained on real digits, is sure of", items))
    return found


def _rests(measured: xr.Dataset) -> list[Block]:
    if "rest" not in measured:
        return []
    columns = [measured[name].values for name in ("rest", "accuracy_after", "accuracy_compensated", "compensation")]
    names = measured["layer_name"].values.tolist()
    rows = []
    for time, plain, compensated, factors in zip(*columns, strict=True):
        shown = [_with_interval(measured, float(each)) for each in (plain, compensated)]
        rows.append((duration(float(time)), *shown, ", ".join(f"{each:.3f}" for each in factors)))
    head = ("after", "as it is", "with drift compensation", f"factors of {', '.join(names)}")
    return [Table("Accuracy over drift, with nothing done", head, rows, (1, 2))]


def _with_interval(measured: xr.Dataset, share: float) -> str:
    ends = interval(share_right(measured, share))
    return f"{accuracy(share)} ({ends})" if ends else accuracy(share)


def _layers(measured: xr.Dataset) -> list[Block]:
    if "layer_weights" not in measured:
        return []
    names = ("name", "inputs", "outputs", "weights", "cells", "pulses_per_device", "resets", "granule")
    rows = [
        (
            str(name),
            f"{inputs:,} × {outputs:,}",
            f"{weights:,}",
            f"{cells:,}",
            number(float(pulses), 3),
            number(float(resets / max(cells, 1)), 2),
            number(float(granule), 3),
        )
        for name, inputs, outputs, weights, cells, pulses, resets, granule in zip(
            *(measured[f"layer_{name}"].values for name in names), strict=True
        )
    ]
    head = ("layer", "size", "weights", "devices", "SET of updates a device", "RESET a device", "granule, in weight")
    return [Table(f"{count(len(rows), 'layer')} on the array", head, rows, range(1, len(head)))]
