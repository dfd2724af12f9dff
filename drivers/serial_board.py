"""Driver of the memory-array test board on a serial port (`docs/board-frames.md`): a frame a batch, read or product."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from labctl.array import (
    BitProducts,
    Cells,
    Geometry,
    LineCurrents,
    LineProduct,
    PulseBatch,
    PulseLimits,
    Scale,
    Window,
)
from labctl.bench.clock import wall_clock
from labctl.bench.settings import SerialSettings
from labctl.drivers.bench_clock import BoardClock
from labctl.drivers.exactly_once import Done, LastWork, Work
from labctl.drivers.numbered_board import (
    MultiplyWork,
    NumberedBoard,
    PulseWork,
    ReadWork,
    check_keys,
    mask_of,
)
from labctl.errors import InstrumentError
from labctl.links.blocks import Buffer
from labctl.links.board_frames import (
    Advance,
    Configure,
    Configured,
    Fetch,
    Kind,
    Last,
    Multiply,
    Output,
    Pulse,
    Read,
    State,
    Time,
    Timed,
    Where,
)
from labctl.links.resources import ResourceManagers
from labctl.links.serial import SerialLink
from labctl.units import Ampere, Kelvin, Volt

_Payload = TypeVar("_Payload", Configured, State, Last, Time)


class SerialBoardSettings(SerialSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of its own are explained by `BoardKeys`."""

    rows: int = 512
    cols: int = 512
    read_voltage: Volt = Volt(0.2)
    current_range: Ampere = Ampere(16e-6)
    temperature: Kelvin | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keys(self)


