"""Incremental step pulses: the ramp of amplitudes one polarity climbs, as a table of DAC codes."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from labctl.array import Codes, Operation, PulseBatch, Scale
from labctl.errors import SettingsError
from labctl.units import Second, Volt, format_quantity


class Ramp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pulses of one width and gate whose amplitude goes from `start` to `stop` by `step`."""

    start: Volt
    stop: Volt
    step: Volt
    width: Second
    gate: Volt

    def __post_init__(self) -> None:
        if not self.start > 0:
            raise ValueError(f"start must be more than 0 V, not {self.start:g}")
        if not self.step > 0:
            raise ValueError(f"step must be more than 0 V, not {self.step:g}")
        if self.stop < self.start:
            raise ValueError(f"stop ({self.stop:g} V) must not be below start ({self.start:g} V)")
        if not self.width > 0:
            raise ValueError(f"width must be more than 0 s, not {self.width:g}")

    @property
    def steps(self) -> int:
        return 1 + math.floor((self.stop - self.start) / self.step + 1e-6)

    def codes(self, dac: Scale, name: str) -> Codes:
        """(steps,) DAC codes. Raises SettingsError naming `name` where the converter cannot give a voltage."""
        volts = self.start + self.step * np.arange(self.steps)
        try:
            return dac.codes(volts)
        except ValueError:
            low, high = format_quantity(dac.offset, "V"), format_quantity(float(dac.values(dac.top)), "V")
            raise SettingsError(
                f"$.{name}: {self.start:g} to {self.stop:g} V does not fit the board's {low} to {high}"
            ) from None


def batch(operation: Operation, ramp: Ramp, cells: np.ndarray, amplitude: Codes) -> PulseBatch:
    """One pulse of `ramp`'s width and gate on each of `cells`."""
    return PulseBatch(operation, cells, amplitude, ramp.width, ramp.gate)
