"""A ternary network: whole numbers all the way, so that whoever multiplies, the logits are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.ternary.layers import Codes, LayerArguments, NetworkLayer

Sums = NDArray[np.int64]
Products = Callable[[int, Codes], Sums]
"""(number of the layer, its rows (n, inputs) u8) -> what the array computes of them, (n, outputs)."""

BATCH = 500
"""Images that are multiplied at once, so that their rows stay within some tens of MB."""
_EXACT_IN_FLOAT32 = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class TernaryNetwork:
    """Layers one after the other. Raises UsageError where they do not follow each other.

    name: for people. shape: (channels, height, width) of an image. input_bits: of every layer's inputs, unsigned codes
    from 0 to `top`; 1 to 8. description: where it comes from, for the record.
    """

    name: str
    shape: tuple[int, int, int]
    layers: tuple[NetworkLayer, ...]
    input_bits: int = 4
    description: str = ""

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError(f"the network {self.name} has no layers")
        if not 1 <= self.input_bits <= 8:
            raise UsageError(f"the network {self.name} has {self.input_bits} bits an input: 1 to 8 are possible")
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise UsageError(f"the network {self.name} has two layers of one name: {', '.join(names)}")
        for before, after in pairwise(self.layers):
            if before.kind == "linear" and after.kind == "convolution":
                raise UsageError(f"layer {after.name}: a convolution cannot follow a linear layer")
        if self.layers[-1].kind != "linear":
            raise UsageError(f"layer {self.layers[-1].name}: the last layer is linear, as its results are the logits")
        _ = self.shapes

    @property
    def top(self) -> int:
        """The highest code."""
        return (1 << self.input_bits) - 1

    @property
    def classes(self) -> int:
        return self.layers[-1].outputs

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of an image, and after each layer."""
        found: list[tuple[int, ...]] = [self.shape]
        for layer in self.layers:
            found.append(layer.shape_after(found[-1]))
        return tuple(found)

    @property
    def holds_floats(self) -> bool:
        return all(layer.floats is not None for layer in self.layers)

    def positions(self, index: int) -> int:
        """Rows of the array that layer `index` takes for an image."""
        after = self.shapes[index + 1]
        return after[1] * after[2] if len(after) == 3 else 1

    def matrix(self, index: int) -> NDArray[np.int8]:
        """The weights of layer `index` as the array has them, (outputs * pool, inputs)."""
        return self.layers[index].matrix()

    def layer(self, index: int) -> LayerArguments:
        """Layer `index` for the compiler."""
        return self.layers[index].arguments(self.input_bits)

    def codes(self, images: NDArray[Any]) -> Codes:
        """The codes, (n, channels, height, width), of images: bytes, or numbers from 0 to 1; (n, height, width) too.

        rint(top * value), value being a byte / 255.
        """
        given = np.asarray(images)
        if given.ndim == 3:
            given = given[:, np.newaxis]
        if given.ndim != 4 or given.shape[1:] != self.shape or given.dtype.kind not in "uf":
            wanted = " x ".join(map(str, self.shape))
            raise UsageError(
                f"the network {self.name} takes images of {wanted} as bytes or as numbers from 0 to 1, not "
                f"{given.dtype} of {' x '.join(map(str, given.shape))}"
            )
        if given.dtype.kind == "f":
            given = np.rint(np.clip(given, 0, 1) * 255)
        codes: Codes = ((given.astype(np.uint16) * self.top + 127) // 255).astype(np.uint8)
        return codes

    def rows(self, index: int, codes: Codes) -> Codes:
        """What the rows of the array are given for layer `index`, (n * positions, inputs), of its inputs' codes."""
        return self.layers[index].rows(codes)

    def finish(self, index: int, sums: NDArray[Any], images: int) -> NDArray[Any]:
        """What follows the array: sums, (images * positions, outputs), as the next layer's codes, or as logits.

        Codes: clip(floor(sum * scale + offset + 0.5), 0, top). Logits: sum * scale + offset, (n, classes) f8.
        """
        layer = self.layers[index]
        values = sums * layer.scale + layer.offset
        if index == len(self.layers) - 1:
            return values
        codes = np.clip(np.floor(values + 0.5), 0, self.top).astype(np.uint8)
        return _as_pictures(codes, images, self.shapes[index + 1])

    def infer(self, images: NDArray[Any], products: Products | None = None, batch: int = BATCH) -> NDArray[np.float64]:
        """Logits, (n, classes), of images as in `codes`.

        products: who multiplies, `batch` images at a time; numpy where it is None.
        """
        multiply = products or exact_products(self)

        def logits(part: NDArray[Any]) -> NDArray[np.float64]:
            values: NDArray[Any] = self.codes(part)
            for index in range(len(self.layers)):
                values = self.finish(index, multiply(index, self.rows(index, values)), len(part))
            return values

        return _stacked((logits(part) for part in _parts(images, batch)), self.classes)

    def float_logits(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Logits, (n, classes), of the float network: the same layers, real weights, rectified real activations.

        Raises UsageError where there is none.
        """
        if not self.holds_floats:
            raise UsageError(f"the network {self.name} holds no float network beside the ternary one")
        return _stacked((self._float_logits(part) for part in _parts(images, BATCH)), self.classes)

    def _float_logits(self, images: NDArray[Any]) -> NDArray[np.float64]:
        values: NDArray[Any] = images.reshape(len(images), *self.shape).astype(np.float32)
        if images.dtype.kind == "u":
            values /= np.float32(255)
        for layer, shape in zip(self.layers, self.shapes[1:], strict=True):
            assert layer.floats is not None  # `holds_floats`
            matrix = layer.matrix(layer.floats.weights.astype(np.float32))
            sums = (layer.rows(values) @ matrix.T).reshape(-1, layer.outputs, layer.pool).max(axis=2)
            values = sums * layer.floats.scale + layer.floats.offset
            if layer is not self.layers[-1]:
                values = _as_pictures(np.maximum(values, 0), len(images), shape)
        return values.astype(np.float64)


def exact_products(network: TernaryNetwork) -> Products:
    """The sums as whole numbers have them, by numpy.

    In floating point, as only there numpy multiplies matrices fast, and exactly: every partial sum, in whatever order,
    is a whole number of at most top * inputs, and float32 holds all of those up to 2^24, float64 up to 2^53.
    """
    matrices = []
    for index, layer in enumerate(network.layers):
        ternary = network.matrix(index)
        exact = network.top * ternary.shape[1] < _EXACT_IN_FLOAT32
        matrices.append((layer, np.ascontiguousarray(ternary.T, np.float32 if exact else np.float64)))

    def multiply(index: int, rows: Codes) -> Sums:
        layer, matrix = matrices[index]
        sums: NDArray[Any] = rows.astype(matrix.dtype) @ matrix
        if layer.pool > 1:
            sums = sums.reshape(-1, layer.outputs, layer.pool).max(axis=2)
        rectified = np.maximum(sums, 0) if layer.relu else sums
        return rectified.astype(np.int64)

    return multiply


def _as_pictures(results: NDArray[Any], images: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """(images * positions, outputs) as (images, *shape)."""
    if len(shape) == 1:
        return results
    return np.ascontiguousarray(results.reshape(images, *shape[1:], shape[0]).transpose(0, 3, 1, 2))


def _parts(images: NDArray[Any], batch: int) -> Iterator[NDArray[Any]]:
    return (images[start : start + batch] for start in range(0, len(images), batch))


def _stacked(logits: Iterator[NDArray[np.float64]], classes: int) -> NDArray[np.float64]:
    return np.concatenate([np.zeros((0, classes)), *logits])
