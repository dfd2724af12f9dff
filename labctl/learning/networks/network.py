"""What every network has in common: layers whose weights are given, digital statistics of its own, the calls on both.

A network holds no weight: they are given with every call, as matrices (inputs, outputs). Of its own it has what digital
logic beside an array would hold: the moments of its batch normalisations (without scale and shift) and the range of
each layer's input. Each layer's input x is quantised to n bits, code = rint(x / high (2^n - 1)), clipped, and
multiplied as

    x @ W = high / (2^n - 1) * (code @ W)

where `code @ W` is what an array gives, or digital logic. Inputs of all layers but the first follow a rectifier and
begin at 0. The first one's are taken from the lowest that was seen: what that leaves out, lowest * sum(W), is a
constant of each output, and the batch normalisation that follows takes a constant away. The backward pass is digital,
straight through the rounding inside the range (Bengio et al., arXiv 1308.3432).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.networks.statistics import Statistics

Float32 = NDArray[np.float32]
Codes = NDArray[np.uint8]
Product = Callable[[int, Codes], Float32]
"""(layer number, codes (m, inputs)) -> codes @ W (m, outputs), in units of weight."""

IGNORED = 255
"""A label that counts nowhere: pixels outside the field of view."""

_VALUES = 500 * 28 * 28  # of inputs worked on at once where nobody asks for one product of them all
_MOST_BITS = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of weights, a matrix (inputs, outputs). products: vectors it multiplies per sample."""

    name: str
    inputs: int
    outputs: int
    products: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.inputs, self.outputs


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch taught. loss: mean cross entropy. correct: of `judged` samples, or pixels, how many are right.

    gradients: per layer (inputs, outputs), d loss / d weight.
    """

    loss: float
    correct: int
    judged: int
    gradients: list[Float32]


class Network(ABC):
    """Layers with weights that are given.

    Attributes:
        name: as `make_network` takes it.
        bits: of every layer's input.
        layers: in the order of the weights; a number of a layer is its place here.
        classes: how many there are to tell apart.
        full_precision: inputs of layers are not quantised; there is no product for such a network.
        statistics: its only state.
    """

    def __init__(
        self,
        name: str,
        bits: int,
        layers: Sequence[Layer],
        classes: int,
        normalised: Sequence[int],
        *,
        full_precision: bool = False,
    ) -> None:
        """normalised: the width of each batch normalisation. Raises UsageError for bits that no code has."""
        if not 1 <= bits <= _MOST_BITS:
            raise UsageError(f"inputs of {bits} bits: a network takes 1 to {_MOST_BITS}")
        self.name = name
        self.bits = bits
        self.layers = tuple(layers)
        self.classes = classes
        self.full_precision = full_precision
        self.statistics = Statistics(len(self.layers), normalised)

    @property
    def top(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def fresh(self, *, full_precision: bool | None = None) -> Self:
        """The same network without statistics; `full_precision` None leaves that as it is."""
        other = copy.copy(self)
        other.statistics = self.statistics.fresh()
        other.full_precision = self.full_precision if full_precision is None else full_precision
        return other

    def train_batch(
        self, weights: Sequence[Float32], inputs: Float32, labels: NDArray[np.integer], product: Product | None = None
    ) -> Batch:
        """Run a batch forward and backward and take it into the statistics.

        With `product` the values forward are what it gives; the gradients are always digital, by `weights`. Raises
        UsageError for weights that do not fit the layers.
        """
        self._check(weights, inputs, product)
        self.statistics.begin()
        return self._train(weights, inputs, labels, product)

    def predict(self, weights: Sequence[Float32], inputs: Float32, product: Product | None = None) -> Float32:
        """Logits (n, classes) of inputs (n, ...), for segmentation (n, classes, height, width).

        `product` is called once per layer with the codes of all `inputs` (a recurrent layer: once per step). Raises
        UsageError for weights that do not fit, and for a network without statistics: train or calibrate it.
        """
        self._check(weights, inputs, product)
        if not self.statistics.batches:
            raise UsageError(f"the network {self.name} has no statistics yet: train it, or calibrate it on samples")
        if product is not None:
            return self._logits(weights, inputs, product, learning=False)
        return np.concatenate([self._logits(weights, part, None, learning=False) for part in _parts(inputs)])

    def calibrate(
        self, weights: Sequence[Float32], inputs: Float32, product: Product | None = None, *, batch: int | None = None
    ) -> None:
        """Measure the statistics anew: for these weights (and this product), the mean over batches of `inputs`.

        batch: samples; None for as many as can well be worked on at once. `product` is called once per layer and
        batch (a recurrent layer: once per step).
        """
        self._check(weights, inputs, product)
        self.statistics.clear()
        for part in _parts(inputs, batch):
            self.statistics.begin(mean=True)
            self._logits(weights, part, product, learning=True)

    def state(self) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """All that distinguishes it from a fresh one, as arrays under flat names."""
        return self.statistics.state()

    def restore(self, state: dict[str, NDArray[np.float32] | NDArray[np.int64]]) -> None:
        """Go on from what `state` gave; names that are not its own are passed over.

        Raises UsageError where an array is missing or has another shape.
        """
        self.statistics.restore(state)

    @abstractmethod
    def _train(
        self, weights: Sequence[Float32], inputs: Float32, labels: NDArray[np.integer], product: Product | None
    ) -> Batch: ...

    @abstractmethod
    def _logits(
        self, weights: Sequence[Float32], inputs: Float32, product: Product | None, *, learning: bool
    ) -> Float32:
        """`learning`: normalise by the batch's own moments, and take it into the statistics."""

    def _check(self, weights: Sequence[Float32], inputs: Float32, product: Product | None) -> None:
        shapes = [weight.shape for weight in weights]
        if shapes != [layer.shape for layer in self.layers]:
            wanted = ", ".join(f"{layer.name} {layer.inputs} x {layer.outputs}" for layer in self.layers)
            raise UsageError(f"weights of shapes {shapes} for the network {self.name}: its layers are {wanted}")
        if product is not None and self.full_precision:
            raise UsageError(f"the network {self.name} is in full precision: its inputs have no codes to multiply")
        if not len(inputs):
            raise UsageError(f"no sample was given to the network {self.name}")


def _parts(inputs: Float32, samples: int | None = None) -> Iterator[Float32]:
    size = samples or max(1, _VALUES // inputs[0].size)
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size]
