"""Files of ternary networks: .npz, with everything that their logits need; and ternary weights from elsewhere.

A network's file holds a text `network`, JSON that says of what it consists, and for each layer the arrays
`LAYER.weights` (int8), `LAYER.scale` and `LAYER.offset` (float64), and where there is a float network beside it
`LAYER.float_weights`, `LAYER.float_scale` and `LAYER.float_offset`.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.ternary.layers import FloatLayer, NetworkLayer, check_ternary
from labctl.learning.ternary.network import TernaryNetwork
from labctl.learning.ternary.shapes import LayerShape, ShapedLayer

_FORMAT = 1
SHIPPED = "fashion-mnist"
"""What the network that comes with labctl is called."""
_SHIPPED_FILE = "ternary_fashion_mnist.npz"
_BROKEN = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


class _Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    stride: int = 1
    padding: int = 0
    pool: int = 1
    relu: bool = False


class _Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    name: str
    shape: tuple[int, int, int]
    input_bits: int
    layers: tuple[_Layer, ...]
    description: str = ""


def save_network(network: TernaryNetwork, path: Path) -> None:
    """`network` as the file at `path`, whole or not at all. Raises UsageError where it cannot be written."""
    layers = tuple(_Layer(each.name, each.stride, each.padding, each.pool, each.relu) for each in network.layers)
    told = _Network(_FORMAT, network.name, network.shape, network.input_bits, layers, network.description)
    arrays: dict[str, NDArray[Any]] = {"network": np.array(msgspec.json.encode(told).decode())}
    for layer in network.layers:
        parts: dict[str, NDArray[Any]] = {"weights": layer.weights, "scale": layer.scale, "offset": layer.offset}
        if layer.floats is not None:
            beside = layer.floats
            parts |= {"float_weights": beside.weights, "float_scale": beside.scale, "float_offset": beside.offset}
        arrays |= {f"{layer.name}.{part}": values for part, values in parts.items()}
    part_path = path.with_name(f".{path.name}.part")
    try:
        with part_path.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        os.replace(part_path, path)
    except OSError as problem:
        part_path.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {problem.strerror or problem}") from problem


def load_network(path: str | Path) -> TernaryNetwork:
    """The network in the file at `path`, as `save_network` writes it; "fashion-mnist" is the one that ships.

    Raises UsageError, in one sentence.
    """
    if path == SHIPPED:
        return shipped_network()
    arrays = _read(Path(path))
    if "network" not in arrays:
        raise UsageError(f"{path} holds no ternary network: it has no text called network")
    try:
        told = msgspec.json.decode(str(arrays["network"]), type=_Network)
    except msgspec.DecodeError as problem:
        raise UsageError(f"{path}: what it says of its network cannot be read: {problem}") from problem
    if told.format != _FORMAT:
        raise UsageError(f"{path} is of format {told.format}, and this version of labctl reads {_FORMAT}")
    try:
        layers = tuple(_layer(each, arrays) for each in told.layers)
        return TernaryNetwork(told.name, told.shape, layers, told.input_bits, told.description)
    except UsageError as problem:
        raise UsageError(f"{path}: {problem}") from problem


def shipped_network() -> TernaryNetwork:
    """The network for Fashion-MNIST that comes with labctl."""
    with as_file(files("labctl.data.networks") / _SHIPPED_FILE) as path:
        return load_network(path)


def load_ternary_layers(path: str | Path) -> tuple[ShapedLayer, ...]:
    """The layers in any .npz of arrays of -1, 0 and 1, (outputs, inputs) or (outputs, channels, kernel, kernel).

    In the order of the file, called as its arrays are, on one position of an image. Whole numbers of any type are
    taken, real ones too where they are whole. Raises UsageError, in one sentence.
    """
    found = []
    for name, values in _read(Path(path)).items():
        try:
            whole = values.dtype.kind in "iufb" and bool(np.isin(values, (-1, 0, 1)).all())
            weights = values.astype(np.int8) if whole else values
            check_ternary(name, weights)
        except UsageError as problem:
            raise UsageError(f"{path}: {problem}") from problem
        kernel = weights.shape[-1] if weights.ndim == 4 else 1
        shape = LayerShape(name, weights.shape[1], weights.shape[0], kernel, padding=0, linear=weights.ndim == 2)
        found.append(ShapedLayer(shape, weights))
    if not found:
        raise UsageError(f"{path} holds no arrays")
    return tuple(found)


def _layer(told: _Layer, arrays: Mapping[str, NDArray[Any]]) -> NetworkLayer:
    def part(what: str, kinds: str) -> NDArray[Any]:
        values = arrays.get(f"{told.name}.{what}")
        if values is None or values.dtype.kind not in kinds:
            missing = "is missing" if values is None else f"holds {values.dtype}"
            raise UsageError(f"the array {told.name}.{what} {missing}")
        return values

    floats = None
    if f"{told.name}.float_weights" in arrays:
        factors = [part(each, "f").astype(np.float32) for each in ("float_scale", "float_offset")]
        floats = FloatLayer(part("float_weights", "f"), *factors)
    scale, offset = part("scale", "f").astype(np.float64), part("offset", "f").astype(np.float64)
    weights = part("weights", "i")
    return NetworkLayer(told.name, weights, scale, offset, told.stride, told.padding, told.pool, told.relu, floats)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            if isinstance(stored, np.ndarray):
                raise UsageError(f"{path} holds one array without a name: a .npz is wanted")
            return {name: stored[name] for name in stored.files}
    except _BROKEN as problem:
        raise UsageError(f"{path} is not an .npz file of plain numbers that can be read") from problem
