"""The three layers of limits (instrument, bench, cells), checked on a whole batch before a byte is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry, Operation, PulseBatch, PulseLimits, Scale
from labctl.errors import LimitError
from labctl.steps import Cost
from labctl.units import format_quantity

_ROUNDING = 1e-9  # relative: what a width or a sum loses on its way through floats and text


def tightest(layers: Mapping[str, PulseLimits]) -> PulseLimits:
    """The strictest of every limit over all layers."""
    merged = {}
    for each in fields(PulseLimits):
        values = [value for layer in layers.values() if (value := getattr(layer, each.name)) is not None]
        strictest = max if each.name.startswith("min_") else min
        merged[each.name] = strictest(values) if values else None
    return PulseLimits(**merged)


class CellCounts:
    """Pulses and dose, V s, of each cell since its instrument was connected; counted once something limits them."""

    def __init__(self) -> None:
        self.pulses: NDArray[np.uint32] | None = None
        self.dose: NDArray[np.float64] | None = None

    def begin(self, cells: int, *, pulses: bool, dose: bool) -> None:
        """Count from now on what is asked for; what is counted already goes on."""
        if pulses and self.pulses is None:
            self.pulses = np.zeros(cells, np.uint32)
        if dose and self.dose is None:
            self.dose = np.zeros(cells, np.float64)


class LimitGuard:
    """Refuses what would exceed a limit, naming the layer that says so; counts pulses and dose per cell.

    counts: shared by the guards of all arrays on one instrument, whose cells they are.
    """

    def __init__(
        self, layers: Mapping[str, PulseLimits], geometry: Geometry, dac: Scale, counts: CellCounts | None = None
    ) -> None:
        self.layers = layers
        self.limits = tightest(layers)
        self._geometry = geometry
        self._dac = dac
        self._counts = counts or CellCounts()
        self._counts.begin(
            geometry.cells, pulses=self.limits.max_pulses is not None, dose=self.limits.max_dose is not None
        )

    def check_plan(self, cost: Cost) -> None:
        """Raises LimitError if a protocol's peak amplitudes, widths, gates or read voltages would breach a limit."""
        for operation, amplitude in cost.amplitudes.items():
            self._check_shape(operation, amplitude, cost.widths[operation], cost.gates[operation])
        for voltage in cost.read_voltages:
            self.check_read(voltage)

    def check_read(self, voltage: float | None) -> None:
        """Raises LimitError for a read at a `voltage` of choice, V, beyond a limit. None: the array's own voltage."""
        if voltage is not None:
            self._check_most("max_read_voltage", "read voltage of", voltage, self.limits.max_read_voltage, "V")
            self._check_least("min_read_voltage", "read voltage of", voltage, self.limits.min_read_voltage, "V")

    def check_multiply(self, inputs: NDArray[np.float32]) -> None:
        """Raises LimitError where one of `inputs`, V, is beyond what cells may be read at, either way round."""
        self._check_multiply_at(float(np.abs(inputs).max(initial=0.0)))

    def check_multiply_bits(self, voltage: float) -> None:
        """Raises LimitError where `voltage`, V, of rows either way round, is beyond what cells may be read at."""
        self._check_multiply_at(abs(voltage))

    def _check_multiply_at(self, largest: float) -> None:
        most = self.limits.max_read_voltage
        within = float(np.finfo(np.float32).eps) * (most or 0.0)  # the input nearest to the limit is within it
        self._check_most("max_read_voltage", "multiplication at", largest, most, "V", within)

    def check(self, batches: tuple[PulseBatch, ...]) -> None:
        """Raises LimitError before anything is sent; else the batches count as applied.

        A later batch on the same cells is checked as what it will be, one more pulse. Raises ValueError for a batch
        that is none: cells that are not on the array or not strictly increasing, not one amplitude a cell.
        """
        for batch in batches:
            self._check_batch(batch)
        counted: list[tuple[NDArray[np.uint32] | None, NDArray[np.float64] | None]] = []
        try:
            for batch in batches:
                self._check_cells(batch)
                counted.append(self._count(batch))
        except LimitError:
            for batch, before in zip(reversed(batches[: len(counted)]), reversed(counted), strict=True):
                self._restore(batch, *before)
            raise

    def count(self, *batches: PulseBatch) -> None:
        """Pulses that the cells have had already, as a resumed run's, whatever the limits say of them."""
        for batch in batches:
            self._count(batch)

    def _check_batch(self, batch: PulseBatch) -> None:
        cells, count = batch.cells, len(batch.cells)
        if len(batch.amplitude) != count:
            raise ValueError(f"{len(batch.amplitude)} amplitudes for {count} cells")
        if not count:
            return
        if not (np.all(cells[1:] > cells[:-1]) and cells[0] >= 0 and cells[-1] < self._geometry.cells):
            raise ValueError(f"cells must be strictly increasing and between 0 and {self._geometry.cells - 1}")
        peak = self._dac.offset + self._dac.step * int(batch.amplitude.max())
        self._check_shape(batch.operation, peak, batch.width, batch.gate)

    def _check_shape(self, operation: Operation, amplitude: float, width: float, gate: float) -> None:
        name = f"max_{operation.name.lower()}_voltage"
        within = self._dac.step * (0.5 + 1e-6)  # the code nearest to the limit is within it
        self._check_most(name, f"{operation.name} pulse of", amplitude, self.limits.max_voltage(operation), "V", within)
        self._check_most("max_gate_voltage", f"{operation.name} gate of", gate, self.limits.max_gate_voltage, "V")
        self._check_most("max_width", f"{operation.name} width of", width, self.limits.max_width, "s")
        self._check_least("min_width", f"{operation.name} width of", width, self.limits.min_width, "s")

    def _check_least(self, name: str, what: str, value: float, least: float | None, unit: str) -> None:
        if least is not None and not value >= least * (1 - _ROUNDING):
            shown, limit = _apart(value, least, unit)
            raise LimitError(
                f"a {what} {shown} is below {self._owner(name, least)} {name} of {limit}; nothing was sent"
            )

    def _check_most(
        self, name: str, what: str, value: float, most: float | None, unit: str, within: float = 0.0
    ) -> None:
        if most is not None and not value <= most * (1 + _ROUNDING) + within:  # which a NaN is not either
            shown, limit = _apart(value, most, unit)
            raise LimitError(f"a {what} {shown} is above {self._owner(name, most)} {name} of {limit}; nothing was sent")

    def _check_cells(self, batch: PulseBatch) -> None:
        if self._counts.pulses is not None and self.limits.max_pulses is not None:
            self._refuse_cells(batch, self._counts.pulses[batch.cells] + 1 > self.limits.max_pulses, "max_pulses")
        if self._counts.dose is not None and self.limits.max_dose is not None:
            dose = self._counts.dose[batch.cells] + self._doses(batch)
            self._refuse_cells(batch, dose > self.limits.max_dose * (1 + _ROUNDING), "max_dose")

    def _refuse_cells(self, batch: PulseBatch, over: NDArray[np.bool_], name: str) -> None:
        if over.any():
            row, col = divmod(int(batch.cells[int(over.argmax())]), self._geometry.cols)
            most = getattr(self.limits, name)
            others = f" (and {int(over.sum()) - 1} more)" if over.sum() > 1 else ""
            raise LimitError(
                f"another {batch.operation.name} pulse on the cell at row {row}, column {col}{others} "
                f"would exceed {self._owner(name, most)} {name} of {most:g}; nothing was sent"
            )

    def _doses(self, batch: PulseBatch) -> NDArray[np.float64]:
        """V s each cell gets."""
        return self._dac.values(batch.amplitude).astype(np.float64) * batch.width

    def _count(self, batch: PulseBatch) -> tuple[NDArray[np.uint32] | None, NDArray[np.float64] | None]:
        """The batch counts as applied; returns what the counters of its cells were."""
        pulses = dose = None
        if self._counts.pulses is not None:
            pulses = self._counts.pulses[batch.cells]
            self._counts.pulses[batch.cells] = pulses + np.uint32(1)
        if self._counts.dose is not None:
            dose = self._counts.dose[batch.cells]
            self._counts.dose[batch.cells] = dose + self._doses(batch)
        return pulses, dose

    def _restore(self, batch: PulseBatch, pulses: NDArray[np.uint32] | None, dose: NDArray[np.float64] | None) -> None:
        if self._counts.pulses is not None and pulses is not None:
            self._counts.pulses[batch.cells] = pulses
        if self._counts.dose is not None and dose is not None:
            self._counts.dose[batch.cells] = dose

    def _owner(self, name: str, value: float) -> str:
        owner = next(layer for layer, limits in self.layers.items() if getattr(limits, name) == value)
        return f"the {owner}'s"


def _apart(value: float, limit: float, unit: str) -> tuple[str, str]:
    """Both as text, with as many digits as it takes to tell them apart."""
    return next(
        pair
        for digits in (4, 9, 17)
        if (pair := (format_quantity(value, unit, digits), format_quantity(limit, unit, digits)))[0] != pair[1]
    )
