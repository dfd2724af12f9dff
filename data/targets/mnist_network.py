"""The network whose first layer is the default target, and what MNIST says of it.

    test = read_part(MNIST, "test", folder)
    accuracy_of(conductance read back, test.images, test.labels)

says what a programmed array is worth: how many of MNIST's 10,000 test images it still gets right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.targets import DEFAULT_MAPPING, WeightMapping

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]

SHIPPED = Path(__file__).with_name("mnist_layer.npz")


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """512 of an image's pixels -> 256 hidden units (ReLU) -> 10 digits.

    pixels: (512,) indices into the 784. hidden_weights: (512, 256). hidden_bias: (256,).
    output_weights: (256, 10). output_bias: (10,). A pixel goes in as 0 to 1.
    """

    pixels: NDArray[np.uint16]
    hidden_weights: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output_weights: NDArray[np.float32]
    output_bias: NDArray[np.float32]

    def inputs(self, images: Images) -> NDArray[np.float32]:
        """(n, 512), 0 to 1, of `images` (n, 28, 28)."""
        return images.reshape(len(images), -1)[:, self.pixels].astype(np.float32) / np.float32(255)

    def accuracy(self, images: Images, labels: Labels) -> float:
        """The fraction of `images` (n, 28, 28) whose digit is that of `labels` (n,)."""
        hidden = np.maximum(self.inputs(images) @ self.hidden_weights + self.hidden_bias, 0)
        digits = (hidden @ self.output_weights + self.output_bias).argmax(axis=1)
        return float(np.mean(digits == labels))


def shipped_network() -> Network:
    """The network that `train_mnist_layer.py` made, its first layer as quantised to int8."""
    with np.load(SHIPPED) as stored:
        return Network(
            pixels=stored["pixels"],
            hidden_weights=stored["weights"] * stored["weight_scale"],
            hidden_bias=stored["hidden_bias"],
            output_weights=stored["output_weights"],
            output_bias=stored["output_bias"],
        )


def accuracy_of(
    conductance: ArrayLike, images: Images, labels: Labels, mapping: WeightMapping = DEFAULT_MAPPING
) -> float:
    """The shipped network's accuracy, 0 to 1, with its first layer as an array holds it.

    conductance: (512, 512) S, read back; finite everywhere. images: (n, 28, 28). labels: (n,). mapping: what the
    target was made with. Raises ValueError where a conductance is missing.
    """
    read = np.asarray(conductance, np.float32)
    if not np.isfinite(read).all():
        raise ValueError("a conductance that was not read has no part in a network: fill it first")
    network = shipped_network()
    held = mapping.fitted(network.hidden_weights).weights(read)
    return replace(network, hidden_weights=held).accuracy(images, labels)
