"""The convolutional network for pictures of clothes and digits (arXiv 2311.07164)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from labctl.errors import UsageError
from labctl.learning.networks.network import Float32, Layer
from labctl.learning.networks.torch_network import Pass, TorchNetwork
from labctl.learning.networks.torch_operations import Kernel

_FIRST, _SECOND, _DENSE = 64, 16, 128
_LEAST = 14  # pixels a side, for a pixel to be left after two convolutions and two halvings


class Convolutional(TorchNetwork):
    """Halving - 64 kernels of 3 x 3 - 16 kernels of 3 x 3 - halving - 128 - classes; 62,272 weights for 28 x 28, 10."""

    def __init__(self, shape: Sequence[int], classes: int, bits: int, *, full_precision: bool = False) -> None:
        """shape: (height, width) of a sample, or (1, height, width). Raises UsageError for another, or a small one."""
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1) or min(shape[-2:]) < _LEAST:
            raise UsageError(
                f"the network convolutional takes pictures of one channel and {_LEAST} x {_LEAST} pixels or more, "
                f"not samples of shape {tuple(shape)}"
            )
        self._picture = (1, shape[-2], shape[-1])
        self._kernels = Kernel(1, (3, 3)), Kernel(_FIRST, (3, 3))
        first = self._kernels[0].positions(shape[-2] // 2, shape[-1] // 2)
        second = self._kernels[1].positions(*first)
        left = _SECOND * (second[0] // 2) * (second[1] // 2)
        layers = [
            Layer("conv1", self._kernels[0].inputs, _FIRST, first[0] * first[1]),
            Layer("conv2", self._kernels[1].inputs, _SECOND, second[0] * second[1]),
            Layer("fc1", left, _DENSE, 1),
            Layer("fc2", _DENSE, classes, 1),
        ]
        super().__init__(
            "convolutional", bits, layers, classes, (_FIRST, _SECOND, _DENSE), full_precision=full_precision
        )

    def _forward(self, run: Pass, inputs: Float32) -> Tensor:
        codes = functional.max_pool2d(run.first(inputs.reshape(-1, *self._picture)), 2)
        codes = run.rectify(0, run.convolve(0, codes, self._kernels[0]), layer=1)
        values = functional.max_pool2d(run.convolve(1, codes, self._kernels[1]), 2)
        codes = run.rectify(1, values, layer=2).flatten(1)
        codes = run.rectify(2, run.multiply(2, codes), layer=3)
        return run.multiply(3, codes)
