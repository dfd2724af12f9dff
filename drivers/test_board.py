"""Driver of the memory-array test board (`docs/board-commands.md`): one message a step, whatever the array's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import (
    BitProducts,
    Capability,
    Geometry,
    LineCurrents,
    LineProduct,
    Operation,
    PulseBatch,
    PulseLimits,
    Scale,
    Window,
)
from labctl.bench.clock import wall_clock
from labctl.bench.settings import VisaSettings
from labctl.drivers.bench_clock import scpi_clock
from labctl.drivers.bit_products import BitsWork, bits_works, joined_sums
from labctl.drivers.exactly_once import Done, LastWork, Work
from labctl.drivers.line_products import LineChecks, LinesWork, in_messages, joined_currents, lines_works
from labctl.drivers.numbered_board import (
    MultiplyWork,
    NumberedBoard,
    PulseWork,
    ReadWork,
    check_keys,
    mask_of,
)
from labctl.drivers.scpi_work import MessageParts, ScpiWork, exact, numbers
from labctl.errors import InstrumentError
from labctl.links.resources import ResourceManagers
from labctl.units import Ampere, Kelvin, Volt

_KEYWORDS = {Operation.FORM: "FORM", Operation.SET: "SET", Operation.RESET: "RESet"}
_SETTINGS = (
    ":SENSe:VOLTage",
    ":SENSe:CURRent:RANGe",
    ":SENSe:TEMPerature",
    ":OUTPut:STATe",
    ":FORMat:DATA",
    ":FORMat:BORDer",
    ":SYSTem:TIME:VIRTual",
)


class TestBoardSettings(VisaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of its own are explained by `BoardKeys`."""

    rows: int = 512
    cols: int = 512
    read_voltage: Volt = Volt(0.2)
    current_range: Ampere = Ampere(16e-6)
    temperature: Kelvin | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keys(self)


