"""Images a second on the board, against numpy doing the same integer arithmetic, in one process.

    OMP_NUM_THREADS=1 python benchmarks/board_inference.py [--images 2000] [--network convolutional] [--rounds 3]

The network's edges are placed on a fresh simulated chip, half of whose cells are formed; random pictures go through it,
by bit-serial products on the board, and by numpy's products of the same codes and bit planes with whole numbers for
weights. What surrounds the products (im2col, batch norms, pooling) is the same code for both.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np

import labctl
from labctl.array import MemoryArray, Operation, PulseBatch
from labctl.learning.bit_serial import BoardProducts
from labctl.learning.networks import make_network
from labctl.learning.placement import Block, place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--network", default="convolutional")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    images = rng.random((given.images, 1, 28, 28), np.float32)
    network = make_network("fashion-mnist", given.network, None, images.shape[1:], 10)
    with labctl.load_bench() as bench, bench.array() as array:
        placement = place([layer.shape for layer in network.layers], (array.geometry.rows, array.geometry.cols))
        if placement.tiles > 1:
            raise SystemExit(f"{given.network} does not stand on one array")
        conductance = _formed(array.driver)
        whole = [
            np.rint((conductance[plus] - conductance[minus]) / array.adc.step).astype(np.float32)
            for plus, minus in zip(placement.plus, placement.minus, strict=True)
        ]
        weights = [each / (each.std() * np.sqrt(len(each))) for each in whole]
        network.calibrate(weights, images[:200])

        def differences(block: Block) -> np.ndarray:
            pairs = (cells[block.layer][block.edges] for cells in (placement.plus, placement.minus))
            plus, minus = (conductance[cells] for cells in pairs)
            return plus - minus

        def integers(layer: int, codes: np.ndarray) -> np.ndarray:
            total = np.zeros((len(codes), placement.layers[layer][1]), np.float32)
            for block in placement.of_layer(layer):
                inputs, outputs = block.edges
                part, matrix = codes[:, inputs], np.ascontiguousarray(whole[layer][block.edges])
                for bit in range(network.bits):
                    total[:, outputs] += np.float32(1 << bit) * (((part >> bit) & 1).astype(np.float32) @ matrix)
            return total

        scales = tuple(float(each.std() * np.sqrt(len(each)) * array.adc.step) for each in whole)
        samples = [rng.integers(0, network.top + 1, (256, layer.inputs)).astype(np.uint8) for layer in network.layers]
        board = BoardProducts(
            array.driver, placement, scales, network.bits, 0.3, samples, differences, show=lambda _: False
        )
        network.predict(weights, images[:50], board)  # calibrates the columns
        ways = {"numpy, whole numbers": integers, "board, in process": board}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, product in ways.items():
                started = time.perf_counter()
                for first in range(0, len(images), 500):
                    network.predict(weights, images[first : first + 500], product)
                spent[name].append(time.perf_counter() - started)
        base = median(spent["numpy, whole numbers"])
        for name, seconds in spent.items():
            taken = median(seconds)
            print(f"{name:24} {given.images / taken:8.0f} images/s   {taken / base:5.2f} times numpy")


def _formed(array: MemoryArray) -> np.ndarray:
    """(cells,) S of a chip after one pulse that forms about half of its cells."""
    cells = np.arange(array.geometry.cells, dtype=np.uint32)
    amplitude = np.full(len(cells), array.dac.codes(3.433), np.uint16)
    (found,) = array.pulse_and_verify(PulseBatch(Operation.FORM, cells, amplitude, 1e-6, 1.2))
    conductance: np.ndarray = found.conductance[0]
    return conductance


if __name__ == "__main__":
    main()
