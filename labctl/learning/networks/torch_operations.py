"""The operations of the networks in torch: products of quantised inputs, normalisation with a rectifier.

They are functions with a backward pass of their own, with few passes over the activations, which is where a batch's
time goes. Pictures (n, channels, height, width) are kept with their channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import Function
from torch.nn import functional

SMALL = 1e-5  # added to a variance

_convolution_backward = torch.ops.aten.convolution_backward
_normalisation_backward = torch.ops.aten.native_batch_norm_backward
_clip_backward = torch.ops.aten.hardtanh_backward


@dataclass(frozen=True, slots=True)
class Kernel:
    """What slides over pictures of `channels`: size and stride are (y, x), padding is of zeros, all around."""

    channels: int
    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: int = 0

    @property
    def inputs(self) -> int:
        """Rows of its matrix of weights: channel by channel, y by y, x by x."""
        return self.channels * self.size[0] * self.size[1]

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """How many there are along y and along x."""
        along = [
            (length + 2 * self.padding - size) // stride + 1
            for length, size, stride in zip((height, width), self.size, self.stride, strict=True)
        ]
        return along[0], along[1]

    def shaped(self, matrix: Tensor) -> Tensor:
        """(outputs, channels, y, x) of a matrix (inputs, outputs)."""
        weight = matrix.t().reshape(matrix.shape[1], self.channels, *self.size)
        return weight.contiguous(memory_format=torch.channels_last)

    def columns(self, codes: Tensor) -> NDArray[np.uint8]:
        """(n * positions, inputs): what each position of pictures of codes multiplies."""
        pictures = codes.to(torch.uint8).numpy()
        if self.padding:
            around = (self.padding, self.padding)
            pictures = np.pad(pictures, ((0, 0), (0, 0), around, around))
        windows = np.lib.stride_tricks.sliding_window_view(pictures, self.size, axis=(2, 3))
        windows = windows[:, :, :: self.stride[0], :: self.stride[1]]
        return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(-1, self.inputs)


class _Convolution(Function):
    """step * codes convolved with a matrix of weights; of `values`, (n * positions, outputs), where they are given."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, matrix: Tensor, kernel: Kernel, step: float, values: Tensor | None) -> Tensor:
        weight = kernel.shaped(matrix)
        ctx.save_for_backward(codes, weight)
        ctx.kernel, ctx.step = kernel, step
        if values is None:
            return functional.conv2d(codes, weight, stride=kernel.stride, padding=kernel.padding).mul_(step)
        height, width = kernel.positions(*codes.shape[2:])
        return (values * step).reshape(len(codes), height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        codes, weight = ctx.saved_tensors
        kernel: Kernel = ctx.kernel
        gradient = (gradient * ctx.step).contiguous(memory_format=torch.channels_last)
        around = (kernel.padding, kernel.padding)
        to_codes, to_weight, _ = _convolution_backward(
            gradient, codes, weight, None, kernel.stride, around, (1, 1), False, (0, 0), 1,
            (ctx.needs_input_grad[0] and not _is_flippable(kernel), True, False),
        )  # fmt: skip
        if ctx.needs_input_grad[0] and to_codes is None:
            to_codes = _flipped(gradient, weight, kernel)
        return to_codes, to_weight.reshape(len(weight), -1).t(), None, None, None


def _is_flippable(kernel: Kernel) -> bool:
    return kernel.stride == (1, 1) and kernel.size[0] == kernel.size[1]


def _flipped(gradient: Tensor, weight: Tensor, kernel: Kernel) -> Tensor:
    """The gradient of a convolution's pictures as a convolution with the flipped kernel, a third faster here."""
    turned = weight.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)
    return functional.conv2d(gradient, turned, padding=kernel.size[0] - 1 - kernel.padding)


class _Dense(Function):
    """step * codes (n, inputs) @ matrix (inputs, outputs); of `values` (n, outputs) where they are given."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, matrix: Tensor, step: float, values: Tensor | None) -> Tensor:
        ctx.save_for_backward(codes, matrix)
        ctx.step = step
        return (codes @ matrix if values is None else values) * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        codes, matrix = ctx.saved_tensors
        gradient = gradients[0] * ctx.step
        return (gradient @ matrix.t() if ctx.needs_input_grad[0] else None), codes.t() @ gradient, None, None


class _Rectified(Function):
    """A rectifier after the normalisation of rows (n, channels), in codes where `top` is given, `scale` of them for 1.

    centred, inverse: the rows less their mean, and 1 / deviation of each channel. The backward pass is that of a batch
    normalisation (Ioffe and Szegedy, arXiv 1502.03167).
    """

    @staticmethod
    def forward(ctx: Any, _rows: Tensor, centred: Tensor, inverse: Tensor, scale: float, top: int | None) -> Tensor:
        scaled = centred * (inverse * scale)
        ctx.save_for_backward(scaled, inverse)
        ctx.scale, ctx.top = scale, top
        return scaled.clamp(min=0) if top is None else scaled.clamp(0, top).round_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scaled, inverse = ctx.saved_tensors
        passed = _clip_backward(gradients[0], scaled, 0, float("inf") if ctx.top is None else ctx.top)
        factor = inverse * ctx.scale
        along = (passed * scaled).mean(dim=0) * (factor / -(ctx.scale * ctx.scale))
        result = torch.addcmul(passed.mean(dim=0) * -factor, scaled, along)
        return result.addcmul_(passed, factor), None, None, None, None


class _Quantised(Function):
    """Codes of values of 0 and more, `scale` of them for 1, up to `top`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float, top: int) -> Tensor:
        scaled = values * scale
        ctx.save_for_backward(scaled)
        ctx.scale, ctx.top = scale, top
        return scaled.clamp(0, top).round_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (scaled,) = ctx.saved_tensors
        return _clip_backward(gradients[0] * ctx.scale, scaled, -1, ctx.top), None, None


# Typed as what they are called with: torch leaves that open.
convolution: Callable[[Tensor, Tensor, Kernel, float, Tensor | None], Tensor] = _Convolution.apply
dense: Callable[[Tensor, Tensor, float, Tensor | None], Tensor] = _Dense.apply
rectified: Callable[[Tensor, Tensor, Tensor, float, int | None], Tensor] = _Rectified.apply
quantised: Callable[[Tensor, float, int], Tensor] = _Quantised.apply
