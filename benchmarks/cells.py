"""How fast the simulated cells are, as ratios against a floor measured in the same run.

Pulses and reads: time per cell against numpy drawing one float32 standard normal (PCG64) per cell; 1 is as
fast as the normals alone. Multiply: the noise-free product's time against the noisy one's.

    OMP_NUM_THREADS=1 python benchmarks/cells.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from labctl.simulated_instruments.chips.crossbar import CrossbarMacro

FORM, SET, RESET = 1, 2, 3
SIZES = (64, 256, 512, 1024, 2048)
BATCH = 64
SECONDS = 0.3  # spent on each figure; the fastest call counts


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest call."""
    best, end = np.inf, time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end:
        call()
        best = min(best, time.perf_counter() - start)
    return float(best)


def formed(size: int) -> CrossbarMacro:
    chip = CrossbarMacro.buy("BENCH", rows=size, cols=size)
    chip.pulse(FORM, None, 55_000, 1e-6, 1.2, 0.0)
    return chip


def normals(count: int) -> float:
    generator, drawn = np.random.default_rng(0), np.empty(count, np.float32)
    return fastest(lambda: generator.standard_normal(out=drawn, dtype=np.float32)) / count


def cell_rows(size: int) -> list[dict[str, object]]:
    """All cells, and one in ten of them, scattered and sorted, as program-and-verify leaves them."""
    chip, count = formed(size), size * size
    picked = np.sort(np.random.default_rng(1).choice(count, count // 10, replace=False)).astype(np.uint32)
    floor = normals(count)
    rows: list[dict[str, object]] = []
    for who, cells in (("all", None), ("10 %", picked)):
        n = count if cells is None else len(cells)
        codes = np.full(n, 22_000, np.uint16)
        calls: dict[str, Callable[[], object]] = {
            "SET": partial(chip.pulse, SET, cells, codes, 1e-7, 2.0, 0.0),
            "RESET": partial(chip.pulse, RESET, cells, codes, 1e-7, 2.5, 0.0),
            "SET and read": partial(chip.pulse_and_read, SET, cells, codes, 1e-7, 2.0, 0.0),
            "read": partial(chip.read, cells),
        }
        for name, call in calls.items():
            each = fastest(call) / n
            rows.append(
                {
                    "what": name,
                    "cells": who,
                    "size": f"{size} x {size}",
                    "ns_per_cell": each * 1e9,
                    "ratio": floor / each,
                }
            )
    return rows


def multiply_row() -> dict[str, object]:
    chip = formed(512)
    voltages = np.random.default_rng(2).uniform(0, 0.2, (BATCH, 512)).astype(np.float32)
    weights = np.full((512, 512), 1e-5, np.float32)
    product = np.empty((BATCH, 512), np.float32)
    floor = fastest(lambda: np.matmul(voltages, weights, out=product))
    each = fastest(lambda: chip.multiply(voltages))
    return {
        "what": f"multiply, batch {BATCH}",
        "cells": "all",
        "size": "512 x 512",
        "ns_per_cell": each / 512 / 512 * 1e9,
        "ratio": floor / each,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the simulated cells against numpy's own normals.")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    as_json = parser.parse_args().json
    rows = [row for size in SIZES for row in cell_rows(size)] + [multiply_row()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'what':<20} {'cells':<6} {'array':<12} {'ns/cell':>8} {'ratio':>6}")
    for row in rows:
        print("{what:<20} {cells:<6} {size:<12} {ns_per_cell:8.1f} {ratio:6.2f}".format_map(row))


if __name__ == "__main__":
    main()
