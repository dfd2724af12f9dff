"""What training asks of the devices that weights stand on, whether on an array or in a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labctl.learning.trainable.network import Float32, Products


@dataclass(frozen=True, slots=True)
class Refresh:
    """Which pairs are saturated: one device above `above`, S, the difference below `difference`, S.

    They are RESET and get as many blind SET pulses as are taken to add up to the difference, but `pulses` at most: a
    device just RESET gains `step`, S, by each.
    """

    above: float = 8e-6
    difference: float = 6e-6
    pulses: int = 3
    step: float = 1.5e-6

    def saturated(self, plus: Float32, minus: Float32) -> NDArray[np.bool_]:
        """Which pairs are, whose devices read `plus` and `minus`, S."""
        found: NDArray[np.bool_] = np.maximum(plus, minus) > self.above
        found &= np.abs(plus - minus) < self.difference
        return found

    def sets(self, difference: Float32) -> NDArray[np.int32]:
        """SET pulses for pairs that differed by so many S."""
        wanted = np.minimum(np.rint(np.abs(difference) / np.float32(self.step)), self.pulses)
        return wanted.astype(np.int32)


def dealt(counts: NDArray[Any], pairs: int, turn: int) -> list[NDArray[Any]]:
    """`counts` of pulses, 0 or more, as they fall to the pairs of each weight, that number `turn` first.

    A counter that all weights of a layer share says whose turn it is (Boybat et al., Nat. Commun. 9, 2514, 2018).
    """
    if pairs == 1:
        return [counts]
    return [(counts + pairs - 1 - (number - turn) % pairs) // pairs for number in range(pairs)]


class Devices(Products, Protocol):
    """Devices that weights stand on: products of their weights, and pulses that change them.

    Attributes:
        granules: per layer, the weight that one pulse is taken to add.
    """

    @property
    def granules(self) -> tuple[float, ...]: ...

    def pulse(self, layer: int, edges: NDArray[np.intp], counts: NDArray[np.int16], /) -> None:
        """Give blind SET pulses. edges: (k,) flat indices into (inputs, outputs), strictly increasing.

        counts: (k,) how many, none of them 0: above 0 on devices that raise the weight, below on those that lower it.
        """
        ...

    def refresh(self) -> None:
        """RESET and write anew the pairs that have become saturated by the pulses since the last call."""
        ...

    def weights(self, layer: int, /) -> Float32:
        """(inputs, outputs), as they are known."""
        ...
