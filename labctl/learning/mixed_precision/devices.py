"""What training asks of the devices that weights stand on, whether on an array or in a model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labctl.learning.trainable.network import Float32, Products


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
