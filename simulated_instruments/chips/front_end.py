"""Between a macro's codes and its cells: what a pulse's code becomes at the cell, and a cell's current in the ADC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..cells.arena import Arena
from ..cells.hashing import NoiseKey, standard_normal
from ..cells.model import Selection, Voltage
from .converters import Converter, Faults, LineConverters
from .lines import Lines, divided
from .periphery import Periphery

ROOM_TEMPERATURE = 300.0  # K

Float32 = NDArray[np.float32]


class FrontEnd:
    """The lines, converters and amplifiers of the chip `serial`: those of its columns work on single cells.

    dac: of a line. cell_adc, line_adc: the ADC of a line, when it reads single cells and when it reads all of them;
    on which range does not matter.
    """

    def __init__(
        self,
        serial: str,
        periphery: Periphery,
        shape: tuple[int, int],
        dac: Converter,
        cell_adc: Converter,
        line_adc: Converter,
    ) -> None:
        p = self.periphery = periphery
        rows, cols = shape
        self._rows, self._cols = rows, cols
        self.lines = Lines(p.bit_line_resistance, p.source_line_resistance, p.switch_resistance)
        self._series = self.lines.series(rows, cols) if self.lines else None
        adcs = Faults(p.adc_offset_spread, p.adc_gain_spread, p.adc_bow_spread, p.adc_skew_spread)
        dacs = Faults(p.dac_offset_spread, p.dac_gain_spread, p.dac_bow_spread, p.dac_skew_spread)
        self._cell_adcs = LineConverters.draw(serial, "adc of columns", cols, cell_adc, adcs)
        self._column_adcs = LineConverters.draw(serial, "adc of columns", cols, line_adc, adcs)
        self._row_adcs = LineConverters.draw(serial, "adc of rows", rows, line_adc, adcs)
        self._column_dacs = LineConverters.draw(serial, "dac of columns", cols, dac, dacs)
        self._row_dacs = LineConverters.draw(serial, "dac of rows", rows, dac, dacs)
        self._offset = p.amplifier_offset + p.amplifier_offset_spread * _of_chip(serial, "amplifier offset")
        self._drift = p.amplifier_drift_spread * _of_chip(serial, "amplifier drift")

    def offset(self, temperature: float) -> float:
        """A that the amplifier adds to every current."""
        return self._offset + self._drift * (temperature - ROOM_TEMPERATURE)

    def at_cells(
        self, codes: NDArray[np.uint16] | np.uint16, dac: Converter, where: Selection, conductance: Float32
    ) -> Voltage:
        """V that pulses of `codes` have at the transistors of the cells: (n,), or one for all where lines are ideal.

        What the lines drop goes by the conductance (cells,) that each had before its pulse.
        """
        if self._column_dacs is None and self._series is None:
            volts = np.empty((), np.float32) if np.ndim(codes) == 0 else where.arena.float32(len(where))
            np.copyto(volts, codes)
            return dac.values(volts)[()]
        volts = where.arena.float32(len(where))
        np.copyto(volts, codes)
        mark = where.arena.mark()
        if self._column_dacs is not None:
            self._column_dacs.bend(volts, self._columns(where), where.arena)
            np.maximum(volts, np.float32(0), out=volts)
        dac.values(volts)
        self.reaching(volts, where, conductance)
        where.arena.release(mark)
        return volts

    def digitise(
        self, conductance: Float32, adc: Converter, volts: float, temperature: float, where: Selection
    ) -> Float32:
        """ADC codes of cells that show `conductance` (n,) at `volts`, in place and still as float32."""
        mark = where.arena.mark()
        self.between_lines(conductance, temperature, where)
        conductance *= np.float32(volts)
        if offset := self.offset(temperature):
            conductance += np.float32(offset)
        positions = adc.positions(conductance)
        if self._cell_adcs is not None:
            self._cell_adcs.bend(positions, self._columns(where), where.arena)
        where.arena.release(mark)
        return adc.codes(positions)

    def between_lines(self, conductance: Float32, temperature: float, where: Selection) -> None:
        """What the ends of a cell's two lines show of cells that show `conductance` (n,), in place."""
        if temperature != ROOM_TEMPERATURE:
            conductance *= self.temperature_factor(conductance, temperature)
        self._drop(conductance, conductance, where)

    def reaching(self, volts: Float32, where: Selection, conductance: Float32) -> None:
        """What of `volts` (n,) between the ends of their lines reaches the transistors of the cells, in place.

        What the lines drop goes by the conductance (cells,) that each had before its pulse.
        """
        self._drop(volts, where.take(conductance), where)

    def driven(self, volts: Float32, dac: Converter, transpose: bool) -> Float32:
        """V on the lines for wanted ones, (n, lines): gain and offset of each line's DAC around 0 V."""
        if (self._column_dacs if transpose else self._row_dacs) is None:
            return volts
        gain, resting = self.line_drivers(dac, transpose)
        driven: Float32 = volts * gain
        driven += resting
        return driven

    def line_drivers(self, dac: Converter, transpose: bool) -> tuple[Float32, Float32]:
        """Gain of each line's DAC around 0 V, and the V it gives for 0 V: (lines,) each, as in `driven`."""
        dacs, lines = (self._column_dacs, self._cols) if transpose else (self._row_dacs, self._rows)
        if dacs is None:
            return np.ones(lines, np.float32), np.zeros(lines, np.float32)
        offset, gain, *_ = dacs.coefficients
        return gain, offset * np.float32(dac.step)

    def digitise_lines(self, currents: Float32, adc: Converter, temperature: float, transpose: bool) -> Float32:
        """ADC codes of currents (n, lines), in place and still as float32."""
        currents += np.float32(self.offset(temperature))
        positions = adc.positions(currents)
        adcs = self.line_converters(transpose)
        if adcs is not None:
            adcs.bend_rows(positions)
        return adc.codes(positions)

    def line_converters(self, transpose: bool) -> LineConverters | None:
        """The converters of columns that see all rows at once, or the other way round; None where they are ideal."""
        return self._row_adcs if transpose else self._column_adcs

    def temperature_factor(self, conductance: Float32, temperature: float) -> Float32:
        """1 + c(G) (T - 300 K), at least 0, c from that of a hopping to that of a metallic filament.

        c = high + (low - high) / (1 + G / level). What a read shows; no cell changes by it.
        """
        p, warmer = self.periphery, temperature - ROOM_TEMPERATURE
        if p.low_conductance_coefficient == p.high_conductance_coefficient or not p.coefficient_level:
            return np.full_like(conductance, max(1 + warmer * p.high_conductance_coefficient, 0.0))
        factor: Float32 = np.maximum(conductance, np.float32(0))
        factor *= np.float32(1 / p.coefficient_level)
        factor += np.float32(1)
        span = p.low_conductance_coefficient - p.high_conductance_coefficient
        np.divide(np.float32(warmer * span), factor, out=factor)
        factor += np.float32(1 + warmer * p.high_conductance_coefficient)
        return np.maximum(factor, np.float32(0), out=factor)

    def _drop(self, values: Float32, conductance: Float32, where: Selection) -> None:
        """What the lines leave of `values`, in place."""
        if self._series is not None:
            divided(values, conductance, where.take(self._series), where.arena.float32(len(where)))

    def _columns(self, where: Selection) -> NDArray[np.intp] | None:
        """The column of each cell; None where they are whole rows."""
        count = len(where)
        if isinstance(where.index, slice) and where.index.start % self._cols == 0 and count % self._cols == 0:
            return None
        rows, columns = where.arena.uint32(count), where.arena.intp(count)
        np.floor_divide(where.cells, np.uint32(self._cols), out=rows)
        rows *= np.uint32(self._cols)
        np.subtract(where.cells, rows, out=rows)
        np.copyto(columns, rows)
        return columns


def _of_chip(serial: str, fault: str) -> float:
    """A standard normal of the chip as a whole."""
    return float(
        standard_normal(NoiseKey.of(serial, f"chip: {fault}"), np.zeros(1, np.uint32), np.uint32(0), Arena(1))[0]
    )
