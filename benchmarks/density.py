"""How near the density comes to the one wanted, over chips and densities, and what the sample says of the chip.

    python benchmarks/density.py [--chips 4] [--rows 512] [--cols 512]

In standard deviations: of the density, that of the sample and of the array together; of the breakdown voltage, that of
its own interval, against the simulated chip's N(3.433, 0.114) V.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from benches import write_bench

import labctl
from labctl.protocols.breakdown import Z

MEAN, SD = 3.433, 0.114
DENSITIES = (0.1, 0.3, 0.5, 0.7, 0.9)


def measured(folder: Path, chip: str, rows: int, cols: int, density: float) -> dict[str, float]:
    """The summary of forming a fresh chip."""
    path = write_bench(folder, rows=rows, cols=cols, chip=chip)
    with labctl.load_bench(path) as bench, bench.array() as array:
        return dict(labctl.run("forming_density", array, out=folder / "runs", density=density).summary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chips", type=int, default=4)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--cols", type=int, default=512)
    given = parser.parse_args()
    print("chip  wanted  density (off)    voltage  mean V (off)     sd mV (off)    rows sd  chance  pulses a cell")
    errors: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for density in DENSITIES:
            for number in range(given.chips):
                chip = f"D-{number}"
                found = measured(Path(folder), chip, given.rows, given.cols, density)
                spread = math.sqrt(density * (1 - density) * (1 / found["cells"] + 1 / found["sample_cells"]))
                off = [(found["density"] - density) / spread]
                for name, true in (("mean", MEAN), ("sd", SD)):
                    low, high = (found[f"breakdown_{name}_{end}_volts"] for end in ("low", "high"))
                    off.append((found[f"breakdown_{name}_volts"] - true) / ((high - low) / (2 * Z)))
                errors.append(found["density"] - density)
                print(
                    f"{chip}   {density:.1f}     {found['density']:.4f} ({off[0]:+.1f})"
                    f"    {found['chosen_voltage_volts']:.3f}    {found['breakdown_mean_volts']:.4f} ({off[1]:+.1f})"
                    f"    {found['breakdown_sd_volts'] * 1e3:.1f} ({off[2]:+.1f})    {found['row_density_sd']:.4f}"
                    f"   {found['row_density_sd_of_chance']:.4f}  {found['pulses'] / found['cells']:.2f}"
                )
    print(f"density off by {np.sqrt(np.mean(np.square(errors))):.4f} RMS, {np.abs(errors).max():.4f} at most")


if __name__ == "__main__":
    main()
