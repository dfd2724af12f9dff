"""The network whose first layer is the default target, and the data set that judges it.

    accuracy_of(conductance read back, *read_mnist(folder, "test"))

says what a programmed array is worth: how many of MNIST's 10,000 test images it still gets right.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.errors import UsageError
from labctl.targets import DEFAULT_MAPPING, WeightMapping

Part = Literal["train", "test"]
Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]

SHIPPED = Path(__file__).with_name("mnist_layer.npz")
SOURCE = "MNIST as four idx .gz files, from yann.lecun.com/exdb/mnist or one of its mirrors"

# Of what is inside the .gz, because copies differ in how they were compressed.
SHA256 = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


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
        """(n, 512), 0 to 1, of `images` (n, 784)."""
        return images[:, self.pixels].astype(np.float32) / np.float32(255)

    def accuracy(self, images: Images, labels: Labels) -> float:
        """The fraction of `images` (n, 784) whose digit is that of `labels` (n,)."""
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

    conductance: (512, 512) S, read back; finite everywhere. images: (n, 784). labels: (n,). mapping: what the
    target was made with. Raises ValueError where a conductance is missing.
    """
    read = np.asarray(conductance, np.float32)
    if not np.isfinite(read).all():
        raise ValueError("a conductance that was not read has no part in a network: fill it first")
    network = shipped_network()
    held = mapping.fitted(network.hidden_weights).weights(read)
    return replace(network, hidden_weights=held).accuracy(images, labels)


def read_mnist(folder: Path, part: Part) -> tuple[Images, Labels]:
    """Images (n, 784) and labels (n,) of MNIST's training or test part.

    folder: where the four idx .gz files are. Raises UsageError unless they hold what was published.
    """
    prefix = "train" if part == "train" else "t10k"
    images = _checked(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = _checked(folder / f"{prefix}-labels-idx1-ubyte.gz")
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784), np.frombuffer(labels, np.uint8, offset=8)


def _checked(file: Path) -> bytes:
    try:
        content = gzip.decompress(file.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{file} is missing: get {SOURCE}") from None
    except (OSError, EOFError) as problem:
        raise UsageError(f"{file} is not a whole .gz file: get {SOURCE}") from problem
    if hashlib.sha256(content).hexdigest() != SHA256[file.name]:
        raise UsageError(f"{file} is not the published file (its sha256 differs): get {SOURCE}")
    return content
