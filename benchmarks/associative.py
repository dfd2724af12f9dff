"""Programs on the simulated associative chip against numpy's bitwise operations on packed words, in the same run.

    OMP_NUM_THREADS=1 python benchmarks/associative.py [--words 100] [--rounds 3] [--json]

A program adds words of 8 bits in all 65,536 rows, as the compiler emits it, on chips of several faults. A cell
operation is a column searched or written in one row. The floor: as many `numpy.bitwise_and` of two columns into a
third. The best of rounds in which both take their turn.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl import associative
from labctl.associative import Program
from labctl.compiler.tables import NUMBER, TABLES
from labctl.simulated_instruments.cells.racetrack_parameters import RacetrackParameters
from labctl.simulated_instruments.chips.associative import AssociativeChip

BITS = 8
CHIPS: tuple[tuple[str, str, dict[str, float], int], ...] = (
    ("no faults", "racetrack_ideal", {}, 0),
    ("faults of racetrack", "racetrack", {}, 0),
    ("faults of racetrack, verified", "racetrack", {}, 1),
    ("shift errors 1e-3", "racetrack_ideal", {"shift_error": 1e-3}, 0),
    ("shift errors 1e-3, every 8th verified", "racetrack_ideal", {"shift_error": 1e-3}, 8),
    ("shift errors 1e-3, verified", "racetrack_ideal", {"shift_error": 1e-3}, 1),
)
"""Name, cells, overrides, verify_every."""


def additions(words: int, domains: int) -> Program:
    """`words` additions b <- a + b of words on tracks 0 and 1, with the carry on track 2."""
    a, b, c = 0, domains, 2 * domains
    one = [(NUMBER["first_add"], 1, [a, b, c], [0] * 3), (NUMBER["add"], BITS - 1, [a + 1, b + 1, c], [1, 1, 0])]
    return Program(tuple(TABLES.values()), associative.instructions(one * words))


def floor(chip: AssociativeChip, column_operations: int) -> float:
    """s that numpy takes for so many operations on planes."""
    first, second, third = np.random.default_rng(1).integers(0, 1 << 63, (3, chip.rows // 64), dtype=np.uint64)
    operation = np.bitwise_and
    started = time.perf_counter()
    for _ in range(column_operations):
        operation(first, second, third)
    return time.perf_counter() - started


def measured(
    name: str, cells: str, overrides: dict[str, float], verify_every: int, given: argparse.Namespace
) -> dict[str, Any]:
    chip = AssociativeChip.buy("T-1", RacetrackParameters.named(cells).changed(**overrides))
    chip.verify_every = verify_every
    program = additions(given.words, chip.domains)
    columns: NDArray[np.uint32] = associative.word_columns([0, chip.domains], BITS)
    planes = np.random.default_rng(2).integers(0, 256, (len(columns), chip.row_bytes)).astype(np.uint8)
    chip.load(columns, planes)
    tables = [table.codes for table in program.tables]
    spent, bare = [], []
    for _ in range(given.rounds):
        before = chip.counters.searched_columns + chip.counters.written_columns
        started = time.perf_counter()
        chip.execute(tables, program.instructions)
        spent.append(time.perf_counter() - started)
        operations = chip.counters.searched_columns + chip.counters.written_columns - before
        bare.append(floor(chip, operations))
    return {
        "chip": name,
        "passes_per_second": program.passes / min(spent),
        "cell_operations_per_second": operations * chip.rows / min(spent),
        "ratio_to_numpy": min(spent) / min(bare),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Programs on the associative chip against numpy's bitwise operations.")
    parser.add_argument("--words", type=int, default=100, help="additions of a program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    given = parser.parse_args()
    rows = [measured(*each, given) for each in CHIPS]
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'chip':>40} {'passes/s':>10} {'cell operations/s':>18} {'time / numpy':>13}")
    for row in rows:
        print(
            f"{row['chip']:>40} {row['passes_per_second']:10,.0f} {row['cell_operations_per_second']:18.2e}"
            f" {row['ratio_to_numpy']:13.2f}"
        )


if __name__ == "__main__":
    main()
