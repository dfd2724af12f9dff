"""Models of devices that weights stand on, in memory: from ideal ones to phase-change memory as published.

What they share with an array are converters on both sides of every product. They differ in how a weight changes:

    IdealDevices     by exactly the update
    GranularDevices  by whole granules, each exactly what a pulse is taken to add, without any limit
    PcmDevices       as phase-change devices do (`phase_change.py`), in differential pairs

Noise of a read, which is one of every device of a product, is drawn at the outputs, with its exact variance: that of
y = x @ W is x^2 @ V, V the variance of a read of W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.mixed_precision.devices import Refresh, dealt
from labctl.learning.mixed_precision.float_weights import FloatWeights
from labctl.learning.mixed_precision.phase_change import PhaseChange
from labctl.learning.mixed_precision.quantising import Converter, quantised
from labctl.learning.mixed_precision.rows import occupied
from labctl.learning.trainable.network import Float32

_FORGOTTEN = 1000  # pulses after which the memory of the RESET has long been 0


@dataclass(frozen=True, slots=True)
class Converters:
    """Bits on both sides of a product; dac_bits None: as many as the board's codes have."""

    dac_bits: int | None = 8
    adc_bits: int = 14


@dataclass(slots=True)
class PulseCounts:
    """What devices have cost. pulses: SET pulses, resets: RESET pulses, of all of them. refreshed: pairs."""

    pulses: int = 0
    resets: int = 0
    refreshed: int = 0


class ConvertedProducts(ABC):
    """Products between converters, whoever multiplies."""

    def __init__(self, layers: int, converters: Converters) -> None:
        """layers: how many there are. Raises UsageError for bits that no converter has."""
        self._dac_bits = converters.dac_bits
        self.converters_forward = [Converter(converters.adc_bits) for _ in range(layers)]
        self.converters_backward = [Converter(converters.adc_bits) for _ in range(layers)]

    def forward(self, layer: int, inputs: Float32, /) -> Float32:
        driven, worth = quantised(inputs, self._dac_bits)
        products = self._forward(layer, driven)
        worth *= np.float32(self.converters_forward[layer].convert(products))
        products *= worth
        return products

    def backward(self, layer: int, deltas: Float32, /, inputs: slice | None = None) -> Float32:
        driven, worth = quantised(deltas, self._dac_bits)
        products = self._backward(layer, driven, slice(None) if inputs is None else inputs)
        worth *= np.float32(self.converters_backward[layer].convert(products))
        products *= worth
        return products

    @abstractmethod
    def _forward(self, layer: int, driven: Float32) -> Float32:
        """driven @ W, an array of its own."""

    @abstractmethod
    def _backward(self, layer: int, driven: Float32, inputs: slice) -> Float32:
        """driven @ W[inputs].T, an array of its own."""


class IdealDevices(ConvertedProducts):
    """Devices that take any update exactly: a learner by themselves."""

    def __init__(
        self, initial: Sequence[Float32], converters: Converters, rates: Sequence[float] | None = None
    ) -> None:
        """initial: weights per layer (inputs, outputs). rates: what the learning rate of each is multiplied by."""
        super().__init__(len(initial), converters)
        self._exact = FloatWeights(initial, rates)
        self.learn = self._exact.learn
        self.weights = self._exact.weights

    def _forward(self, layer: int, driven: Float32) -> Float32:
        return self._exact.forward(layer, driven)

    def _backward(self, layer: int, driven: Float32, inputs: slice) -> Float32:
        return self._exact.backward(layer, driven, inputs)


class GranularDevices(ConvertedProducts):
    """Devices of which each pulse adds exactly the granule, without noise, drift or limit.

    Attributes:
        granules: as in `Devices`.
        counts: what they have cost.
    """

    def __init__(self, initial: Sequence[Float32], granules: Sequence[float], converters: Converters) -> None:
        """initial: weights per layer (inputs, outputs)."""
        super().__init__(len(initial), converters)
        self.granules = tuple(granules)
        self.counts = PulseCounts()
        self._exact = FloatWeights(initial)
        self.weights = self._exact.weights

    def pulse(self, layer: int, edges: NDArray[np.intp], counts: NDArray[np.int16], /) -> None:
        self.weights(layer).reshape(-1)[edges] += counts * np.float32(self.granules[layer])
        self.counts.pulses += int(np.abs(counts).sum(dtype=np.int64))

    def refresh(self) -> None:
        """Nothing saturates."""

    def _forward(self, layer: int, driven: Float32) -> Float32:
        return self._exact.forward(layer, driven)

    def _backward(self, layer: int, driven: Float32, inputs: slice) -> Float32:
        return self._exact.backward(layer, driven, inputs)


