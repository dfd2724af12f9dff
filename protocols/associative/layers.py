"""Layers of a ternary network as the compiler takes them."""

from __future__ import annotations

from labctl.compiler import TernaryLayer
from labctl.learning.ternary import TernaryNetwork


def ternary_layer(network: TernaryNetwork, index: int) -> TernaryLayer:
    """Layer `index`, with its pooling."""
    return TernaryLayer(**network.layer(index))
