"""Measure a simulated chip, calibrate, and look whether its own parameters come back within their intervals.

    OMP_NUM_THREADS=1 python benchmarks/round_trip.py [--chip RT-1] [--cells rram_40nm] [--json]

Every kind of measurement that is fitted from is made once with its defaults, by the commands a user would give, on a
chip of 256 x 256 cells that remembers; then `labctl calibrate` is given all of them. Tables (relaxation, steps) are not
compared: a fit chooses levels of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from benches import labctl, result_of, write_bench

from labctl.simulated_instruments.cells.births import Births
from labctl.simulated_instruments.cells.rram_parameters import RramParameters

KINDS = ("forming", "endurance", "retention", "pulse-response", "iv", "read-noise")
ROWS = 256


def calibrated(folder: Path, chip: str, cells: str) -> dict[str, Any]:
    """The tables of the chip file."""
    write_bench(folder, rows=ROWS, cols=ROWS, chip=chip, simulated=f'state = "chip.h5"\ncells = "{cells}"')
    runs = []
    for kind in KINDS:
        settings = ("--set", "cells=1024") if kind in ("endurance", "iv") else ()
        done = labctl("characterize", kind, *settings, "--bench", "bench.toml", "--no-plot", "-q", "--json", cwd=folder)
        runs.append(result_of(done)["run"])
    done = labctl("calibrate", *runs, "-o", "twin.toml", "--base", cells, cwd=folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = tomllib.loads((folder / "twin.toml").read_text(encoding="utf-8"))
    return found


def own_parameters(chip: str, cells: str) -> RramParameters:
    """What the chip was made with: its technology's, and its own draw of what differs from chip to chip."""
    p = RramParameters.named(cells)
    fraction = Births(chip, 1).of_chip("unformable", p.unformable_fraction, p.unformable_chip_spread)
    return dataclasses.replace(p, unformable_fraction=fraction)


def rows(tables: dict[str, Any], truth: RramParameters) -> list[dict[str, Any]]:
    """One a scalar that was calibrated with an interval."""
    found = []
    for name, table in tables.items():
        if name == "chip" or "low" not in table or not isinstance(table["value"], float | int):
            continue
        true = getattr(truth, name)
        inside = table["low"] <= true <= table["high"]
        found.append({"parameter": name, "true": true, **{k: table[k] for k in ("value", "low", "high")}, "in": inside})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibrating a simulated chip gives back its parameters.")
    parser.add_argument("--chip", default="RT-1")
    parser.add_argument("--cells", default="rram_40nm")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = rows(calibrated(Path(folder), given.chip, given.cells), own_parameters(given.chip, given.cells))
    if given.json:
        print(json.dumps(table, indent=2))
        return
    print(f"{'parameter':<28} {'true':>11} {'found':>11} {'low':>11} {'high':>11}  within")
    for row in table:
        numbers = " ".join(f"{row[key]:11.4g}" for key in ("true", "value", "low", "high"))
        print(f"{row['parameter']:<28} {numbers}  {'yes' if row['in'] else 'NO'}")
    print(f"{np.count_nonzero([row['in'] for row in table])} of {len(table)} within their 95 % intervals")


if __name__ == "__main__":
    main()
