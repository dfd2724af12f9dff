"""A small ternary network with weights drawn at random, and pictures for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_digits import CLASSES, SIDE, write_small_digits

from labctl.learning.ternary import FloatLayer, NetworkLayer, TernaryNetwork, save_network


def write_pictures(folder: Path, test: int = 60) -> Path:
    """A data set of one's own in the format of Fashion-MNIST; gives its folder."""
    return write_small_digits(folder, train=40, test=test) / "mnist"


def small_network(floats: bool = False) -> TernaryNetwork:
    """Two layers of random ternary weights for `write_pictures`: a convolution that pools, and a linear one.

    floats: with other random weights as those of a float network beside it.
    """
    convolution = _layer("conv", (4, 1, 3, 3), 0.2, floats, padding=1, pool=4)
    linear = _layer("linear", (CLASSES, 4 * (SIDE // 2) ** 2), 0.5, floats)
    return TernaryNetwork("small", (1, SIDE, SIDE), (convolution, linear))


def write_network(folder: Path, network: TernaryNetwork | None = None) -> Path:
    path = folder / "small.npz"
    save_network(network or small_network(), path)
    return path


def _layer(name: str, shape: tuple[int, ...], scale: float, floats: bool, **options: int) -> NetworkLayer:
    rng, outputs = np.random.default_rng(len(name)), shape[0]
    weights = rng.choice(np.array([-1, 0, 1], np.int8), size=shape, p=[0.2, 0.6, 0.2])
    ones = np.ones(outputs, np.float32)
    beside = FloatLayer(rng.standard_normal(shape).astype(np.float32), ones, 0 * ones) if floats else None
    return NetworkLayer(name, weights, np.full(outputs, scale), np.zeros(outputs), floats=beside, **options)