class TestBoard(ScpiWork, NumberedBoard):
    """The test board as a MemoryArray."""

    __test__ = False  # the word is the instrument's, not pytest's
    Settings = TestBoardSettings
    capabilities = NumberedBoard.capabilities | Capability.MULTIPLY_BITS | Capability.MULTIPLY_LINES
    setting_headers = _SETTINGS
    last_work_query = ":PULSe:SEQuence?;:FETCh:WORK?"

    def __init__(self, settings: TestBoardSettings, managers: ResourceManagers | None = None) -> None:
        super().__init__(settings, managers)
        self._at_base = True  # no read at another voltage is under way or of unknown fate
        self._product_scales: dict[str, Scale] = {}  # asked for so far, by question
        self._line_scales: dict[tuple[float, int, bool], Scale] = {}

    # -- life ---------------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        settings = self.settings
        self.link.exchange(
            "*CLS;*RST;:FORMat:BORDer SWAPped;:FORMat:DATA REAL,32"
            f";:SENSe:VOLTage {exact(settings.read_voltage)};:SENSe:CURRent:RANGe {exact(settings.current_range)}"
            + ("" if settings.temperature is None else f";:SOURce:TEMPerature {exact(settings.temperature)}")
        )

    def _learn(self) -> None:
        answers = self.link.exchange(
            ":ARRay:GEOMetry?;CELL?;SERial?;:SOURce:DAC:SCALe?;:SENSe:ADC:SCALe?;:ARRay:TIMing?;:SOURce:LIMit?"
            ";:SYSTem:TIME:VIRTual?;:SENSe:VOLTage?;VOLTage? MIN;VOLTage? MAX;:PULSe:SEQuence?;:FETCh:WORK?"
        )
        try:
            shape, cell, serial, dac, adc, timing, limits, virtual, *read_voltages, sequence, work = answers
            rows, cols = (int(word) for word in shape.split(","))
            self.geometry = Geometry(rows, cols, cell.strip('"'))
            self.chip_serial = serial.strip('"')
            self.dac, self.adc = _scale(dac, "V"), _scale(adc, "S")
            self._pulse_time, self._read_time = numbers(timing)
            form, set_, reset, gate, shortest, longest = numbers(limits)
            self._base_voltage, lowest, highest = (float(each) for each in read_voltages)
            self.limits = PulseLimits(
                form, set_, reset, gate, shortest, longest, min_read_voltage=lowest, max_read_voltage=highest
            )
            self.clock = scpi_clock(self.link) if int(virtual) else wall_clock(self.link.recorded_time)
            self._learned(self._last_work([sequence, work]))
            self._at_base = True
            self._product_scales.clear()
            self._line_scales.clear()
            self._line_checks = LineChecks(self.geometry)
        except (ValueError, AttributeError) as problem:
            raise InstrumentError(
                f"{self.settings.resource_name}: {self.link.idn} does not answer as a test board does: {problem}"
            ) from None
        self._check_shape(rows, cols)

    # -- work ---------------------------------------------------------------------------------------------------

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        """In one message or several, each of a sensible length."""
        works = bits_works(codes, window, bits, voltage, full_scale, self.geometry, self._read_time)
        scale = self._product_scale(f":MULTiply:BITS:SCALe? {exact(full_scale)}")
        done = [each for work in works for each in self._do([work])]
        sums, saturated = joined_sums(works, done)
        return BitProducts(sums, scale, bits, saturated, done[-1].ended)

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        """In one message, or in several, each of a sensible length, the pulses in the first of them."""
        parts = [lines_works(each, self._line_checks, self.geometry.cells, self._read_time) for each in products]
        if not pulses:
            return self._line_currents(products, parts, [])
        batches = self._batch_works(pulses, verify=False)[1]
        with self._telling_fate(batches):
            return self._line_currents(products, parts, [work for works in batches for work in works])

    def _line_currents(
        self, products: Sequence[LineProduct], parts: Sequence[Sequence[LinesWork]], first: Sequence[PulseWork]
    ) -> tuple[LineCurrents, ...]:
        """What `products` give, each made `parts`; `first` is done before them."""
        scales = [self._line_scale(each.full_scale, each.bits, each.backward) for each in products]
        messages = in_messages(first, [work for works in parts for work in works])
        done = iter([each for works in messages for each in self._do(works)][len(first) :])
        return tuple(
            joined_currents(works, [next(done) for _ in works], scale)
            for works, scale in zip(parts, scales, strict=True)
        )

    def _line_scale(self, full_scale: float, bits: int, backward: bool) -> Scale:
        """Signed code -> A; those of a backward product are differences."""
        key = full_scale, bits, backward
        if key not in self._line_scales:
            scale = self._product_scale(f":MULTiply:LINes:SCALe? {exact(full_scale)},{bits}")
            self._line_scales[key] = replace(scale, offset=0.0) if backward else scale
        return self._line_scales[key]

    def _product_scale(self, question: str) -> Scale:
        """Code -> A of a product, on the smallest range that holds a full scale; asked for once."""
        if question not in self._product_scales:
            answer = self._asked(lambda: self.link.query(question))
            try:
                self._product_scales[question] = _scale(answer, "A")
            except ValueError:
                raise InstrumentError(
                    f"{self.settings.resource_name}: the board answered {answer[:60]} where the scale of a product was "
                    "expected"
                ) from None
        return self._product_scales[question]

    def _perform(self, works: Sequence[Work]) -> Iterator[Done]:
        """All of it in one message, and then it is all done."""
        pulses = any(isinstance(work, PulseWork) for work in works)
        begin, number = f":FETCh:NEXT {self._work + 1};", self._sequence
        parts: MessageParts = []
        if not self._at_base:
            begin += f":SENSe:VOLTage {exact(self._base_voltage)};"
        if pulses and not self._armed:
            begin += ":OUTPut:STATe ON;"
        for work in works:
            number += isinstance(work, PulseWork)
            parts += [begin, *self._message(work, number)] if begin else self._message(work, number)
            begin = ""
        self._at_base = not any(isinstance(work, ReadWork) and work.voltage is not None for work in works)
        done = self._work_done(parts, works)
        self._at_base = True
        self._armed = self._armed or pulses
        return iter(done)

    def _message(self, work: Work, number: int) -> MessageParts:
        """The work as one command: it carries everything, so nothing can be half set."""
        if isinstance(work, PulseWork):
            return self._pulse_message(work.batch, number, work.verify)
        if isinstance(work, MultiplyWork):
            return [":MULTiply:TRANspose? " if work.transpose else ":MULTiply? ", work.inputs, ";"]
        if isinstance(work, BitsWork):
            where = work.window
            head = f":MULTiply:BITS? {work.bits},{exact(work.voltage)},{exact(work.full_scale)},"
            return [head, where.plus, ",", where.minus, ",", where.cols, ",", work.codes, ";"]
        if isinstance(work, LinesWork):
            return self._lines_message(work)
        assert isinstance(work, ReadWork)
        read: MessageParts = [f":READ:INDexed? {work.repeats},", work.cells] if work.cells is not None else []
        if work.cells is None:
            read = [f":READ:REGion? 0,0,{self.geometry.rows},{self.geometry.cols},{work.repeats}"]
        if work.voltage is None:
            return [*read, ";"]
        base = f";:SENSe:VOLTage {exact(self._base_voltage)};"
        return [f":SENSe:VOLTage {exact(work.voltage)};", *read, base]

    def _lines_message(self, work: LinesWork) -> MessageParts:
        product, where = work.product, work.window
        shape = product.backward, where.on_columns, product.bits, product.voltage, product.full_scale
        return [_lines_head(*shape, where.inputs, where.outputs), where.words + work.vectors.tobytes(), ";"]

    def _pulse_message(self, batch: PulseBatch, number: int, verify: bool) -> MessageParts:
        query = "?" if verify else ""
        shape = f"{number},{_KEYWORDS[batch.operation]},{exact(batch.width)},{exact(batch.gate)},"
        where: MessageParts = []
        if len(batch.cells) == self.geometry.cells:
            form = "ALL"
        else:
            mask = mask_of(batch.cells, self.geometry.cells)
            form, where = ("INDexed", [batch.cells, ","]) if mask is None else ("MASKed", [mask, ","])
        return [f":PULSe:{'VERify' if verify else 'APPLy'}:{form}{query} {shape}", *where, batch.amplitude, ";"]

    def _last_work(self, answer: Sequence[Any]) -> LastWork:
        sequence, work = answer
        return replace(super()._last_work([work]), sequence=int(sequence))


@lru_cache
def _lines_head(
    backward: bool, on_columns: bool, bits: int, voltage: float, full_scale: float, inputs: int, outputs: int
) -> str:
    way, on = "BACKward" if backward else "FORWard", "COLumns" if on_columns else "ROWs"
    return f":MULTiply:LINes? {way},{on},{bits},{exact(voltage)},{exact(full_scale)},{inputs},{outputs},"


def _scale(answer: str, unit: str) -> Scale:
    step, offset, bits = numbers(answer)
    return Scale(step, offset, int(bits), unit)
