"""The I-V curves of one chip, on the simulated test board and on the bench of source-measure units: do they agree?

    OMP_NUM_THREADS=1 python benchmarks/iv_agreement.py [--rows 8] [--chip IV-1] [--json]

The chip of that serial number is bought twice. On each bench it is formed with the same ramp, rests for a day, is read
a few times over and then at each of the voltages. What is compared are the currents, cell by cell and voltage by
voltage, against what both instruments say they err by:

- the test board (docs/periphery.md): steps of its ADC; offset, gain, bow and skew of the ADC of each column; the offset
  of its amplifier, whose mean is -2 nA;
- the source-measure unit: steps, and noise, of its range;
- the cells' own read noise, twice, as the same cells show it in repeated reads on each bench.

Lines are the chip's, and the same on both.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benches import write_bench
from numpy.typing import NDArray
from smu_benches import write_smu_bench

import labctl
from labctl.simulated_instruments.chips.periphery import Periphery

VOLTAGES = (0.1, 0.2, 0.3, 0.4, 0.5)
REPEATS = 16
REST = 86_400.0  # s
AMPLIFIER_OFFSET = -2e-9  # A, as the board's periphery says
UNIT_STEP = 1e-9  # A, of the 2400's 100 uA range
UNIT_NOISE = 1e-9  # A, in one power line cycle: half a step, and what rounding adds

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curves:
    """Of one bench: (cells,) flat indices and V they formed at; (voltages, cells) A, NaN where saturated; (cells,)
    standard deviation of repeated reads at 0.2 V, A; A of a step of its converter."""

    cells: NDArray[np.intp]
    forming_voltage: Float64
    amps: Float64
    spread: Float64
    step: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """cells: compared; points: of their curves. formed_alike: per cent of the cells formed on both benches that did so
    at the same voltage. ratio: median of both benches' currents. mean_difference: A. expected, observed: root mean
    square of what their difference should be and is, A, that of the amplifier taken out. core: 1.4826 times the median
    of difference over what is expected, 1 where all is as it should be. within: share of differences within 1.96 of
    the expected."""

    cells: int
    points: int
    formed_alike: int
    ratio: float
    mean_difference: float
    expected: float
    observed: float
    core: float
    within: float


def measured(bench_file: Path) -> Curves:
    """The curves of the chip on that bench, formed from pristine."""
    with labctl.load_bench(bench_file) as bench, bench.array() as array:
        formed = labctl.run("forming", array)
        with labctl.open_run(formed.path) as run:
            voltage = run["maps"]["forming_voltage"].values.ravel().astype(np.float64)
        cells = np.flatnonzero(np.isfinite(voltage)).astype(np.uint32)
        array.clock.sleep_until(array.clock.now() + REST)
        repeated = array.read(cells, REPEATS)
        spread = repeated.conductance.astype(np.float64).std(axis=0, ddof=1) * VOLTAGES[1]
        amps = []
        for volts in VOLTAGES:
            readout = array.read(cells, voltage=volts)
            amps.append(np.where(readout.saturated[0], np.nan, readout.conductance[0].astype(np.float64) * volts))
        return Curves(cells.astype(np.intp), voltage[cells], np.array(amps), spread, array.adc.step * VOLTAGES[1])


def agreement(board: Curves, unit: Curves) -> Agreement:
    """Of the cells that formed at the same voltage on both."""
    both, on_board, on_unit = np.intersect1d(board.cells, unit.cells, return_indices=True)
    alike = np.abs(board.forming_voltage[on_board] - unit.forming_voltage[on_unit]) < 0.01
    on_board, on_unit = on_board[alike], on_unit[alike]
    first, second = board.amps[:, on_board], unit.amps[:, on_unit]
    volts = np.array(VOLTAGES)[:, np.newaxis] / VOLTAGES[1]
    noise = np.hypot(_own(board, on_board, board.step), _own(unit, on_unit, UNIT_NOISE)) * volts
    expected = np.sqrt(noise**2 + _board_error(second, board.step) ** 2 + UNIT_NOISE**2 + UNIT_STEP**2 / 12)
    known = np.isfinite(first) & np.isfinite(second)
    difference = (first - second - AMPLIFIER_OFFSET)[known]
    return Agreement(
        cells=int(alike.sum()),
        points=int(known.sum()),
        formed_alike=int(alike.sum()) * 100 // max(len(both), 1),
        ratio=float(np.median(first[known] / second[known])),
        mean_difference=float(difference.mean()),
        expected=float(np.sqrt(np.mean(expected[known] ** 2))),
        observed=float(np.sqrt(np.mean(difference**2))),
        core=float(1.4826 * np.median(np.abs(difference) / expected[known])),
        within=float(np.mean(np.abs(difference) <= 1.96 * expected[known])),
    )


def _own(curves: Curves, cells: NDArray[np.intp], instrument: float) -> Float64:
    """(cells,) A of the cells' own noise in one read: what is seen, less what the instrument adds."""
    seen: Float64 = np.sqrt(np.maximum(curves.spread[cells] ** 2 - instrument**2 / 12, 0.0))
    return seen


def _board_error(amps: Float64, step: float) -> Float64:
    """(...) A that the board errs by at those currents: one standard deviation over columns and chips."""
    p = Periphery.named("test_macro")
    lsb = np.sqrt(p.adc_offset_spread**2 + p.adc_bow_spread**2 + p.adc_skew_spread**2 + 1 / 12) * step
    found: Float64 = np.sqrt(lsb**2 + (p.adc_gain_spread * amps) ** 2 + p.amplifier_offset_spread**2)
    return found


def compared(folder: Path, chip: str, rows: int) -> Agreement:
    board = write_bench(folder, rows=rows, cols=rows, chip=chip, instrument='current_range = "64 uA"')
    return agreement(measured(board), measured(write_smu_bench(folder, rows=rows, cols=rows, chip=chip)))


def main() -> None:
    parser = argparse.ArgumentParser(description="The same I-V curves on two benches.")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--chip", default="IV-1")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = asdict(compared(Path(folder), given.chip, given.rows))
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['cells']} cells of chip {given.chip}, {found['points']} points of {len(VOLTAGES)} voltages")
    print(f"ratio of currents, median            {found['ratio']:.4f}")
    print(f"difference less the amplifier's, A   {found['mean_difference']:.3g}")
    print(f"scatter of the difference, A         {found['observed']:.3g} seen, {found['expected']:.3g} expected")
    print(f"core of it, over what is expected    {found['core']:.2f}")
    print(f"within 1.96 of what is expected      {found['within']:.1%}")


if __name__ == "__main__":
    main()
