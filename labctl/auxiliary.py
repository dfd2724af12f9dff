"""What stands around an array and is read along with every run: temperature controllers, supplies, sensors.

A driver is an auxiliary's where its class has `quantities`; the rest of it is as of any driver: `connect`, `close`,
`safe_state`, `snapshot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Auxiliary(Protocol):
    """An instrument whose readings belong to a run. Calls raise LinkError or InstrumentError."""

    @classmethod
    def quantities(cls, settings: Any) -> Mapping[str, str]:
        """Name to unit (SI) of what `read` gives, known from the settings alone."""

    def read(self) -> Mapping[str, float]:
        """The present value of every quantity."""


def is_auxiliary(driver: Any) -> bool:
    """Whether the driver class `driver` is one of an auxiliary."""
    return hasattr(driver, "quantities")