class _Pairs:
    """The devices of one layer. Rows of (2 devices, weights) arrays: those that raise the weights, then the others.

    conductance: S, as it is `drift_time` after the last pulse. pulses: SET pulses since the RESET. programmed: s, when
    the last pulse was. set_pulses, resets: of all time. turn: of the pairs of a weight, the one that is next. weights,
    variance: (inputs, outputs), as they are shown, and of a read. touched: (weights,), pulsed since the last refresh.
    """

    def __init__(self, shape: tuple[int, int], scale: float, devices: int) -> None:
        count = shape[0] * shape[1]
        self.scale = np.float32(scale)
        self.conductance = np.zeros((2 * devices, count), np.float32)
        self.pulses = np.zeros((2 * devices, count), np.uint16)
        self.programmed = np.zeros((2 * devices, count), np.float32)
        self.set_pulses = np.zeros((2 * devices, count), np.uint32)
        self.resets = np.zeros((2 * devices, count), np.uint32)
        self.turn = 0
        self.weights = np.zeros(shape, np.float32)
        self.variance = np.zeros(shape, np.float32)
        self.touched = np.zeros(count, np.bool_)


class PcmDevices(ConvertedProducts):
    """Phase-change devices in pairs: w = (G+ - G-) times a scale, summed over the `devices` pairs of a weight.

    They know the time by being told (`tell`), and drift in ticks: a conductance is off by 0.04 ln(1 + tick / 1 s) of
    itself at most, 2.8 % for ticks of 1 s, and only within seconds of a pulse.

    Attributes:
        granules: as in `Devices`.
        counts: what they have cost since preparation.
    """

    def __init__(
        self,
        layers: Sequence[tuple[int, int]],
        scales: Sequence[float],
        rng: np.random.Generator,
        *,
        granularity: float = 0.77e-6,
        initial: float = 0.3,
        devices: int = 1,
        refresh: Refresh | None = None,
        converters: Converters | None = None,
        cells: PhaseChange | None = None,
        tick: float = 1.0,
    ) -> None:
        """Prepared devices: all RESET, a share `initial` with one SET pulse.

        layers: (inputs, outputs) of each. scales: weight per S of each. granularity: S that a pulse is taken to add.
        devices: pairs of them for a weight, which take pulses in turn. tick: s. Raises UsageError for shares and
        numbers that cannot be.
        """
        if not 0 <= initial <= 1:
            raise UsageError(f"a share of {initial:g} of the devices that get a first SET pulse: it is from 0 to 1")
        if devices < 1:
            raise UsageError(f"{devices} pairs of devices for a weight: there is 1 at least")
        super().__init__(len(layers), converters or Converters())
        self.granules = tuple(granularity * scale for scale in scales)
        self.counts = PulseCounts()
        self._rng, self._devices, self._tick = rng, devices, tick
        self._cells = cells or PhaseChange()
        self._refresh = refresh or Refresh()
        self._now = self._shown = 0.0
        self._pairs = [_Pairs(shape, scale, devices) for shape, scale in zip(layers, scales, strict=True)]
        for pairs in self._pairs:
            self._prepare(pairs, initial)

    # -- what a learner asks for --------------------------------------------------------------------------------

    def pulse(self, layer: int, edges: NDArray[np.intp], counts: NDArray[np.int16], /) -> None:
        pairs = self._pairs[layer]
        first = (counts < 0) * np.intp(self._devices * pairs.weights.size) + edges
        turn, pairs.turn = pairs.turn, (pairs.turn + 1) % self._devices
        for number, own in enumerate(dealt(np.abs(counts.astype(np.int32)), self._devices, turn)):
            self._set(pairs, first + number * pairs.weights.size, own)
        self._show(pairs, edges)
        pairs.touched[edges] = True

    def refresh(self) -> None:
        """Read the pairs that were pulsed since the last call, noise and all, and write the saturated ones anew."""
        for pairs in self._pairs:
            edges = np.flatnonzero(pairs.touched)
            if len(edges):
                pairs.touched[edges] = False
                self._write_anew(pairs, edges)

    def weights(self, layer: int, /) -> Float32:
        """(inputs, outputs), as they were at the last tick or pulse, without noise."""
        return self._pairs[layer].weights

    def conductances(self, layer: int) -> Float32:
        """(2 devices, inputs, outputs), S: G+ of every device, then G-, as they are now, without noise."""
        pairs = self._pairs[layer]
        return self._present(pairs, slice(None)).reshape(-1, *pairs.weights.shape)

    def set_pulses(self, layer: int) -> NDArray[np.uint32]:
        """(2 devices, inputs, outputs), SET pulses that every device has had, in preparation too."""
        pairs = self._pairs[layer]
        return pairs.set_pulses.reshape(-1, *pairs.weights.shape)

    def resets(self, layer: int) -> NDArray[np.uint32]:
        """(2 devices, inputs, outputs), RESET pulses that every device has had, in preparation too."""
        pairs = self._pairs[layer]
        return pairs.resets.reshape(-1, *pairs.weights.shape)

    def tell(self, time: float) -> None:
        """It is `time` now, s since preparation. What has drifted shows once a tick has passed."""
        self._now = time
        if time - self._shown >= self._tick:
            self._shown = time
            for pairs in self._pairs:
                self._show(pairs, slice(None))

    def _forward(self, layer: int, driven: Float32) -> Float32:
        pairs = self._pairs[layer]
        rows = occupied(driven, pairs.weights.shape[1])
        if rows is None:
            weights, variance = pairs.weights, pairs.variance
        else:
            driven, weights, variance = driven[:, rows], pairs.weights[rows], pairs.variance[rows]
        return self._noisy(driven @ weights, np.square(driven) @ variance)

    def _backward(self, layer: int, driven: Float32, inputs: slice) -> Float32:
        pairs = self._pairs[layer]
        return self._noisy(driven @ pairs.weights[inputs].T, np.square(driven) @ pairs.variance[inputs].T)

    def _noisy(self, products: Float32, variance: Float32) -> Float32:
        np.sqrt(variance, out=variance)
        variance *= self._rng.standard_normal(products.shape, np.float32)
        products += variance
        return products

    # -- pulses -------------------------------------------------------------------------------------------------

    def _prepare(self, pairs: _Pairs, initial: float) -> None:
        pairs.conductance[:] = self._cells.after_reset(pairs.conductance.shape, self._rng)
        pairs.resets += 1
        chosen = np.flatnonzero(self._rng.random(pairs.conductance.size, np.float32) < initial)
        self._set_once(pairs, chosen)
        self._show(pairs, slice(None))

    def _set(self, pairs: _Pairs, places: NDArray[np.intp], counts: NDArray[np.int32]) -> None:
        """Blind pulses, as many as `counts`, on devices, flat places."""
        self.counts.pulses += int(counts.sum())
        while counts.any():
            pulsed = np.flatnonzero(counts)
            places, counts = places[pulsed], counts[pulsed] - 1
            self._set_once(pairs, places)

    def _set_once(self, pairs: _Pairs, places: NDArray[np.intp]) -> None:
        """One SET pulse on devices, flat places, all different."""
        conductance, pulses = pairs.conductance.reshape(-1), pairs.pulses.reshape(-1)
        before = pulses[places]
        conductance[places] = self._cells.after_set(conductance[places], before, self._rng)
        pulses[places] = before + (before < _FORGOTTEN)
        pairs.programmed.reshape(-1)[places] = self._now
        pairs.set_pulses.reshape(-1)[places] += 1

    def _write_anew(self, pairs: _Pairs, edges: NDArray[np.intp]) -> None:
        """RESET and rewrite those pairs of these weights that are saturated, as a read shows them."""
        read = self._present(pairs, edges)
        read += self._cells.noise(read) * self._rng.standard_normal(read.shape, np.float32)
        plus, minus = read.reshape(2, self._devices, -1)
        difference = plus - minus
        saturated = self._refresh.saturated(plus, minus)
        number, place = np.nonzero(saturated)
        if not len(place):
            return
        difference = difference[saturated]
        raised, lowered = ((side * self._devices + number) * pairs.weights.size + edges[place] for side in (0, 1))
        self._reset_once(pairs, np.concatenate([raised, lowered]))
        self._set(pairs, np.where(difference > 0, raised, lowered), self._refresh.sets(difference))
        self._show(pairs, edges)
        self.counts.refreshed += len(place)

    def _reset_once(self, pairs: _Pairs, places: NDArray[np.intp]) -> None:
        """A RESET pulse on devices, flat places, all different."""
        pairs.conductance.reshape(-1)[places] = self._cells.after_reset(places.shape, self._rng)
        pairs.pulses.reshape(-1)[places] = 0
        pairs.programmed.reshape(-1)[places] = self._now
        pairs.resets.reshape(-1)[places] += 1
        self.counts.resets += len(places)

    # -- what they show -----------------------------------------------------------------------------------------

    def _present(self, pairs: _Pairs, edges: NDArray[np.intp] | slice) -> Float32:
        """(2 devices, k) G(t), S, now."""
        present = self._cells.drift(np.float32(self._now) - pairs.programmed[:, edges])
        present *= pairs.conductance[:, edges]
        return present

    def _difference(self, conductance: Float32) -> Float32:
        """(k,) sum of G+ - sum of G-, of (2 devices, k)."""
        difference: Float32
        if self._devices == 1:
            difference = conductance[0] - conductance[1]
        else:
            difference = conductance[: self._devices].sum(axis=0) - conductance[self._devices :].sum(axis=0)
        return difference

    def _show(self, pairs: _Pairs, edges: NDArray[np.intp] | slice) -> None:
        """Bring weights and variances of these pairs up to date."""
        present = self._present(pairs, edges)
        pairs.weights.reshape(-1)[edges] = self._difference(present) * pairs.scale
        variance = np.square(self._cells.noise(present)).sum(axis=0)
        pairs.variance.reshape(-1)[edges] = variance * (pairs.scale * pairs.scale)
