"""A ternary network of random weights, small enough for arrays that are slow."""

from __future__ import annotations

import numpy as np

from labctl.learning.ternary import FloatLayer, NetworkLayer, TernaryNetwork


def made_network(seed: int = 1, floats: bool = True) -> TernaryNetwork:
    """1 x 9 x 8 -> 4 channels, pooled 2 x 2 -> 2 channels with 2 x 2 kernels, rectified sums -> 3 classes."""
    rng = np.random.default_rng(seed)
    layers = (
        _layer(rng, "conv1", (4, 1, 3, 3), floats, padding=1, pool=4),
        _layer(rng, "conv2", (2, 4, 2, 2), floats, relu=True),
        _layer(rng, "fc", (3, 18), floats),
    )
    return TernaryNetwork("made", (1, 9, 8), layers, description="random weights")


def _layer(rng: np.random.Generator, name: str, shape: tuple[int, ...], floats: bool, **options: int) -> NetworkLayer:
    ternary = rng.integers(-1, 2, shape).astype(np.int8)
    scale, offset = rng.normal(0.1, 0.05, shape[0]), rng.normal(2, 2, shape[0])
    beside = None
    if floats:
        beside = FloatLayer(
            rng.standard_normal(shape).astype(np.float16),
            rng.normal(1, 0.2, shape[0]).astype(np.float32),
            rng.normal(0, 0.2, shape[0]).astype(np.float32),
        )
    return NetworkLayer(name, ternary, scale, offset, floats=beside, **options)
