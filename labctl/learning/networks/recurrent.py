"""The recurrent network for spoken digits (arXiv 2311.07164)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from labctl.errors import UsageError
from labctl.learning.networks.network import Float32, Layer
from labctl.learning.networks.torch_network import Pass, TorchNetwork
from labctl.learning.networks.torch_operations import Kernel

_FIRST, _SECOND, _STATE, _DENSE = 64, 32, 128, 256
_STEPS = 4
_LEAST = (7, _STEPS + 2)  # bands and frames, for one band and four frames to be left
_INPUT, _RECURRENT, _FC1, _FC2 = 2, 3, 4, 5  # numbers of layers
_MOMENTS = 2  # batch normalisations of the convolutions; then one for each step, then fc1's


class Recurrent(TorchNetwork):
    """64 and 32 kernels of 3 bands x 2 frames, stride (2, 1) - 4 steps of 128 states - 256 - classes.

    A step's input is of each kernel the greatest of the bands, averaged over a quarter of the frames.

    Step t: state_t = rectified(normalised_t(input_t @ W + state_{t-1} @ R)), with moments of each step's own. 68,480
    weights for 10 classes, whatever the length of a sample.
    """

    def __init__(self, shape: Sequence[int], classes: int, bits: int, *, full_precision: bool = False) -> None:
        """shape: (bands, frames), or (1, bands, frames). Raises UsageError for others, and too small ones."""
        if (
            len(shape) not in (2, 3)
            or (len(shape) == 3 and shape[0] != 1)
            or any(length < least for length, least in zip(shape[-2:], _LEAST, strict=True))
        ):
            raise UsageError(
                f"the network recurrent takes samples of {_LEAST[0]} bands x {_LEAST[1]} frames or more, not of shape "
                f"{tuple(shape)}"
            )
        self._picture = (1, shape[-2], shape[-1])
        self._kernels = Kernel(1, (3, 2), (2, 1)), Kernel(_FIRST, (3, 2), (2, 1))
        first = self._kernels[0].positions(shape[-2], shape[-1])
        second = self._kernels[1].positions(*first)
        layers = [
            Layer("conv1", self._kernels[0].inputs, _FIRST, first[0] * first[1]),
            Layer("conv2", self._kernels[1].inputs, _SECOND, second[0] * second[1]),
            Layer("input", _SECOND, _STATE, _STEPS),
            Layer("recurrent", _STATE, _STATE, _STEPS - 1),
            Layer("fc1", _STATE, _DENSE, 1),
            Layer("fc2", _DENSE, classes, 1),
        ]
        normalised = [_FIRST, _SECOND, *[_STATE] * _STEPS, _DENSE]
        super().__init__("recurrent", bits, layers, classes, normalised, full_precision=full_precision)

    def _forward(self, run: Pass, inputs: Float32) -> Tensor:
        codes = run.first(inputs.reshape(-1, *self._picture))
        codes = run.rectify(0, run.convolve(0, codes, self._kernels[0]), layer=1)
        values = run.rectify(1, run.convolve(1, codes, self._kernels[1]))
        steps = functional.adaptive_avg_pool1d(values.amax(dim=2), _STEPS).permute(2, 0, 1)
        driven = run.multiply(_INPUT, run.codes(_INPUT, steps).reshape(-1, _SECOND)).reshape(_STEPS, -1, _STATE)
        state = run.rectify(_MOMENTS, driven[0], layer=_RECURRENT)
        for step in range(1, _STEPS):
            drive = driven[step] + run.multiply(_RECURRENT, state)
            state = run.rectify(_MOMENTS + step, drive, layer=_RECURRENT if step + 1 < _STEPS else _FC1)
        values = run.multiply(_FC1, state)
        return run.multiply(_FC2, run.rectify(_MOMENTS + _STEPS, values, layer=_FC2))
