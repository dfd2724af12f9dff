"""`labctl associate run`: inference with a ternary network on the array, judged beside software."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from labctl.cli.associate.selftest import counted
from labctl.cli.procedures import carry_out, common, flat, print_rows, with_bench
from labctl.runner import RunResult

_PLAIN = ("network", "images", "group", "unroll", "order")
"""Options that are settings as they stand, where they are given."""
_WAYS = {"chip": "on the chip", "ternary": "ternary, in software", "float": "float, in software"}


@click.command("run")
@click.option("--network", help="fashion-mnist, or the .npz of a network.  [default: fashion-mnist]")
@click.option("--images", type=int, help="Judge by so many test images only.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data sets. Default: $LABCTL_DATA.")
@click.option("--own-data", is_flag=True, help="The data are not the published set, but your own in its format.")
@click.option("--trace", is_flag=True, help="Record how many rows every pass tagged: four numbers a pass.")
@click.option("--group", type=int, help="Images that go through all layers together.  [default: 5000]")
@click.option("--unroll", type=int, help="Input channels that share subexpressions.  [default: 1]")
@click.option("--order", type=click.Choice(["outputs", "inputs"]), help="Loop order of tiles.  [default: outputs]")
@click.option("--cse/--no-cse", default=None, help="Share common subexpressions.  [default: cse]")
@common
def run(**options: Any) -> None:
    """Run a ternary network on the array, and judge it by the test images.

    Every product is done on the array, all of its rows at once, by compiled programs of searches and tagged writes.
    What it sums is compared with whole numbers, and what it takes the images for with the network in software.
    """
    given = {name: options.pop(name) for name in (*_PLAIN, "data", "cse")}
    settings = {name: value for name, value in given.items() if value is not None}
    settings |= {name: True for name in ("own_data", "trace") if options.pop(name)}
    if "data" in settings:
        settings["data"] = str(settings["data"].resolve())
    carry_out("associative_inference", lambda _: settings, print_judged, flat, **with_bench(options, "racetrack-ideal"))


def print_judged(result: RunResult) -> int:
    """What the network reached; gives the width of the first column."""
    return print_rows(_rows(result.summary), result)


def _rows(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if "accuracy_chip" not in found:  # stopped before there was anything to judge
        return []
    return [
        ("network", found["network"]),
        ("data", found["data"]),
        *((label, _accuracy(found, way)) for way, label in _WAYS.items()),
        ("logits", _differing(found["mismatches"], found["images"], "images", "those of the ternary network")),
        ("sums", _differing(found["sums_mismatched"], found["sums"], "sums", "whole numbers")),
        *((f"  {each['name']}", _layer(each)) for each in found["layers"]),
        *counted(found),
    ]


def _accuracy(found: Mapping[str, Any], way: str) -> str:
    if found[f"accuracy_{way}"] is None:
        return "the file holds no float network"
    share, low, high = (found[f"accuracy_{way}{end}"] for end in ("", "_low", "_high"))
    return f"{share:.2%} of {found['images']:,} images (95 %: {low:.2%} to {high:.2%})"


def _differing(wrong: int, of: int, what: str, than: str) -> str:
    return f"{wrong:,} of {of:,} {what} other than {than}" if wrong else f"of all {of:,} {what} as {than}"


def _layer(each: Mapping[str, Any]) -> str:
    saved = f"{each['operations']:,} additions ({each['operations_without_cse']:,} without sharing)"
    tiles = f"{each['tiles']:,} tile{'s' if each['tiles'] > 1 else ''}"
    return f"{each['inputs']:,} to {each['outputs']:,}: {saved}, {each['columns']:,} columns, {tiles}"
