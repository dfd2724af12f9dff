"""Products of a network's layers on an array: bit-serial inputs, calibrated columns.

Inputs are n-bit codes; plane b of them, the bits 2**b, is one analogue product, and the planes' currents are added up
with their weights. A column's converter has an offset and a gain, and the lines take part of its current: both are
found by products of known codes, against the sum of the conductances as they are read, cell by cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, MemoryArray, Window
from labctl.learning.placement import Block, Placement

Float32 = NDArray[np.float32]
Codes = NDArray[np.uint8]

_VECTORS = 1 << 16  # in one exchange
_PLANES = 1 << 12  # of a board that has no bit-serial products
_HEADROOM = 1.5  # of the range over the largest current of the samples
_RANGE = 2e-3  # A, to find the range with


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of a block: current = gain * voltage * (codes @ differences of conductance) + offset.

    gain: (outputs,), 1 where a column does as it should. offset: (outputs,) A, of all planes together. full_scale: A,
    of the converter.
    """

    gain: Float32
    offset: Float32
    full_scale: float


@dataclass(slots=True)
class ProductCounts:
    """What products have cost. saturated: conversions at either end of the converter. input_bits: of all inputs, and
    set_bits of them were set and drove their two rows.
    """

    vectors: int = 0
    planes: int = 0
    conversions: int = 0
    saturated: int = 0
    input_bits: int = 0
    set_bits: int = 0


@dataclass(slots=True)
class BoardProducts:
    """Products of the layers placed on `array`, in units of weight: call it with a layer's number and codes.

    scales: S for a weight of 1, of each layer. voltage: V of a driven row. samples: per layer (n, inputs) codes to
    calibrate its columns with. differences: gives the (inputs, outputs) S that a block's pairs differ by, as read.
    show: brings a tile onto the array; True where that changed anything.
    """

    array: MemoryArray
    placement: Placement
    scales: tuple[float, ...]
    bits: int
    voltage: float
    samples: list[Codes]
    differences: Callable[[Block], Float32]
    show: Callable[[int], bool]
    counts: ProductCounts = field(default_factory=ProductCounts)
    calibrations: dict[int, Calibration] = field(default_factory=dict)

    def __call__(self, layer: int, codes: Codes) -> Float32:
        """(m, outputs) codes @ weights, for codes (m, inputs). Raises what the array's calls raise."""
        total = np.zeros((len(codes), self.placement.layers[layer][1]), np.float32)
        for number, block in enumerate(self.placement.blocks):
            if block.layer != layer:
                continue
            self._show(block.tile)
            calibration = self.calibrations.get(number) or self._calibrate(number, block)
            inputs, outputs = block.edges
            factor = 1 / (calibration.gain * np.float32(self.voltage * self.scales[layer]))
            for start in range(0, len(codes), _VECTORS):
                part = slice(start, start + _VECTORS)
                currents = self._currents(codes[part, inputs], block, calibration.full_scale)
                currents -= calibration.offset
                currents *= factor
                total[part, outputs] += currents
        return total

    def forget(self) -> None:
        """Calibrate anew before the next product: the cells have changed."""
        self.calibrations.clear()

    def _show(self, tile: int) -> None:
        if self.show(tile):
            for number, block in enumerate(self.placement.blocks):
                if block.tile == tile:
                    self.calibrations.pop(number, None)

    def _calibrate(self, number: int, block: Block) -> Calibration:
        codes = self.samples[block.layer][:, block.edges[0]]
        full_scale = min(_RANGE, _HEADROOM * self._peak(codes, block))
        currents = self._currents(codes, block, full_scale)
        found = calibrated(currents, np.float32(self.voltage) * (codes.astype(np.float32) @ self.differences(block)))
        self.calibrations[number] = Calibration(*found, full_scale)
        return self.calibrations[number]

    def _peak(self, codes: Codes, block: Block) -> float:
        """A, the largest current of any plane of `codes`, either way."""
        planes = [((codes >> bit) & 1).astype(np.uint8) for bit in range(self.bits)]
        return max(float(np.abs(self._currents(plane, block, _RANGE, bits=1)).max()) for plane in planes)

    def _currents(self, codes: Codes, block: Block, full_scale: float, bits: int | None = None) -> Float32:
        window, bits = Window(block.plus, block.minus, block.cols), bits or self.bits
        currents, saturated = bit_products(self.array, codes, window, bits, self.voltage, full_scale)
        self.counts.vectors += len(codes)
        self.counts.planes += len(codes) * bits
        self.counts.conversions += len(codes) * bits * len(block.cols)
        self.counts.input_bits += codes.size * bits
        self.counts.set_bits += int(np.bitwise_count(codes).sum())
        self.counts.saturated += saturated
        return currents


def bit_products(
    array: MemoryArray, codes: Codes, window: Window, bits: int, voltage: float, full_scale: float
) -> tuple[Float32, int]:
    """(n, outputs) A, the currents of all planes with their weights, and how many conversions were at either end.

    codes: (n, inputs), each below 2**bits. voltage: V of a driven row. full_scale: A of the converter; a board that
    multiplies without bits of its own has another, is given the planes one by one, and does not say what saturated.
    """
    if Capability.MULTIPLY_BITS in array.capabilities:
        found = array.multiply_bits(np.ascontiguousarray(codes), window, bits, voltage, full_scale)
        return found.currents, int(found.saturated.sum())
    currents = np.zeros((len(codes), len(window.cols)), np.float32)
    volts = np.zeros((min(len(codes), _PLANES), array.geometry.rows), np.float32)
    for start in range(0, len(codes), _PLANES):
        part = codes[start : start + _PLANES]
        for bit in range(bits):
            driven = ((part >> bit) & 1).astype(np.float32) * np.float32(voltage)
            volts[: len(part), window.plus], volts[: len(part), window.minus] = driven, -driven
            currents[start : start + len(part)] += (1 << bit) * array.multiply(volts[: len(part)])[:, window.cols]
    return currents, 0


def calibrated(currents: Float32, expected: Float32) -> tuple[Float32, Float32]:
    """Gain and offset (outputs,) of the straight lines through (n, outputs) currents against expected ones.

    Least squares, for each column alone. A column whose expected current never varies keeps a gain of 1.
    """
    centred = expected - expected.mean(axis=0)
    variance = np.square(centred).mean(axis=0)
    covariance = (centred * (currents - currents.mean(axis=0))).mean(axis=0)
    gain = np.divide(covariance, variance, out=np.ones_like(variance), where=variance > 0)
    gain = np.where(gain > 0.1, gain, np.float32(1))  # else it is noise that was fitted
    offset = currents.mean(axis=0) - gain * expected.mean(axis=0)
    return gain.astype(np.float32), offset.astype(np.float32)
