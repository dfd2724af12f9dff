"""What an associative array computed, in words and tables: its network beside software, layer by layer."""

from __future__ import annotations

import xarray as xr

from labctl.analysis.characterisation.computing import WAYS
from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.report.content import Block, Table, Text
from labctl.analysis.report.judged import accuracy, interval, labels
from labctl.analysis.report.words import count, quantity


def inferred(measured: xr.Dataset) -> list[Block]:
    """Of an `associative-inference` measurement."""
    return [*_told(measured), *_ways(measured), *labels(measured), *_layers(measured)]


def _told(measured: xr.Dataset) -> list[Block]:
    """One paragraph: whether the array computed what software does."""
    images, differing = int(measured.attrs["samples"]), int(measured.attrs["differing_images"])
    sums, wrong = (int(measured[f"layer_{name}"].sum()) for name in ("sums", "sums_mismatched"))
    if not images:
        return []
    if not wrong and not differing:
        told = f"All {count(sums, 'sum')} and the logits of all {count(images, 'image')} are those of whole numbers."
        return [Text(f"{told} What accuracy there is, the ternary network has in software too.")]
    told = f"{wrong:,} of {count(sums, 'sum')} are not those of whole numbers, given the same inputs"
    return [Text(f"{told}; of {count(images, 'image')} {differing:,} have other logits than in software.")]


def _ways(measured: xr.Dataset) -> list[Block]:
    rows = []
    for way, called in WAYS.items():
        if f"accuracy_{way}" in measured.attrs:
            found = share_right(measured, float(measured.attrs[f"accuracy_{way}"]))
            rows.append([called, accuracy(found.value), interval(found)])
    if not rows:
        return []
    return [Table("The network on the chip and in software", ("", "test images right", "95 % interval"), rows, (1, 2))]


def _layers(measured: xr.Dataset) -> list[Block]:
    if "layer_operations" not in measured:
        return []
    names = ("name", "inputs", "outputs", "operations_without_cse", "operations", "columns")
    counted = ("passes", "sums", "sums_mismatched", "board_seconds")
    rows = [
        (
            str(name),
            f"{inputs:,} × {outputs:,}",
            f"{without:,}",
            f"{operations:,}",
            f"{columns:,}",
            f"{passes:,}",
            f"{sums:,}",
            f"{wrong:,}",
            quantity(float(seconds), "s", 3),
        )
        for name, inputs, outputs, without, operations, columns, passes, sums, wrong, seconds in zip(
            *(measured[f"layer_{each}"].values for each in (*names, *counted)), strict=True
        )
    ]
    head = ("layer", "size", "additions without sharing", "additions", "columns", "passes", "sums", "wrong", "time")
    return [Table(f"{count(len(rows), 'layer')} on the array", head, rows, range(1, len(head)))]
