"""The network that labels every pixel, a U-Net (Ronneberger et al., arXiv 1505.04597)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from labctl.errors import UsageError
from labctl.learning.networks.network import Float32, Layer
from labctl.learning.networks.torch_network import Pass, TorchNetwork
from labctl.learning.networks.torch_operations import Kernel

_HALVINGS = 4
_MULTIPLE = 1 << _HALVINGS
_OF_VESSELS = 3.0  # weight of a pixel of class 1: about the root of how much rarer vessels are, 1 pixel in 9


class UNet(TorchNetwork):
    """Pairs of padded 3 x 3 convolutions, halved four times by their maxima and doubled four times bilinearly.

    Base width 32, one channel and two classes make 4,313,440 weights. Pictures of any size are continued at
    the bottom and the right to a multiple of 16, and the logits cut to their size. Of two classes the second is taken
    for the rare one, and its pixels count three times in the loss.
    """

    def __init__(
        self, shape: Sequence[int], classes: int, bits: int, *, base: int = 32, full_precision: bool = False
    ) -> None:
        """shape: (height, width) or (channels, height, width) of a sample, for `Layer.products`.

        Raises UsageError for other shapes and an odd base width.
        """
        if len(shape) not in (2, 3):
            raise UsageError(f"the network unet takes (height, width) or (channels, height, width), not {tuple(shape)}")
        if base < 2 or base % 2:
            raise UsageError(f"the base width of the network unet is an even number of channels, not {base}")
        self._channels = shape[0] if len(shape) == 3 else 1
        height, width = (_padded(length) for length in shape[-2:])
        layers: list[Layer] = []
        for name, halvings, (before, between, after) in _pairs(self._channels, base):
            positions = (height >> halvings) * (width >> halvings)
            layers.append(Layer(f"{name}_conv1", 9 * before, between, positions))
            layers.append(Layer(f"{name}_conv2", 9 * between, after, positions))
        layers.append(Layer("out", base, classes, height * width))
        self._kernels = [Kernel(layer.inputs // 9, (3, 3), padding=1) for layer in layers[:-1]] + [Kernel(base, (1, 1))]
        name = "unet" if base == 32 else f"unet-{base}"
        normalised = [layer.outputs for layer in layers[:-1]]
        super().__init__(name, bits, layers, classes, normalised, full_precision=full_precision)
        if classes == 2:
            self.class_weights = torch.tensor([1.0, _OF_VESSELS])

    def _forward(self, run: Pass, inputs: Float32) -> Tensor:
        pictures = inputs.reshape(len(inputs), self._channels, *inputs.shape[-2:])
        height, width = pictures.shape[-2:]
        around = [(0, 0), (0, 0), (0, _padded(height) - height), (0, _padded(width) - width)]
        codes = run.first(np.pad(pictures, around, mode="edge") if any(map(any, around)) else pictures)
        values = self._pair(run, 0, codes.contiguous(memory_format=torch.channels_last))
        joined = [values]
        for number in range(1, _HALVINGS + 1):
            values = self._pair(run, 2 * number, run.codes(2 * number, functional.max_pool2d(values, 2)))
            joined.append(values)
        joined.pop()
        for number in range(_HALVINGS + 1, 2 * _HALVINGS + 1):
            values = functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
            values = torch.cat([joined.pop(), values], dim=1)
            values = self._pair(run, 2 * number, run.codes(2 * number, values))
        last = len(self.layers) - 1
        logits = run.convolve(last, run.codes(last, values), self._kernels[last])
        return logits[:, :, :height, :width]

    def _pair(self, run: Pass, layer: int, codes: Tensor) -> Tensor:
        """The layers `layer` and the one after it."""
        codes = run.rectify(layer, run.convolve(layer, codes, self._kernels[layer]), layer=layer + 1)
        return run.rectify(layer + 1, run.convolve(layer + 1, codes, self._kernels[layer + 1]))


def _pairs(channels: int, base: int) -> Iterator[tuple[str, int, tuple[int, int, int]]]:
    """Of each pair of convolutions its name, how often pictures are halved before it, and channels along it."""
    widths = [base, 2 * base, 4 * base, 8 * base, 8 * base]
    yield "first", 0, (channels, base, base)
    for number, (before, after) in enumerate(pairwise(widths), start=1):
        yield f"down{number}", number, (before, after, after)
    for number in range(1, _HALVINGS + 1):
        skip = widths[_HALVINGS - number]
        yield f"up{number}", _HALVINGS - number, (2 * skip, skip, skip // 2 if number < _HALVINGS else skip)


def _padded(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE
