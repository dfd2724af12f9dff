"""The ternary layers of what a command calls a network: shapes whose weights are drawn, a trained network, a file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labctl.compiler import TernaryLayer
from labctl.errors import UsageError
from labctl.learning.ternary import (
    NETWORKS,
    LayerArguments,
    LayerShape,
    TernaryNetwork,
    load_network,
    load_ternary_layers,
    shipped_network,
    ternary_weights,
)

TRAINED = "fashion-mnist"
"""The trained network that comes with labctl."""


@dataclass(frozen=True, slots=True)
class NamedLayer:
    """A layer as it is compiled, and how often it is done for a sample: on so many `rows`.

    inputs, products: of one product as any other machine does it, and how many of them; with pooling, `pool` to a row.
    """

    ternary: TernaryLayer
    rows: int
    inputs: int
    products: int


def named_layers(name: str, sparsity: float | None = None, seed: int = 0) -> list[NamedLayer]:
    """Of the network `name`: one whose shapes are known, with weights drawn by `seed`, a share `sparsity` of them zero
    (None: as many as ternarising normal weights leaves); the trained one; or an .npz of a network or of matrices, each
    multiplied once for a sample.

    Raises UsageError where there is no such network, and for a sparsity of weights that are given.
    """
    if name in NETWORKS:
        return [_shaped(shape, ternary_weights(shape, sparsity, seed)) for shape in NETWORKS[name]]
    if sparsity is not None:
        raise UsageError(f"--sparsity is of weights that are drawn: those of {', '.join(NETWORKS)}, not of {name}")
    if name == TRAINED:
        return _of_network(shipped_network())
    if not name.endswith(".npz"):
        raise UsageError(f"there is no network {name!r}: choose {', '.join(NETWORKS)}, {TRAINED}, or an .npz")
    if _holds_network(name):
        return _of_network(load_network(name))
    return [_shaped(shape, weights) for shape, weights in load_ternary_layers(name)]


def _shaped(shape: LayerShape, weights: NDArray[np.int8]) -> NamedLayer:
    return NamedLayer(_ternary(shape.arguments(weights)), shape.positions, shape.inputs, shape.positions)


def _of_network(network: TernaryNetwork) -> list[NamedLayer]:
    found = []
    for index, layer in enumerate(network.layers):
        rows = network.positions(index)
        inputs = layer.weights[0].size
        found.append(NamedLayer(_ternary(network.layer(index)), rows, inputs, rows * layer.pool))
    return found


def _ternary(given: LayerArguments) -> TernaryLayer:
    """Channels of one input have nothing to share, so they are not kept apart."""
    layer = TernaryLayer(**given)
    return replace(layer, channel=None) if layer.channel == 1 else layer


def _holds_network(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "network.npy" in archive.namelist()
