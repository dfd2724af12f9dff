"""What the networks in torch have in common: passes through their layers, forward and backward.

torch works with as many threads as OMP_NUM_THREADS says, else with one: batches are too small to share, and a bench's
other processes need the cores.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labctl.learning.networks.network import IGNORED, Batch, Float32, Network, Product
from labctl.learning.networks.ranges import CLIPS, clip_of_rectified
from labctl.learning.networks.statistics import Statistics
from labctl.learning.networks.torch_operations import SMALL, Kernel, convolution, dense, quantised, rectified

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a batch through a network.

    weights: per layer (inputs, outputs). learns: normalise by the batch's own moments, and take those and its ranges
    into the statistics.
    """

    weights: list[Tensor]
    product: Product | None
    statistics: Statistics
    bits: int
    full_precision: bool
    learns: bool

    def first(self, inputs: Float32) -> Tensor:
        """The codes of the network's inputs."""
        if self.learns:
            self.statistics.take_inputs(float(inputs.min()), float(inputs.max()))
        values = torch.from_numpy(np.ascontiguousarray(inputs, np.float32)) - float(self.statistics.low[0])
        if self.full_precision:
            return values
        return values.mul_(self._top / self._high(0)).clamp_(0, self._top).round_()

    def codes(self, layer: int, values: Tensor) -> Tensor:
        """The codes of a layer's inputs, which are 0 and more."""
        if self.learns:
            seen = values.detach()
            self.statistics.take_range(layer, clip_of_rectified(self.bits, float((seen * seen).mean())))
        if self.full_precision:
            return values
        return quantised(values, self._top / self._high(layer), self._top)

    def convolve(self, layer: int, codes: Tensor, kernel: Kernel) -> Tensor:
        """(n, outputs, height, width) of pictures of codes (n, channels, height, width)."""
        values = None if self.product is None else torch.from_numpy(self.product(layer, kernel.columns(codes.detach())))
        return convolution(codes, self.weights[layer], kernel, self._step(layer), values)

    def multiply(self, layer: int, codes: Tensor) -> Tensor:
        """(n, outputs) of codes (n, inputs)."""
        values = None
        if self.product is not None:
            values = torch.from_numpy(self.product(layer, codes.detach().to(torch.uint8).numpy()))
        return dense(codes, self.weights[layer], self._step(layer), values)

    def rectify(self, number: int, values: Tensor, layer: int | None = None) -> Tensor:
        """Batch normalisation `number` of (n, channels, ...), and a rectifier: as codes of `layer` if given."""
        rows = values if values.dim() == 2 else values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])
        centred, inverse = self._centred(number, rows.detach())
        if layer is not None:
            self.statistics.high[layer] = CLIPS[self.bits]
        scale, top = 1.0, None
        if layer is not None and not self.full_precision:
            scale, top = self._top / self._high(layer), self._top
        result = rectified(rows, centred, inverse, scale, top)
        if values.dim() == 2:
            return result
        return result.reshape(len(values), *values.shape[2:], -1).permute(0, 3, 1, 2)

    def _centred(self, number: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows less their mean, and 1 over the deviation of each channel."""
        if self.learns:
            mean = rows.mean(dim=0)
            centred = rows - mean
            variance = (centred * centred).mean(dim=0)
            unbiased = variance * (len(rows) / max(1, len(rows) - 1))
            self.statistics.take_moments(number, mean.numpy(), unbiased.numpy())
        else:
            centred = rows - torch.from_numpy(self.statistics.means[number])
            variance = torch.from_numpy(self.statistics.variances[number])
        return centred, (variance + SMALL).rsqrt()

    @property
    def _top(self) -> int:
        return (1 << self.bits) - 1

    def _high(self, layer: int) -> float:
        return float(self.statistics.high[layer]) or 1.0

    def _step(self, layer: int) -> float:
        return 1.0 if self.full_precision else self._high(layer) / self._top


class TorchNetwork(Network):
    """A network whose forward pass is written with the operations of `Pass`; the backward pass follows from it."""

    class_weights: Tensor | None = None

    @abstractmethod
    def _forward(self, run: Pass, inputs: Float32) -> Tensor:
        """Logits (n, classes, ...)."""

    def _logits(
        self, weights: Sequence[Float32], inputs: Float32, product: Product | None, *, learning: bool
    ) -> Float32:
        with torch.no_grad():
            logits: Float32 = self._forward(self._pass(weights, product, learns=learning), inputs).numpy()
        return logits

    def _train(
        self, weights: Sequence[Float32], inputs: Float32, labels: NDArray[np.integer], product: Product | None
    ) -> Batch:
        run = self._pass(weights, product, learns=True)
        for weight in run.weights:
            weight.requires_grad_()
        logits = self._forward(run, inputs)
        wanted = torch.from_numpy(labels.astype(np.int64))
        loss = functional.cross_entropy(logits, wanted, weight=self.class_weights, ignore_index=IGNORED)
        loss.backward()
        correct = int((logits.detach().argmax(dim=1) == wanted).sum())
        judged = int((wanted != IGNORED).sum())
        return Batch(float(loss.detach()), correct, judged, [_numbers(weight.grad) for weight in run.weights])

    def _pass(self, weights: Sequence[Float32], product: Product | None, *, learns: bool) -> Pass:
        tensors = [torch.from_numpy(np.require(weight, np.float32, ["C", "W"])) for weight in weights]
        return Pass(tensors, product, self.statistics, self.bits, self.full_precision, learns)


def _numbers(gradient: Tensor | None) -> Float32:
    assert gradient is not None  # every layer takes part in every pass
    numbers: Float32 = gradient.contiguous().numpy()
    return numbers
