"""How fast the simulated cells are, as ratios against a floor measured in the same run.

Pulses and reads: time per cell against numpy drawing float32 standard normals (PCG64), one a cell, and as many as the
cell model drew variates; 1 is as fast as the normals alone. Variates are counted where they are drawn. By effect at
512 x 512: cells without any but the switching of a pulse and the white noise of a read, then with one more, then with
all and a real periphery; that at sizes from 64 x 64 to 2048 x 2048, on all cells and on one in ten. Time passes between
calls, so that there is something to relax. Multiply: the noise-free product's time against the noisy one's, for cells
that stay as they are and for cells that are looked at anew.

    OMP_NUM_THREADS=1 python benchmarks/cells.py [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.periphery import Periphery

FORM, SET, RESET = 1, 2, 3
SIZES = (64, 256, 512, 1024, 2048)
BATCH = 64
SECONDS = 0.3  # spent on each figure; the fastest call counts
BETWEEN = 10.0  # s of the chip's time between calls

ALL = RramParameters.default()
NO_RELAXATION: dict[str, Any] = {
    f"relaxation_{name}": () for name in ("times", "levels", "probabilities", "quantiles", "memory")
}
NO_CYCLES = {"set_cycle_memory": 0.0, "reset_cycle_memory": 0.0}
NO_FLUCTUATORS = {"flicker_noise": 0.0, "telegraph_fraction": 0.0}
FURTHER = {"nonlinearity": 0.0, "read_disturb": 0.0, "endurance_pulses": 0.0}
BARE: dict[str, Any] = NO_RELAXATION | NO_CYCLES | NO_FLUCTUATORS | FURTHER
EFFECTS = {
    "no further effect": {},
    "cycle memory": NO_CYCLES,
    "relaxation": NO_RELAXATION,
    "fluctuators": NO_FLUCTUATORS,
    "read disturb": {"read_disturb": 0.0},
    "non-linear I-V": {"nonlinearity": 0.0},
    "wear": {"endurance_pulses": 0.0},
}
"""Which of BARE an effect takes back."""


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest call."""
    best, end = np.inf, time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end:
        call()
        best = min(best, time.perf_counter() - start)
    return float(best)


def effects() -> dict[str, tuple[RramParameters, Periphery]]:
    """Chips to buy by name."""
    ideal, real = Periphery.ideal(), Periphery.named("test_macro")
    found = {}
    for name, effect in EFFECTS.items():
        off = {key: value for key, value in BARE.items() if key not in effect}
        found[name] = dataclasses.replace(ALL, **off), ideal
    found["periphery"] = dataclasses.replace(ALL, **BARE), real
    found["all"] = ALL, real
    return found


class Bench:
    """A formed chip whose clock goes on by `BETWEEN` with every call."""

    def __init__(self, size: int, parameters: RramParameters = ALL, periphery: Periphery | None = None) -> None:
        self.chip = CrossbarMacro.buy("BENCH", parameters, size, size, periphery)
        self.chip.read_voltage = 0.25  # not the one that conductances are meant at
        self.chip.pulse(FORM, None, 55_000, 1e-6, 1.2, self.now())

    time = 0.0

    def now(self) -> float:
        self.time += BETWEEN
        return self.time

    def calls(self, cells: np.ndarray | None) -> dict[str, Callable[[], object]]:
        chip = self.chip
        codes = np.full(chip.rows * chip.cols if cells is None else len(cells), 22_000, np.uint16)
        return {
            "SET": lambda: chip.pulse(SET, cells, codes, 1e-7, 2.0, self.now()),
            "RESET": lambda: chip.pulse(RESET, cells, codes, 1e-7, 2.5, self.now()),
            "SET and read": lambda: chip.pulse_and_read(SET, cells, codes, 1e-7, 2.0, self.now()),
            "read": lambda: chip.read(cells, time=self.now()),
        }


def normals(count: int) -> float:
    """Seconds for one float32 standard normal of numpy's, `count` at a time."""
    generator, drawn = np.random.default_rng(0), np.empty(count, np.float32)
    return fastest(lambda: generator.standard_normal(out=drawn, dtype=np.float32)) / count


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """How many variates are drawn meanwhile: every one is a hash."""
    found: list[int] = []
    modules = [module for name, module in sys.modules.items() if name.startswith("labctl.simulated_instruments.")]
    modules = [module for module in modules if hasattr(module, "hash_bits")]
    original = modules[0].hash_bits

    def counting(key: Any, cells: np.ndarray, *rest: Any) -> Any:
        found.append(len(cells))
        return original(key, cells, *rest)

    for module in modules:
        module.hash_bits = counting
    try:
        yield found
    finally:
        for module in modules:
            module.hash_bits = original


def cell_rows(size: int, name: str, chip: tuple[RramParameters, Periphery]) -> list[dict[str, object]]:
    """All cells, and one in ten of them, scattered and sorted, as program-and-verify leaves them."""
    bench, count = Bench(size, *chip), size * size
    picked = np.sort(np.random.default_rng(1).choice(count, count // 10, replace=False)).astype(np.uint32)
    floor = normals(count)
    rows: list[dict[str, object]] = []
    for who, cells in (("all", None), ("10 %", picked)):
        n = count if cells is None else len(cells)
        for what, call in bench.calls(cells).items():
            with counted() as drawn:
                call()
            each, variates = fastest(call) / n, sum(drawn) / n
            rows.append(
                {
                    "what": what,
                    "effects": name,
                    "cells": who,
                    "size": f"{size} x {size}",
                    "ns_per_cell": each * 1e9,
                    "ratio": floor / each,
                    "normals": variates,
                    "ratio_to_as_many": variates * floor / each,
                }
            )
    return rows


def multiply_rows() -> list[dict[str, object]]:
    bench = Bench(512)
    chip, now = bench.chip, bench.now()
    voltages = np.random.default_rng(2).uniform(0, 0.2, (BATCH, 512)).astype(np.float32)
    weights = np.full((512, 512), 1e-5, np.float32)
    product = np.empty((BATCH, 512), np.float32)
    floor = fastest(lambda: np.matmul(voltages, weights, out=product))
    calls = {
        f"multiply, batch {BATCH}": partial(chip.multiply, voltages, time=now),
        "... after a change": lambda: chip.multiply(voltages, time=bench.now()),
    }
    return [
        {
            "what": what,
            "effects": "all",
            "cells": "all",
            "size": "512 x 512",
            "ns_per_cell": (each := fastest(call)) / 512 / 512 * 1e9,
            "ratio": floor / each,
        }
        for what, call in calls.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the simulated cells against numpy's own normals.")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    as_json = parser.parse_args().json
    chips = effects()
    rows = [row for name, chip in chips.items() for row in cell_rows(512, name, chip)]
    rows += [row for size in SIZES if size != 512 for row in cell_rows(size, "all", chips["all"])]
    rows += multiply_rows()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    heads = ("what", "effects", "cells", "array", "ns/cell", "ratio", "normals", "to as many")
    print("{:<20} {:<18} {:<6} {:<12} {:>8} {:>6} {:>8} {:>10}".format(*heads))
    for row in rows:
        line = "{what:<20} {effects:<18} {cells:<6} {size:<12} {ns_per_cell:8.1f} {ratio:6.2f}".format_map(row)
        print(line + (" {normals:8.1f} {ratio_to_as_many:10.2f}".format_map(row) if "normals" in row else ""))


if __name__ == "__main__":
    main()
