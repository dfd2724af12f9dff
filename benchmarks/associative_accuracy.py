"""Accuracy of the ternary network on racetracks whose shifts go wrong, with position verify and without.

    LABCTL_DATA=DIR python benchmarks/associative_accuracy.py [--images N] [--shift-error P ...] [--verify-every N ...]
        [--network FILE] [--json]

Every pair of a shift-error rate and a verify interval has a fresh simulated chip, without any other fault, on which
`labctl associate run` judges the first test images. Needs FashionMNIST in DIR/fashion-mnist.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from associative_benches import write_associative_bench
from position_verify import SHIFT_ERRORS, VERIFY_EVERY

import labctl


@dataclass(frozen=True)
class Point:
    """What one chip reached. mismatches: images with other logits than those of the network in software."""

    shift_error: float
    verify_every: int
    images: int
    accuracy_chip: float
    low: float
    high: float
    accuracy_ternary: float
    mismatches: int
    sums: int
    sums_mismatched: int


def points(given: argparse.Namespace) -> Iterator[Point]:
    chosen = {"network": given.network, "images": given.images, "data": given.data, "own_data": given.own_data}
    settings = {name: value for name, value in chosen.items() if value}
    with tempfile.TemporaryDirectory() as folder:
        for shift_error in given.shift_error:
            for every in given.verify_every:
                bench = write_associative_bench(Path(folder), verify_every=every, shift_error=shift_error)
                yield _measured(bench, shift_error, every, settings)


def _measured(bench: Path, shift_error: float, every: int, settings: dict[str, Any]) -> Point:
    with labctl.load_bench(bench) as live, live.array() as array:
        told: dict[str, Any] = labctl.run("associative_inference", array, **settings).summary
    names = ("images", "accuracy_chip", "accuracy_chip_low", "accuracy_chip_high", "accuracy_ternary", "mismatches")
    return Point(shift_error, every, *(told[name] for name in (*names, "sums", "sums_mismatched")))


def _line(point: Point) -> str:
    every = f"every {point.verify_every}" if point.verify_every else "never"
    accuracy = f"{point.accuracy_chip:.2%} ({point.low:.2%} to {point.high:.2%})"
    sums = f"{point.sums_mismatched / point.sums:.3e}"
    return (
        f"{point.shift_error:8.0e}  {every:<9} {accuracy:<28} {point.accuracy_ternary:>8.2%}"
        f" {point.mismatches:>9,} of {point.images:,}  {sums}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--network")
    parser.add_argument("--data")
    parser.add_argument("--own-data", action="store_true")
    parser.add_argument("--shift-error", type=float, nargs="+", default=SHIFT_ERRORS)
    parser.add_argument("--verify-every", type=int, nargs="+", default=VERIFY_EVERY)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    found = []
    if not given.as_json:
        print("   shift  verify    on the chip (95 %)           software  images that differ  sums that differ")
    for point in points(given):
        found.append(point)
        if not given.as_json:
            print(_line(point), flush=True)
    if given.as_json:
        print(json.dumps([asdict(each) for each in found], indent=1))


if __name__ == "__main__":
    main()
