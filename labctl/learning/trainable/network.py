"""What networks whose products are somebody else's have in common.

Such a network holds no weight. It asks for its products, of inputs forward and of deltas backward, and says what the
weights should learn, as factors of the gradients; weights stand on an array, or wherever `Products` has them. There is
no trained digital parameter: a bias is one more row of the matrix, on which an input of 1 stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.networks.network import Layer

Float32 = NDArray[np.float32]


class Products(Protocol):
    """Multiplies by the weights W (inputs, outputs) of a layer, in units of weight."""

    def forward(self, layer: int, inputs: Float32, /) -> Float32:
        """(n, layer.inputs) @ W, (n, layer.outputs)."""
        ...

    def backward(self, layer: int, deltas: Float32, /, inputs: slice | None = None) -> Float32:
        """(n, layer.outputs) @ W.T, (n, layer.inputs); with `inputs` for those inputs of the layer alone."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Factors of a layer's gradient: d loss / d W = inputs.T @ deltas.

    inputs: (m, layer.inputs). deltas: (m, layer.outputs), with the 1 / n of a mean loss in them. m is the batch, times
    the positions of a convolution, or the steps of a sequence.
    """

    inputs: Float32
    deltas: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a batch teaches. loss: mean cross entropy, nats. correct: how many of `judged` decisions were right.

    factors: one per layer. extra: further numbers of this network's kind, by name.
    """

    loss: float
    correct: int
    judged: int
    factors: list[Factors]
    extra: Mapping[str, float] = field(default_factory=dict)


class TrainableNetwork(ABC):
    """Layers of weights that somebody else holds and multiplies by.

    Attributes:
        name: as `make_trainable` takes it.
        layers: in the order of their numbers; the last of a layer's inputs is the bias.
        spreads: per layer, the standard deviation that initial weights are best drawn with. On an array it says what a
            difference of conductance is worth as well: as much as makes devices as prepared such weights.
        rates: per layer, what the learning rate is multiplied by.
    """

    def __init__(
        self, name: str, layers: Sequence[Layer], spreads: Sequence[float], rates: Sequence[float] | None = None
    ) -> None:
        self.name = name
        self.layers = tuple(layers)
        self.spreads = tuple(spreads)
        self.rates = (1.0,) * len(self.layers) if rates is None else tuple(rates)

    @abstractmethod
    def train_batch(
        self, products: Products, inputs: Float32, labels: NDArray[Any], rng: np.random.Generator
    ) -> Lesson:
        """Run a batch forward and backward; no weight is changed. `rng` draws what the network needs drawn.

        Raises UsageError for samples that do not fit the network.
        """

    @abstractmethod
    def predict(self, products: Products, inputs: Float32) -> Float32:
        """Logits (n, classes) of inputs (n, ...); of a GAN, the pictures of latents. Raises as `train_batch`."""

    def batches_per_epoch(self, samples: int, batch: int) -> int:
        """How many batches of `batch` an epoch has; samples that fill no whole one are left out."""
        return samples // batch

    def batches(
        self, inputs: Float32, labels: NDArray[Any], batch: int, rng: np.random.Generator
    ) -> Iterator[tuple[Float32, NDArray[Any]]]:
        """An epoch's batches of inputs and labels, in the order that `rng` draws before the first of them."""
        order = rng.permutation(len(inputs))
        for begin in range(0, self.batches_per_epoch(len(order), batch) * batch, batch):
            chosen = order[begin : begin + batch]
            yield inputs[chosen], labels[chosen]

    def begin_epoch(self) -> None:
        """What is carried from batch to batch ends here. Called before an epoch's first batch, never within one."""
        return

    def state(self) -> dict[str, NDArray[Any]]:
        """What is carried from batch to batch, as arrays under flat names; most networks carry nothing."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave. Raises UsageError for what is not this network's."""
        if state:
            raise UsageError(
                f"the network {self.name} carries nothing from batch to batch, but {', '.join(state)} came"
            )


def with_bias(values: Float32) -> Float32:
    """(n, k + 1): values (n, k), and the 1 that stands on a layer's last input."""
    inputs = np.empty((len(values), values.shape[1] + 1), values.dtype)
    inputs[:, :-1] = values
    inputs[:, -1] = 1
    return inputs
