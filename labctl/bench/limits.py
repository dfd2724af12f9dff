"""The three layers of limits (instrument, bench, cells), checked on a whole batch before a byte is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from labctl.array import Geometry, Operation, PulseBatch, PulseLimits, Scale
from labctl.errors import LimitError
from labctl.steps import Cost
from labctl.units import format_quantity


def tightest(layers: Mapping[str, PulseLimits]) -> PulseLimits:
    """The strictest of every limit over all layers."""
    merged = {}
    for each in fields(PulseLimits):
        values = [value for layer in layers.values() if (value := getattr(layer, each.name)) is not None]
        strictest = max if each.name.startswith("min_") else min
        merged[each.name] = strictest(values) if values else None
    return PulseLimits(**merged)


class LimitGuard:
    """Refuses what would exceed a limit, naming the layer that says so; counts pulses and dose per cell."""

    def __init__(self, layers: Mapping[str, PulseLimits], geometry: Geometry, dac: Scale) -> None:
        self.layers = layers
        self.limits = tightest(layers)
        self._geometry = geometry
        self._dac = dac
        self._pulses = np.zeros(geometry.cells, np.uint32) if self.limits.max_pulses is not None else None
        self._dose = np.zeros(geometry.cells, np.float32) if self.limits.max_dose is not None else None

    def check_plan(self, cost: Cost) -> None:
        """Raises LimitError if a protocol's peak amplitudes, widths or gates would breach a limit."""
        for operation, amplitude in cost.amplitudes.items():
            self._check_shape(operation, amplitude, cost.widths[operation], cost.gates[operation])

    def check(self, batches: tuple[PulseBatch, ...]) -> None:
        """Raises LimitError before anything is sent; else the batches count as applied."""
        for batch in batches:
            if not len(batch.cells):
                continue
            peak = float(self._dac.values(batch.amplitude.max()))
            self._check_shape(batch.operation, peak, batch.width, batch.gate)
            self._check_cells(batch)
        for batch in batches:
            self._count(batch)

    def _check_shape(self, operation: Operation, amplitude: float, width: float, gate: float) -> None:
        name = f"max_{operation.name.lower()}_voltage"
        self._check_most(name, f"{operation.name} pulse of", amplitude, self.limits.max_voltage(operation), "V")
        self._check_most("max_gate_voltage", f"{operation.name} gate of", gate, self.limits.max_gate_voltage, "V")
        self._check_most("max_width", f"{operation.name} width of", width, self.limits.max_width, "s")
        least = self.limits.min_width
        if least is not None and width < least * (1 - 1e-9):
            raise LimitError(
                f"a {operation.name} width of {format_quantity(width, 's')} is below {self._owner('min_width', least)} "
                f"min_width of {format_quantity(least, 's')}; nothing was sent"
            )

    def _check_most(self, name: str, what: str, value: float, most: float | None, unit: str) -> None:
        tolerance = self._dac.step if unit == "V" else (most or 0.0) * 1e-9
        if most is not None and value > most + tolerance:
            raise LimitError(
                f"a {what} {format_quantity(value, unit)} is above {self._owner(name, most)} {name} of "
                f"{format_quantity(most, unit)}; nothing was sent"
            )

    def _check_cells(self, batch: PulseBatch) -> None:
        if self._pulses is not None:
            self._refuse_cells(batch, self._pulses[batch.cells] + 1 > self.limits.max_pulses, "max_pulses")
        if self._dose is not None:
            dose = self._dose[batch.cells] + self._dac.values(batch.amplitude) * np.float32(batch.width)
            self._refuse_cells(batch, dose > self.limits.max_dose, "max_dose")

    def _refuse_cells(self, batch: PulseBatch, over: np.ndarray, name: str) -> None:
        if over.any():
            row, col = divmod(int(batch.cells[int(over.argmax())]), self._geometry.cols)
            most = getattr(self.limits, name)
            raise LimitError(
                f"another {batch.operation.name} pulse on the cell at row {row}, column {col} (and {int(over.sum()) - 1} "
                f"more) would exceed {self._owner(name, most)} {name} of {most:g}; nothing was sent"
            )

    def _count(self, batch: PulseBatch) -> None:
        if self._pulses is not None:
            self._pulses[batch.cells] += 1
        if self._dose is not None:
            self._dose[batch.cells] += self._dac.values(batch.amplitude) * np.float32(batch.width)

    def _owner(self, name: str, value: float) -> str:
        owner = next(layer for layer, limits in self.layers.items() if getattr(limits, name) == value)
        return f"the {owner}'s"
