"""What was counted while a network was trained with mixed precision: vectors, updates, zeros, pulses, and reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from labctl.errors import SettingsError
from labctl.learning.networks.network import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCounts:
    """Of one layer: numbers over all images of `TrainingCounts`, shares from 0 to 1.

    driven: share of the inputs that are not zero, of the vectors multiplied forward. touched: share of the inputs that
    are not zero in some vector of an update; None: `driven`, where an update has one vector. forward, backward: vectors
    multiplied; None: the layer's products for each image, backward for all layers but the first. outer: vectors that
    teach; None: as many as forward. inputs_back: how many inputs a backward product is for; None: all. set_pulses,
    reset_pulses: those of the refresh included. reads: of cells, for the refresh. conductance: mean of the cells, S;
    None: figure `cell_conductance`.
    """

    driven: float = 1.0
    touched: float | None = None
    forward: float | None = None
    backward: float | None = None
    outer: float | None = None
    inputs_back: int | None = None
    set_pulses: float = 0.0
    reset_pulses: float = 0.0
    reads: float = 0.0
    conductance: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if field.name in ("driven", "touched") else math.inf
            if value is not None and not (0 <= value <= most and math.isfinite(value)):
                bound = "from 0 to 1" if most == 1 else "of at least 0"
                raise SettingsError(f"{field.name} of a layer has to be a number {bound}, got {value:g}")


@dataclass(frozen=True, slots=True)
class LayerWork:
    """`LayerCounts` with nothing left open, and the layer's size. devices: pairs of cells for a weight."""

    name: str
    inputs: int
    outputs: int
    inputs_back: int
    devices: int
    updates: float
    forward: float
    backward: float
    outer: float
    driven: float
    touched: float
    set_pulses: float
    reset_pulses: float
    reads: float
    conductance: float | None

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs

    @property
    def weights_back(self) -> int:
        """That a backward product takes."""
        return self.inputs_back * self.outputs


@dataclass(frozen=True, slots=True)
class TrainingCounts:
    """What `images` images took, in `updates` updates: as many with batches of one. devices: pairs for each weight."""

    images: float
    updates: float
    layers: Sequence[LayerCounts]
    devices: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.updates <= self.images < math.inf):
            raise SettingsError(
                f"an account of training needs updates, and an image at least for each, got {self.updates:g} updates "
                f"and {self.images:g} images"
            )
        if self.devices < 1:
            raise SettingsError(f"a weight is at least 1 pair of devices, got {self.devices}")

    def without_zeros(self) -> TrainingCounts:
        """The same, as if no input were ever zero."""
        return replace(self, layers=[replace(layer, driven=1.0, touched=1.0) for layer in self.layers])

    def of(self, layers: Sequence[Layer]) -> list[LayerWork]:
        """With the sizes of `layers`. Raises SettingsError."""
        if len(layers) != len(self.layers):
            raise SettingsError(f"counts of {len(self.layers)} layers for {len(layers)} layers")
        pairs = zip(layers, self.layers, strict=True)
        return [self._work(layer, counted, first=place == 0) for place, (layer, counted) in enumerate(pairs)]

    def _work(self, layer: Layer, counted: LayerCounts, *, first: bool) -> LayerWork:
        vectors = self.images * layer.products
        forward = vectors if counted.forward is None else counted.forward
        outer = forward if counted.outer is None else counted.outer
        backward = (0.0 if first else vectors) if counted.backward is None else counted.backward
        inputs_back = layer.inputs if counted.inputs_back is None else int(counted.inputs_back)
        if inputs_back > layer.inputs:
            raise SettingsError(f"{layer.name}: products backward for {inputs_back} inputs, of {layer.inputs}")
        return LayerWork(
            name=layer.name,
            inputs=layer.inputs,
            outputs=layer.outputs,
            inputs_back=inputs_back,
            devices=self.devices,
            updates=float(self.updates),
            forward=float(forward),
            backward=float(backward),
            outer=float(outer),
            driven=float(counted.driven),
            touched=self._touched(layer, counted, float(outer)),
            set_pulses=float(counted.set_pulses),
            reset_pulses=float(counted.reset_pulses),
            reads=float(counted.reads),
            conductance=None if counted.conductance is None else float(counted.conductance),
        )

    def _touched(self, layer: Layer, counted: LayerCounts, outer: float) -> float:
        if counted.touched is not None:
            return float(counted.touched)
        if outer > self.updates and counted.driven < 1:
            raise SettingsError(
                f"{layer.name}: an update has {outer / self.updates:g} vectors: which share of the inputs is not "
                "zero in some of them has to be given as touched"
            )
        return float(counted.driven)
