"""Bit-serial products on the simulated board against numpy doing the same integer arithmetic, in the same run.

    OMP_NUM_THREADS=1 python benchmarks/bit_serial.py [--rounds 3] [--scale 1.0] [--json]

numpy: for each bit, the plane of the codes as float32, times integer weights, shifted and added. The chip: called
directly. The driver: to a board in this process, and over TCP to one that `labctl sim serve` runs in another. Time as a
ratio to numpy's, medians over rounds in which all take their turn. The loads are what 10,000 pictures give the layers
of networks, 4 bits: many vectors of 9 inputs and 64 columns, of 256 and 16, and a few of 256 and 128. `--scale 0.1`
takes a tenth of the vectors.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benches import served, write_bench
from numpy.typing import NDArray

from labctl import load_bench
from labctl.array import MemoryArray, Operation, PulseBatch, Window
from labctl.simulated_instruments.chips import bit_serial
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro

BITS, VOLTAGE, FULL_SCALE = 4, 0.2, 500e-6
LOADS = ((1_440_000, 9, 64), (1_000_000, 256, 16), (10_000, 256, 128))
ROWS = COLS = 512
FORMING = 3.2  # V: half of the cells break down
BENCH: dict[str, Any] = {"rows": ROWS, "cols": COLS, "instrument": "timeout = 60"}

Product = Callable[[NDArray[np.uint8], Window], object]


def integers(codes: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the columns of a board would add up to were its weights whole numbers, (n, outputs)."""
    total = np.zeros((len(codes), weights.shape[1]), np.float32)
    for bit in range(BITS):
        plane = (codes >> bit & 1).astype(np.float32)
        total += np.float32(1 << bit) * (plane @ weights)
    return total


@contextlib.contextmanager
def formed(bench_file: Path) -> Iterator[MemoryArray]:
    with load_bench(bench_file) as bench, bench.array() as array:
        codes = array.dac.codes(np.full(array.geometry.cells, FORMING))
        array.pulse(PulseBatch(Operation.FORM, np.arange(array.geometry.cells, dtype=np.uint32), codes, 1e-6, 1.2))
        yield array


def directly(chip: CrossbarMacro) -> Product:
    def product(codes: NDArray[np.uint8], window: Window) -> object:
        lines = (each.astype(np.intp) for each in (window.plus, window.minus, window.cols))
        return chip.multiply_bits(codes, bit_serial.Window(*lines), BITS, VOLTAGE, FULL_SCALE)

    return product


def through(array: MemoryArray) -> Product:
    return lambda codes, window: array.multiply_bits(codes, window, BITS, VOLTAGE, FULL_SCALE)


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measured(load: tuple[int, int, int], products: dict[str, Product], rounds: int) -> dict[str, Any]:
    vectors, inputs, outputs = load
    random = np.random.default_rng(1)
    rows = random.permutation(ROWS)[: 2 * inputs].astype(np.uint16)
    window = Window(rows[:inputs], rows[inputs:], random.permutation(COLS)[:outputs].astype(np.uint16))
    codes = random.integers(0, 1 << BITS, (vectors, inputs), dtype=np.uint8)
    weights = random.integers(-7, 8, (inputs, outputs)).astype(np.float32)
    spent: dict[str, list[float]] = {name: [] for name in ("numpy", *products)}
    for _ in range(rounds):
        spent["numpy"].append(timed(lambda: integers(codes, weights)))
        for name, product in products.items():
            spent[name].append(timed(lambda product=product: product(codes, window)))
    seconds = {name: statistics.median(each) for name, each in spent.items()}
    ratios = {name: seconds[name] / seconds["numpy"] for name in products}
    return {"vectors": vectors, "inputs": inputs, "outputs": outputs, "seconds": seconds, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description="Bit-serial products on the board against numpy's integers.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of vectors")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    given = parser.parse_args()
    chip = CrossbarMacro.buy("T-1", rows=ROWS, cols=COLS)
    chip.pulse(Operation.FORM, None, round(FORMING / chip.dac.step), 1e-6, 1.2, 0.0)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        inside = stack.enter_context(formed(write_bench(folder, name="inside.toml", **BENCH)))
        outside, _ = stack.enter_context(served(folder, **BENCH))
        over_tcp = stack.enter_context(formed(outside))
        products = {"chip": directly(chip), "driver, in process": through(inside), "driver, TCP": through(over_tcp)}
        rows = [
            measured((max(round(vectors * given.scale), 1), inputs, outputs), products, given.rounds)
            for vectors, inputs, outputs in LOADS
        ]
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'vectors':>10} {'inputs':>7} {'outputs':>8} {'numpy':>9}" + "".join(f"{name:>20}" for name in products))
    for row in rows:
        ratios = "".join(f"{row['ratios'][name]:20.2f}" for name in products)
        print("{vectors:>10} {inputs:>7} {outputs:>8} ".format_map(row) + f"{row['seconds']['numpy']:7.3f} s{ratios}")


if __name__ == "__main__":
    main()
