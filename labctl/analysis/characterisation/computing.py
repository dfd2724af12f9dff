"""What an associative array computed: how often its arithmetic is right, and how its network does beside software."""

from __future__ import annotations

import xarray as xr

from labctl.analysis import estimators
from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.statistic import Statistic, plain, statistic

WAYS = {"chip": "on the chip", "ternary": "ternary, in software", "float": "float, in software"}
"""How the images of an inference run are judged, and what that is called."""


def selftest(measured: xr.Dataset) -> list[Statistic]:
    """Shares of operations that came out wrong, of all and of each kind, and what the array did for one."""
    operations, mismatches = (measured[name].values for name in ("operations", "mismatches"))
    found = []
    for kind, count, wrong in zip(measured["kind"].values, operations, mismatches, strict=True):
        if count:
            found.append(statistic("wrong", "1", estimators.fraction(int(wrong), int(count)), kind=str(kind)))
    if total := int(operations.sum()):
        share = estimators.fraction(int(mismatches.sum()), total)
        found.append(statistic("wrong", "1", share, "of all operations"))
    for of, note in (("table", "of all rows of all truth tables"), ("layer", "of all sums of the layer")):
        if compared := int(measured.attrs[f"{of}_compared"]):
            share = estimators.fraction(int(measured.attrs[f"{of}_mismatches"]), compared)
            found.append(statistic(f"{of}_wrong", "1", share, note))
    for kind, count, seconds in zip(measured["kind"].values, operations, measured["board_seconds"].values, strict=True):
        if count:
            note = "of the board, all rows at once"
            found.append(plain("seconds_per_operation", "s", float(seconds / count), int(count), note, kind=str(kind)))
    return [*found, *_counters(measured)]


def inference(measured: xr.Dataset) -> list[Statistic]:
    """Accuracies, sums and images that differ from software's, and what the array did."""
    found = [
        statistic(f"accuracy_{way}", "1", share_right(measured, float(measured.attrs[f"accuracy_{way}"])), called)
        for way, called in WAYS.items()
        if f"accuracy_{way}" in measured.attrs
    ]
    if images := int(measured.attrs["samples"]):
        differing = estimators.fraction(int(measured.attrs["differing_images"]), images)
        found.append(statistic("differing", "1", differing, "images whose logits are not those in software"))
    sums, wrong = (measured[f"layer_{name}"].values for name in ("sums", "sums_mismatched"))
    for name, of, differ in zip(measured["layer_name"].values, sums, wrong, strict=True):
        if of:
            found.append(statistic("wrong", "1", estimators.fraction(int(differ), int(of)), layer=str(name)))
    share = estimators.fraction(int(wrong.sum()), int(sums.sum()))
    found.append(statistic("wrong", "1", share, "of all sums"))
    seconds = float(measured["layer_board_seconds"].sum())
    if images:
        note = "of the board, all rows at once"
        found.append(plain("seconds_per_image", "s", seconds / images, images, note))
    return [*found, *_counters(measured)]


def counters(measured: xr.Dataset) -> dict[str, int]:
    """What the array did, by counter."""
    return dict(zip(measured["counter"].values.tolist(), measured["count"].values.tolist(), strict=True))


def _counters(measured: xr.Dataset) -> list[Statistic]:
    return [plain(name, "1", value, 0, "in all") for name, value in counters(measured).items()]
