"""One kind of pulse, given again and again: the stimulus of the protocols here that do not ramp."""

from __future__ import annotations

import msgspec
import numpy as np

from labctl.array import Cells, Operation, PulseBatch, Scale
from labctl.errors import SettingsError
from labctl.units import Second, Volt, format_quantity


class Pulse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """amplitude and gate in V, width in s."""

    amplitude: Volt
    width: Second
    gate: Volt

    def __post_init__(self) -> None:
        for name, unit in (("amplitude", "V"), ("width", "s")):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be more than 0 {unit}, not {value:g}")

    def volts(self, dac: Scale, name: str) -> float:
        """The amplitude the converter gives, V. Raises SettingsError naming `name` where it cannot."""
        try:
            return float(dac.values(dac.codes(self.amplitude)))
        except ValueError:
            low, high = format_quantity(dac.offset, "V"), format_quantity(float(dac.values(dac.top)), "V")
            text = f"$.{name}.amplitude: {self.amplitude:g} V is not within the board's {low} to {high}"
            raise SettingsError(text) from None

    def batch(self, operation: Operation, cells: Cells, dac: Scale) -> PulseBatch:
        """This pulse on each of `cells`."""
        amplitude = np.full(len(cells), dac.codes(self.amplitude), np.uint16)
        return PulseBatch(operation, cells, amplitude, self.width, self.gate)
