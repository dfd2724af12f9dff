"""Networks whose weights are given, with quantised inputs and no trained digital parameter."""

from labctl.learning.networks.making import make_network
from labctl.learning.networks.network import IGNORED, Batch, Layer, Network, Product

__all__ = ["IGNORED", "Batch", "Layer", "Network", "Product", "make_network"]
