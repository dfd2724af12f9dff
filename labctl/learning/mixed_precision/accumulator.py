"""Learning in two precisions: updates accumulate digitally, and reach coarse devices in whole granules.

Nandakumar et al., Front. Neurosci. 14, 406 (2020): for every weight there is an accumulator chi, in high precision.
A batch adds its update to it; what is in it of whole granules epsilon, the change that one pulse is taken to make, goes
to the devices as so many blind pulses, and out of the accumulator:

    chi <- chi - rate d loss / d W,  p = trunc(chi / epsilon),  chi <- chi - p epsilon

p pulses to raise the weight, or -p to lower it. Nobody looks at what the pulses did: the products of the batches to
come show it, and the accumulator makes up for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.mixed_precision.devices import Devices
from labctl.learning.mixed_precision.rows import Outer
from labctl.learning.trainable.network import Factors

Float32 = NDArray[np.float32]
Rounding = Literal["truncate", "floor"]

_NONE = np.empty(0, np.intp), np.empty(0, np.int16)
_DUE = np.float32(1 - 1e-4)  # of a bound from which on accumulators are looked at: bounds are rounded, too


@dataclass(slots=True)
class UpdateCounts:
    """batches: that were learnt from. pulses: SET pulses ordered, of each layer; pulsed: weights times batches in which
    they were. touched: accumulators added to, of each layer.
    """

    batches: int = 0
    pulses: list[int] = field(default_factory=list)
    pulsed: list[int] = field(default_factory=list)
    touched: list[int] = field(default_factory=list)


class MixedPrecision:
    """Learns the weights that stand on `devices`.

    Attributes:
        chi: per layer (inputs, outputs), accumulators in granules of the layer.
        counts: what learning has ordered so far.
    """

    def __init__(
        self,
        devices: Devices,
        layers: Sequence[tuple[int, int]],
        *,
        rates: Sequence[float] | None = None,
        rounding: Rounding = "truncate",
        most_pulses: int = 20,
        seed: int = 0,
    ) -> None:
        """layers: (inputs, outputs) of each. rates: what the learning rate of each is multiplied by.

        rounding: "truncate" toward zero, so that small updates of either sign wait; "floor" sends a pulse down for any
        accumulator below zero, and begins with accumulators drawn from 0 to 1 by `seed`: so that of many small updates
        alike some have a pulse at once, and on the mean devices follow without delay. most_pulses: of a weight in one
        update; what is due beyond stays in its accumulator. Raises UsageError for a granule that is none.
        """
        self.devices = devices
        self.forward, self.backward = devices.forward, devices.backward
        self.chi: list[Float32] = [np.zeros(layer, np.float32) for layer in layers]
        self._bounds = [np.zeros(inputs, np.float32) for inputs, _ in layers]  # of the accumulators of each input
        self._outer = Outer()
        self.counts = UpdateCounts(0, *([0] * len(layers) for _ in range(3)))
        self._rates = [1.0] * len(layers) if rates is None else list(rates)
        self._floor = rounding == "floor"
        if self._floor:
            draws = np.random.default_rng([seed, 41])
            self.chi = [draws.random(layer, np.float32) for layer in layers]
        self._most = most_pulses
        for number, granule in enumerate(devices.granules):
            if not granule > 0:
                raise UsageError(
                    f"a pulse is taken to change weights of layer {number} by {granule:g}: it must be more"
                )

    def learn(self, factors: Sequence[Factors], rate: float) -> None:
        """Take a batch's `factors` into the accumulators, and order the pulses that are due."""
        self.counts.batches += 1
        for number, each in enumerate(factors):
            step = -rate * self._rates[number] / self.devices.granules[number]
            self._accumulate(number, each, step)
            edges, pulses = self._due(number)
            if len(edges):
                self.counts.pulses[number] += int(np.abs(pulses).sum())
                self.counts.pulsed[number] += len(edges)
                self.devices.pulse(number, edges, pulses)

    def _accumulate(self, number: int, factors: Factors, step: float) -> None:
        """Add step * inputs.T @ deltas."""
        chi, inputs, deltas = self.chi[number], np.abs(factors.inputs), np.abs(factors.deltas)
        self._outer.add(chi, factors.inputs, factors.deltas, step)
        most = deltas.max(axis=1)
        most *= np.float32(abs(step))
        reach = most @ inputs
        self._bounds[number] += reach
        self.counts.touched[number] += int(np.count_nonzero(reach)) * chi.shape[1]

    def _due(self, number: int) -> tuple[NDArray[np.intp], NDArray[np.int16]]:
        """Take whole granules out of the accumulators: of which edges (n,), increasing, and how many (n,).

        Accumulators are looked at where so much may have been added that there can be one.
        """
        chi, bounds = self.chi[number], self._bounds[number]
        rows = np.flatnonzero(bounds > 0 if self._floor else bounds >= _DUE)
        if not len(rows):
            return _NONE
        values = chi[rows]
        flat = values.reshape(-1)
        places = np.flatnonzero((flat >= 1) | (flat < 0)) if self._floor else np.flatnonzero(np.abs(flat) >= 1)
        whole = np.floor(flat[places]) if self._floor else np.trunc(flat[places])
        np.clip(whole, -self._most, self._most, out=whole)
        flat[places] -= whole
        bounds[rows] = 0 if self._floor else np.abs(values).max(axis=1)
        if len(places):
            chi[rows] = values
        row, col = np.divmod(places, chi.shape[1])
        return rows[row] * chi.shape[1] + col, whole.astype(np.int16)

    def state(self) -> dict[str, NDArray[Any]]:
        """All that it takes to go on, as arrays under flat names."""
        counts = {name: np.array(getattr(self.counts, name)) for name in ("batches", "pulses", "pulsed", "touched")}
        return {**counts, **{f"chi_{number}": chi for number, chi in enumerate(self.chi)}}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""
        for number, chi in enumerate(self.chi):
            np.copyto(chi, state[f"chi_{number}"])
            self._bounds[number] = np.abs(chi).max(axis=1)
        self.counts = UpdateCounts(
            int(state["batches"]), *(state[name].tolist() for name in ("pulses", "pulsed", "touched"))
        )
