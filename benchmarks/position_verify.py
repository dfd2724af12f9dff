"""Arithmetic on racetracks whose shifts go wrong: how many results are wrong, with position verify and without.

    python benchmarks/position_verify.py [--operations N] [--shift-error P ...] [--verify-every N ...] [--json]

Every pair of a shift-error rate and a verify interval has a fresh simulated chip, without any other fault, on which
`labctl associate selftest` does random operations on words of 8 bits. Without verify, nanowires go further astray with
every shift, so that the share of wrong results grows with the number of operations: it is that of this many.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from associative_benches import write_associative_bench

import labctl
from labctl.proportions import wilson_interval

SHIFT_ERRORS = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
VERIFY_EVERY = (0, 1, 8)


@dataclass(frozen=True)
class Point:
    """What one chip did. verify_every: shifts of a track from one verify to the next, 0 for none. board_seconds: that
    the programs took.
    """

    shift_error: float
    verify_every: int
    operations: int
    mismatches: int
    low: float
    high: float
    shifts: int
    checks: int
    realignments: int
    board_seconds: float

    @property
    def share(self) -> float:
        return self.mismatches / self.operations


def points(
    shift_errors: Sequence[float], verify_every: Sequence[int], operations: int, rows: int, misread: float
) -> Iterator[Point]:
    with tempfile.TemporaryDirectory() as folder:
        for shift_error in shift_errors:
            for every in verify_every:
                faults = {"shift_error": shift_error, "transverse_misread": misread}
                bench = write_associative_bench(Path(folder), rows=rows, verify_every=every, **faults)
                yield _measured(bench, shift_error, every, operations)


def _measured(bench: Path, shift_error: float, every: int, operations: int) -> Point:
    with labctl.load_bench(bench) as live, live.array() as array:
        told: dict[str, Any] = labctl.run("associative_selftest", array, operations=operations).summary
    counters, done, wrong = told["counters"], told["operations"], told["mismatches"]
    low, high = wilson_interval(wrong, done)
    counted = [counters[name] for name in ("shifts", "checks", "realignments")]
    return Point(shift_error, every, done, wrong, low, high, *counted, told["board_seconds"])


def _line(point: Point) -> str:
    every = f"every {point.verify_every}" if point.verify_every else "never"
    share = f"{point.share:10.3e} ({point.low:.2e} to {point.high:.2e})"
    return (
        f"{point.shift_error:8.0e}  {every:<9} {share:<36} {point.mismatches:>11,} of {point.operations:>11,}"
        f" {point.checks:>10,} {point.realignments:>9,} {point.board_seconds * 1e3:10.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=65_536)
    parser.add_argument("--shift-error", type=float, nargs="+", default=SHIFT_ERRORS)
    parser.add_argument("--verify-every", type=int, nargs="+", default=VERIFY_EVERY)
    parser.add_argument("--misread", type=float, default=0.0, help="of a transverse read")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    found = []
    if not given.as_json:
        print("   shift  verify    wrong results (95 %)                                              ", end="")
        print("                checks  realigned  board (ms)")
    for point in points(given.shift_error, given.verify_every, given.operations, given.rows, given.misread):
        found.append(point)
        if not given.as_json:
            print(_line(point), flush=True)
    if given.as_json:
        print(json.dumps([asdict(each) | {"share": each.share} for each in found], indent=1))


if __name__ == "__main__":
    main()
