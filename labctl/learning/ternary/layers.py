"""A layer of a ternary network: its weights, what it does to their sums, and how it lies on the rows of an array.

A row of the array is one position of one image. Where a layer pools, a row is the patch that all pooled positions see
together, and the matrix has a row of weights for each of them: the maximum is then found on the array.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError

Codes = NDArray[np.uint8]
Kind = Literal["convolution", "linear"]


class LayerArguments(TypedDict):
    """What the compiler's `TernaryLayer` is made of: `TernaryLayer(**arguments)`.

    weights: (outputs * pool, inputs) i8. channel: how many consecutive inputs are one channel; None where all are their
    own.
    """

    name: str
    weights: NDArray[np.int8]
    input_bits: int
    pool: int
    relu: bool
    channel: int | None


@dataclass(frozen=True, slots=True, eq=False)
class FloatLayer:
    """The same layer of the float network: weights of the same shape, f2 or f4; scale, offset: (outputs,) f4."""

    weights: NDArray[Any]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class NetworkLayer:
    """One layer. Raises UsageError where its parts do not fit each other.

    weights: (outputs, channels, kernel, kernel) or (outputs, inputs) i8, each -1, 0 or 1. scale, offset: (outputs,) f8,
    what the sums are turned into codes or logits with. stride, padding (with zeros), pool (positions that a result is
    the maximum of, a square number: 4 is 2 x 2, side by side): of convolutions. relu: rectify the sums themselves.
    floats: None where there is no float network.
    """

    name: str
    weights: NDArray[np.int8]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    stride: int = 1
    padding: int = 0
    pool: int = 1
    relu: bool = False
    floats: FloatLayer | None = None

    def __post_init__(self) -> None:
        check_ternary(self.name, self.weights)
        shape = self.weights.shape
        if self.stride < 1 or self.padding < 0 or self.pool < 1 or math.isqrt(self.pool) ** 2 != self.pool:
            raise UsageError(
                f"layer {self.name}: stride {self.stride}, padding {self.padding} and pool {self.pool} cannot be: "
                "they are at least 1, at least 0, and a square number"
            )
        if self.kind == "linear" and (self.stride, self.padding, self.pool) != (1, 0, 1):
            raise UsageError(f"layer {self.name}: a linear layer has no stride, padding or pool")
        parts: list[tuple[str, NDArray[Any]]] = [("scale", self.scale), ("offset", self.offset)]
        if self.floats is not None:
            parts += [("float scale", self.floats.scale), ("float offset", self.floats.offset)]
            if self.floats.weights.shape != shape or not np.isfinite(self.floats.weights).all():
                raise UsageError(f"layer {self.name}: its float weights are not finite numbers of the shape {shape}")
        for what, values in parts:
            if values.shape != shape[:1] or not np.isfinite(values).all():
                raise UsageError(f"layer {self.name}: its {what} is not {shape[0]} finite numbers")

    @property
    def kind(self) -> Kind:
        return "convolution" if self.weights.ndim == 4 else "linear"

    @property
    def outputs(self) -> int:
        return len(self.weights)

    @property
    def kernel(self) -> int:
        """Of a convolution, along y and x."""
        return self.weights.shape[-1] if self.kind == "convolution" else 1

    @property
    def patch(self) -> int:
        """Side of what a row of the array sees of a channel."""
        return patch_side(self.kernel, self.stride, self.pool)

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(channels, height, width) or (values,) of its results, for inputs of `shape`; raises UsageError."""
        if self.kind == "linear":
            if math.prod(shape) != self.weights.shape[1]:
                raise UsageError(f"layer {self.name}: takes {self.weights.shape[1]} values, not {_times(shape)}")
            return (self.outputs,)
        if len(shape) != 3 or shape[0] != self.weights.shape[1]:
            raise UsageError(f"layer {self.name}: takes {self.weights.shape[1]} channels, not {_times(shape)}")
        high, wide = (self._positions(length) for length in shape[1:])
        if min(high, wide) < 1:
            raise UsageError(f"layer {self.name}: pictures of {_times(shape[1:])} are too small for it")
        return (self.outputs, high, wide)

    def rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """What each row of the array is given: (n * positions, inputs) of values (n, ...), of the same type.

        Image after image, positions from the upper left, row by row. Inputs are channel by channel, y by y, x by x.
        """
        if self.kind == "linear":
            return np.ascontiguousarray(values.reshape(len(values), -1))
        around = (self.padding, self.padding)
        padded = np.pad(values, ((0, 0), (0, 0), around, around))
        step = self.stride * math.isqrt(self.pool)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (self.patch, self.patch), axis=(2, 3))
        windows = windows[:, :, ::step, ::step].transpose(0, 2, 3, 1, 4, 5)
        high, wide = (self._positions(length) for length in values.shape[2:])
        return np.ascontiguousarray(windows[:, :high, :wide]).reshape(len(values) * high * wide, -1)

    def matrix(self, weights: NDArray[Any] | None = None) -> NDArray[Any]:
        """(outputs * pool, inputs) of `rows`: row o * pool + k is output o at position k of those pooled.

        weights: others of the same shape, instead of the ternary ones.
        """
        return patch_matrix(self.weights if weights is None else weights, self.stride, self.pool)

    def arguments(self, input_bits: int) -> LayerArguments:
        """It for the compiler, its inputs codes of `input_bits`."""
        channel = self.patch**2 if self.kind == "convolution" else None
        return LayerArguments(
            name=self.name,
            weights=self.matrix(),
            input_bits=input_bits,
            pool=self.pool,
            relu=self.relu,
            channel=channel,
        )

    def _positions(self, length: int) -> int:
        return (length + 2 * self.padding - self.patch) // (self.stride * math.isqrt(self.pool)) + 1


def patch_side(kernel: int, stride: int, pool: int) -> int:
    """Side of the patch that `pool` neighbouring positions of a kernel see together."""
    return kernel + (math.isqrt(pool) - 1) * stride


def patch_matrix(weights: NDArray[Any], stride: int, pool: int) -> NDArray[Any]:
    """`weights`, (outputs, inputs) or (outputs, channels, kernel, kernel), as the matrix of `NetworkLayer.matrix`."""
    if weights.ndim == 2:
        return np.ascontiguousarray(weights)
    outputs, channels, kernel, _ = weights.shape
    side, along = patch_side(kernel, stride, pool), math.isqrt(pool)
    patches = np.zeros((outputs, pool, channels, side, side), weights.dtype)
    for place in range(pool):
        top, left = (stride * each for each in divmod(place, along))
        patches[:, place, :, top : top + kernel, left : left + kernel] = weights
    return patches.reshape(outputs * pool, -1)


def check_ternary(name: str, weights: NDArray[Any]) -> None:
    """Raise UsageError unless `weights` are those of a layer, i8 of -1, 0 and 1, (out, in) or (out, in, k, k)."""
    square = weights.ndim == 2 or (weights.ndim == 4 and weights.shape[2] == weights.shape[3])
    if weights.dtype != np.int8 or not square or not weights.size:
        raise UsageError(
            f"layer {name}: its weights are {weights.dtype} of {_times(weights.shape)}, not int8 of outputs x inputs, "
            "or of outputs x channels x kernel x kernel"
        )
    if weights.min() < -1 or weights.max() > 1:
        raise UsageError(f"layer {name}: its weights are from {weights.min()} to {weights.max()}, not -1, 0 and 1")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "nothing"
