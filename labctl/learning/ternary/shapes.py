"""Shapes of networks that are known by name, for compiling them and for what they cost; and ternary weights of a shape.

resnet18: K. He et al., "Deep residual learning for image recognition", CVPR 2016, table 1, for ImageNet, with 1 x 1
convolutions where a shortcut changes width. vgg11, vgg16: configurations A and D of K. Simonyan and A. Zisserman,
"Very deep convolutional networks", ICLR 2015, for ImageNet. vgg9-cifar: six convolutions and three linear layers for
CIFAR-10's 32 x 32; papers mean different widths by VGG-9, and these are ours. The weights that stand in for trained
ones are random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.ternary.layers import LayerArguments, check_ternary, patch_matrix, patch_side
from labctl.learning.ternary.ternarising import ternarised


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer without its weights.

    channels: of its inputs (values, of a linear layer). kernel: along y and x. padding: of zeros, all around.
    positions: where it is computed in an image, before any pooling. pool: positions that are pooled after it, side by
    side (4: 2 x 2); pooling of windows that overlap is not told here.
    """

    name: str
    channels: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    positions: int = 1
    pool: int = 1
    linear: bool = False

    @property
    def inputs(self) -> int:
        """That one position sees."""
        return self.channels * self.kernel**2

    @property
    def weights_shape(self) -> tuple[int, ...]:
        return (self.outputs, self.channels) if self.linear else (self.outputs, self.channels, *[self.kernel] * 2)

    def arguments(
        self, weights: NDArray[np.int8], input_bits: int = 4, *, pool_on_array: bool = False
    ) -> LayerArguments:
        """The layer with `weights`, of `weights_shape`, for the compiler: a row of the array is a position.

        pool_on_array: a row is the positions that are pooled instead, and the array finds their maximum; it does not
        cost less there, as each of them is computed with instructions of its own. Raises UsageError.
        """
        if weights.shape != self.weights_shape:
            raise UsageError(f"layer {self.name}: weights of the shape {weights.shape} are not {self.weights_shape}")
        check_ternary(self.name, weights)
        pool = self.pool if pool_on_array else 1
        return LayerArguments(
            name=self.name,
            weights=patch_matrix(weights, self.stride, pool),
            input_bits=input_bits,
            pool=pool,
            relu=False,
            channel=None if self.linear else patch_side(self.kernel, self.stride, pool) ** 2,
        )


class ShapedLayer(NamedTuple):
    """weights: i8, of the shape's `weights_shape`."""

    shape: LayerShape
    weights: NDArray[np.int8]


def ternary_weights(shape: LayerShape, sparsity: float | None = None, seed: int = 0) -> NDArray[np.int8]:
    """Random weights of -1, 0 and 1 for `shape`, another draw for each name: normal ones, made ternary.

    sparsity: the share of zeros, the smallest weights of each output; None: as many as ternarising normal weights
    leaves (`NORMAL_SPARSITY`, 0.42). Raises UsageError unless it is from 0 to 1, and for a negative seed.
    """
    if seed < 0:
        raise UsageError(f"seed: must be a whole number from 0 on, not {seed}")
    if sparsity is not None and not 0 <= sparsity <= 1:
        raise UsageError(f"a sparsity of {sparsity:g}: it is the share of weights that are 0, from 0 to 1")
    rng = np.random.default_rng([seed, crc32(shape.name.encode())])
    drawn = rng.standard_normal(shape.weights_shape, np.float32)
    if sparsity is None:
        return ternarised(drawn)[0]
    rows = drawn.reshape(shape.outputs, -1)
    zeros = round(sparsity * rows.shape[1])
    ternary = np.sign(rows).astype(np.int8)
    np.put_along_axis(ternary, np.argsort(np.abs(rows), axis=1)[:, :zeros], 0, axis=1)
    return ternary.reshape(shape.weights_shape)


def _resnet18() -> Iterator[LayerShape]:
    yield LayerShape("conv1", 3, 64, 7, 2, 3, 112**2)
    before, side = 64, 56
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        stride = 1 if stage == 1 else 2
        side //= stride
        for block in range(2):
            name = f"layer{stage}.{block}"
            given, step = (before, stride) if block == 0 else (width, 1)
            yield LayerShape(f"{name}.conv1", given, width, 3, step, 1, side**2)
            yield LayerShape(f"{name}.conv2", width, width, 3, 1, 1, side**2)
            if given != width:
                yield LayerShape(f"{name}.shortcut", given, width, 1, step, 0, side**2)
        before = width
    yield LayerShape("fc", 512, 1000, linear=True)


def _vgg(stages: Sequence[Sequence[int]], side: int, linear: Sequence[int]) -> Iterator[LayerShape]:
    """Convolutions of 3 x 3 in stages, each of which ends in 2 x 2 pooling; then linear layers."""
    channels, number = 3, 0
    for widths in stages:
        for place, width in enumerate(widths, start=1):
            number += 1
            pool = 4 if place == len(widths) else 1
            yield LayerShape(f"conv{number}", channels, width, 3, 1, 1, side**2, pool)
            channels = width
        side //= 2
    values = channels * side**2
    for number, width in enumerate(linear, start=1):
        yield LayerShape(f"fc{number}", values, width, linear=True)
        values = width


NETWORKS = {
    "resnet18": tuple(_resnet18()),
    "vgg11": tuple(_vgg([(64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2], 224, (4096, 4096, 1000))),
    "vgg16": tuple(_vgg([(64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3], 224, (4096, 4096, 1000))),
    "vgg9-cifar": tuple(_vgg([(64,) * 2, (128,) * 2, (256,) * 2], 32, (1024, 1024, 10))),
}
"""Layers by the network's name, in the order in which they are computed."""
