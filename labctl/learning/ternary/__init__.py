"""Networks of ternary weights and whole-number activations, which associative arrays compute exactly.

from labctl.learning.ternary import shipped_network

network = shipped_network()
logits = network.infer(images)                       # products by numpy
logits = network.infer(images, products=array)       # or by whoever multiplies

Needs numpy alone; `labctl.learning.ternary.training` needs torch.
"""

from labctl.learning.ternary.files import load_network, load_ternary_layers, save_network, shipped_network
from labctl.learning.ternary.layers import FloatLayer, LayerArguments, NetworkLayer
from labctl.learning.ternary.network import TernaryNetwork, exact_products
from labctl.learning.ternary.shapes import NETWORKS, LayerShape, ShapedLayer, ternary_weights
from labctl.learning.ternary.ternarising import NORMAL_SPARSITY, ternarised

__all__ = [
    "NETWORKS",
    "NORMAL_SPARSITY",
    "FloatLayer",
    "LayerArguments",
    "LayerShape",
    "NetworkLayer",
    "ShapedLayer",
    "TernaryNetwork",
    "exact_products",
    "load_network",
    "load_ternary_layers",
    "save_network",
    "shipped_network",
    "ternarised",
    "ternary_weights",
]
