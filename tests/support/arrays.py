"""Arrays that behave in one particular way, for what a simulated chip cannot be made to do on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from direct import SteppedClock

from labctl.array import Capability, Geometry, PulseBatch, PulseLimits, Readout, Scale


class ScriptedArray:
    """Cells whose conductance follows `react(conductance, batch)` and whose readings are `show(conductance, rng)`.

    `relax(conductance, seconds)` is what time does to them. Conductances in S, (cells,). `adc` is for 0.2 V; cells
    conduct the same at every voltage.
    """

    capabilities = Capability.FORM | Capability.PULSE | Capability.READ | Capability.READ_VOLTAGE
    limits = PulseLimits()
    chip_serial = "scripted"
    sequence = 1
    dac = Scale(5 / 65536, 0.0, 16, "V")
    adc = Scale(5e-9, -2.5e-6, 14, "S")

    def __init__(
        self,
        cells: int,
        start: float,
        react: Callable[[np.ndarray, PulseBatch], np.ndarray],
        show: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        relax: Callable[[np.ndarray, float], np.ndarray] | None = None,
    ) -> None:
        self.geometry = Geometry(1, cells, "scripted")
        self.conductance = np.full(cells, start)
        self.pulses = np.zeros(cells, int)
        self.clock = SteppedClock()
        self._react, self._show, self._relax = react, show, relax
        self._touched = self.clock.now()
        self._rng = np.random.default_rng(5)

    def pulse(self, *batches: PulseBatch) -> None:
        for batch in batches:
            self.pulses[batch.cells] += 1
            self.conductance[batch.cells] = self._react(self.conductance[batch.cells], batch)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        self.pulse(*batches)
        return tuple(self.read(batch.cells) for batch in batches)

    def read(self, cells: np.ndarray | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        passed, self._touched = self.clock.now() - self._touched, self.clock.now()
        if self._relax is not None:
            self.conductance = self._relax(self.conductance, passed)
        cells = np.arange(self.geometry.cells, dtype=np.uint32) if cells is None else cells
        shown = np.tile(self.conductance[cells], (repeats, 1))
        if self._show is not None:
            shown = self._show(shown, self._rng)
        scale = self.adc if voltage is None else scale_at(self.adc, 0.2 / voltage)
        codes = np.rint((shown - scale.offset) / scale.step).clip(0, scale.top).astype(np.uint16)
        return Readout(cells, codes, scale, self.clock.now(), 0.0)


def scale_at(scale: Scale, factor: float) -> Scale:
    """`scale` of a converter whose codes mean `factor` times as much."""
    return replace(scale, step=scale.step * factor, offset=scale.offset * factor)