class SerialBoard(NumberedBoard):
    """The serial test board as a MemoryArray."""

    Settings = SerialBoardSettings
    link: SerialLink

    def __init__(self, settings: SerialBoardSettings, managers: ResourceManagers | None = None) -> None:
        super().__init__(settings)
        self.link = SerialLink(
            settings.resource_name,
            serial_library=settings.serial_library,
            baud_rate=settings.baud_rate,
            timeout_s=settings.timeout,
            managers=managers,
            after_fault=self._restore,
        )

    # -- life ---------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        settings, hello = self.settings, self.link.hello
        temperature = math.nan if settings.temperature is None else float(settings.temperature)
        configured = self._asked(lambda: self._configure(temperature, self.link.timeout_s))
        self.geometry = Geometry(hello.rows, hello.cols, hello.cell_kind)
        self.chip_serial = hello.chip_serial
        self.max_payload = hello.max_payload
        self.dac = Scale(hello.dac_step, hello.dac_offset, hello.dac_bits, "V")
        self.adc = Scale(configured.adc_step, configured.adc_offset, configured.adc_bits, "S")
        self.limits = PulseLimits(
            hello.max_form,
            hello.max_set,
            hello.max_reset,
            hello.max_gate,
            hello.min_width,
            hello.max_width,
            min_read_voltage=hello.min_read_voltage,
            max_read_voltage=hello.max_read_voltage,
        )
        self._pulse_time, self._read_time = hello.pulse_time, hello.read_time
        self._base_voltage = configured.read_voltage
        wall = wall_clock(self.link.recorded_time)
        self.clock = BoardClock(self._ask_time, self._advance) if hello.is_clock_virtual else wall
        self._learned(self._asked(self._ask_last))
        self._check_shape(hello.rows, hello.cols)

    def _configure(self, temperature: float, timeout_s: float) -> Configured:
        """Give the board its settings; NaN leaves the temperature as it is. Doing it twice is doing it once."""
        wanted = Configure(float(self.settings.read_voltage), float(self.settings.current_range), temperature)
        return self._unpacked(Configured, self._request(Kind.CONFIGURE, *wanted.pack(), timeout_s=timeout_s))

    def _restore(self, within_s: float) -> None:
        """In a new session the board has its first settings, outputs off."""
        self._armed = False
        self._configure(math.nan, within_s)

    def _settings_now(self) -> Mapping[str, Any]:
        state = self._unpacked(State, self._request(Kind.STATE))
        return {
            "read_voltage": state.read_voltage,
            "current_range": state.current_range,
            "temperature": state.temperature,
            "output": state.output,
            "virtual_time": self.link.hello.is_clock_virtual,
        }

    def _make_safe(self, timeout_s: float) -> None:
        self._request(Kind.OUTPUT, *Output(False).pack(), timeout_s=timeout_s)

    # -- work ---------------------------------------------------------------------------------------------------

    def _perform(self, works: Sequence[Work]) -> Iterator[Done]:
        for work in works:
            if isinstance(work, PulseWork) and not self._armed:
                self._request(Kind.OUTPUT, *Output(True).pack())
                self._armed = True
            kind, payload = self._payload(work)
            yield self._done(work, self._request(kind, *payload, work_s=2.0 * work.duration))

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        raise NotImplementedError  # not among the capabilities, so no protocol gets here

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        raise NotImplementedError  # nor this

    def _payload(self, work: Work) -> tuple[Kind, tuple[Buffer, ...]]:
        if isinstance(work, PulseWork):
            return Kind.PULSE, self._pulse_payload(work.batch, work.verify).pack()
        if isinstance(work, MultiplyWork):
            return Kind.MULTIPLY, Multiply(work.transpose, work.inputs).pack()
        assert isinstance(work, ReadWork)
        voltage = math.nan if work.voltage is None else float(work.voltage)
        return Kind.READ, Read(work.repeats, voltage, work.cells).pack()

    def _pulse_payload(self, batch: PulseBatch, verify: bool) -> Pulse:
        where, listed = _addressed(batch.cells, self.geometry.cells)
        operation = int(batch.operation)
        return Pulse(self._sequence + 1, operation, verify, where, batch.width, batch.gate, listed, batch.amplitude)

    def _done(self, work: Work, payload: memoryview) -> Done:
        try:
            answer = Timed.unpack(payload, work.dtype, work.values)
        except ValueError as problem:
            raise self._misread(problem) from None
        return Done(answer.values, answer.time)

    def _ask_last(self) -> LastWork:
        last = self._unpacked(Last, self._request(Kind.LAST))
        return LastWork(last.number, last.sequence, (last.ended,) if last.number else ())

    def _fetch(self, first: int, works: Sequence[Work]) -> list[NDArray[Any]]:
        return [
            self._done(work, self._request(Kind.FETCH, *Fetch(number).pack())).answer
            for number, work in enumerate(works, first)
        ]

    # -- inside -------------------------------------------------------------------------------------------------

    def _ask_time(self) -> float:
        return self._unpacked(Time, self._request(Kind.TIME)).time

    def _advance(self, seconds: float) -> float:
        return self._unpacked(Time, self._request(Kind.ADVANCE, *Advance(seconds).pack())).time

    def _request(self, kind: Kind, *pieces: Buffer, timeout_s: float | None = None, work_s: float = 0.0) -> memoryview:
        """One request. Where the wire fails in it, a new session will follow: the board is asked where it stands."""
        try:
            return self.link.request(kind, *pieces, timeout_s=timeout_s, work_s=work_s)
        except InstrumentError:
            raise
        except BaseException:
            self._armed = self._is_settled = False
            raise

    def _unpacked(self, kind: type[_Payload], payload: memoryview) -> _Payload:
        try:
            return kind.unpack(payload)
        except ValueError as problem:
            raise self._misread(problem) from None

    def _misread(self, problem: ValueError) -> InstrumentError:
        return InstrumentError(
            f"{self.settings.resource_name}: {self.link.idn} does not answer as a test board does: {problem}"
        )


def _addressed(cells: Cells, total: int) -> tuple[Where, NDArray[Any] | None]:
    """The shortest way to name `cells` of `total`."""
    if len(cells) == total:
        return Where.ALL, None
    mask = mask_of(cells, total)
    return (Where.INDEXED, cells) if mask is None else (Where.MASKED, mask)
