"""A trained network at rest: its devices drift, and what of that a factor a layer makes up for.

Devices drift alike on the whole, so a layer's products shrink by a common factor. Global drift compensation measures it
(Joshi et al., Nat. Commun. 11, 2473, 2020): the same inputs are multiplied right after training and again later, and
what came then over what comes now is what the layer's products are to be multiplied by. Nothing on the array is
touched.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from labctl.learning.trainable.network import Float32, Products
from labctl.protocols.training.board import BoardTraining
from labctl.protocols.training.judging import Verdict, judge
from labctl.steps import Step

_SAMPLES = 256
"""Training samples whose products tell how far a layer has drifted."""

_VECTORS = 1024
"""Of a layer's inputs, for them."""


@dataclass(frozen=True, slots=True)
class Rested:
    """How the network did `after` s of rest, without and with compensation by `factors`, one a layer."""

    after: float
    plain: Verdict
    compensated: Verdict
    factors: tuple[float, ...]


class _Seen:
    """Products that keep what each layer was given, up to so many vectors."""

    def __init__(self, products: Products) -> None:
        self._products = products
        self.inputs: dict[int, list[Float32]] = {}

    def forward(self, layer: int, inputs: Float32, /) -> Float32:
        kept = self.inputs.setdefault(layer, [])
        if sum(map(len, kept)) < _VECTORS:
            kept.append(inputs[:_VECTORS].copy())
        return self._products.forward(layer, inputs)

    def backward(self, layer: int, deltas: Float32, /, inputs: slice | None = None) -> Float32:
        return self._products.backward(layer, deltas, inputs)


@dataclass(frozen=True, slots=True)
class _Compensated:
    """Products, each layer's times its factor."""

    products: Products
    factors: tuple[float, ...]

    def forward(self, layer: int, inputs: Float32, /) -> Float32:
        values = self.products.forward(layer, inputs)
        values *= np.float32(self.factors[layer])
        return values

    def backward(self, layer: int, deltas: Float32, /, inputs: slice | None = None) -> Float32:
        values = self.products.backward(layer, deltas, inputs)
        values *= np.float32(self.factors[layer])
        return values


def rest(training: BoardTraining, since: float, found: list[Rested]) -> Generator[Step, None, None]:
    """Judge at the times of the settings after `since`, s on the array's clock; what comes of it goes into `found`."""
    delays = training.settings.rest
    if not delays:
        return
    given = _given(training)
    products = training.devices.forward
    before = {layer: (products(layer, inputs), products(layer, inputs)) for layer, inputs in given.items()}
    for delay in delays:
        training.array.clock.sleep_until(since + delay)
        training.devices.forget_offsets()
        factors = tuple(_factor(*before[layer], products(layer, given[layer])) for layer in sorted(before))
        compensated = _Compensated(training.devices, factors)
        plain, better = (
            judge(training.network, each, training.data, training.seed) for each in (training.devices, compensated)
        )
        found.append(Rested(float(delay), plain, better, factors))
        yield Step(
            "rest", {**plain.scalars, "after": float(delay), "accuracy_compensated": better.accuracy}, training.maps()
        )


def _given(training: BoardTraining) -> dict[int, Float32]:
    """Per layer what training samples give it."""
    seen = _Seen(training.devices)
    samples = training.data.train_inputs[:_SAMPLES]
    if training.settings.task == "gan":
        training.network.train_batch(seen, samples, training.data.train_labels[:_SAMPLES], np.random.default_rng(0))
    else:
        training.network.predict(seen, samples)
    return {layer: np.concatenate(parts)[:_VECTORS] for layer, parts in seen.inputs.items()}


def _factor(before: Float32, again: Float32, now: Float32) -> float:
    """What `now` is to be multiplied by. `again` is `before` with other noise, which so does not count as signal."""
    shared = float(np.vdot(again, now))
    return float(np.vdot(before, again)) / shared if shared else 1.0
