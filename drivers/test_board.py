"""Driver of the memory-array test board (`docs/board-commands.md`): one message a step, whatever the array's size.

Every pulse batch carries a number that grows by one. When the wire fails between a batch and its answer, the board is
asked which number it applied last, so that no pulse is ever given twice or guessed at.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from labctl.array import (
    Capability,
    Cells,
    Clock,
    Geometry,
    Nominal,
    Operation,
    PulseBatch,
    PulseLimits,
    Readout,
    Scale,
)
from labctl.bench.clock import WallClock
from labctl.bench.settings import VisaSettings
from labctl.errors import BenchError, InstrumentError, LinkError
from labctl.links.resources import ResourceManagers
from labctl.links.visa import VisaLink
from labctl.links.wire_log import WireLog
from labctl.units import Ampere, Kelvin, Volt

if TYPE_CHECKING:
    from types import TracebackType

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
_TRIES = 3
_ROUNDING = 1e-9  # relative: what a voltage is given with on the wire
_POWER_ON = 0x80  # of the standard event status: switched on since it was last asked


class TestBoardSettings(VisaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """read_voltage: V across a cell while it is read. current_range: A at the top of the ADC. temperature: K that the
    chip is held at, set on connecting; left as it is where None.

    rows, cols: the array's shape, for planning without the board; checked against it on connecting.
    """

    rows: int = 512
    cols: int = 512
    read_voltage: Volt = Volt(0.2)
    current_range: Ampere = Ampere(16e-6)
    temperature: Kelvin | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rows", "cols", "read_voltage", "current_range", "temperature"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0, not {value:g}")


class TestBoard:
    """The test board as a MemoryArray."""

    __test__ = False  # the word is the instrument's, not pytest's
    Settings = TestBoardSettings

    def __init__(self, settings: TestBoardSettings, managers: ResourceManagers | None = None) -> None:
        self.settings = settings
        self._log: WireLog | None = None
        self.link = VisaLink(
            settings.resource_name,
            visa_library=settings.visa_library,
            timeout_s=settings.timeout,
            managers=managers,
            after_fault=self._check_still_on,
        )
        self._sequence = 0
        self._sequence_known = True  # no batch is under way or of unknown fate
        self._at_base = True  # no read at another voltage is under way or of unknown fate
        self._armed = False  # outputs are on
        self._watching = False  # the board's own notice of having been switched on is cleared
        self._was_off = False

    # -- life ---------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the link, put the board in a known state with outputs off, and learn what it is."""
        self._watching = self._was_off = False
        if self.settings.wire_log and self._log is None:
            self._log = self.link.wire_log = WireLog(self.settings.wire_log)
        try:
            self.link.connect()
            self._set_up()
            self._watching = True
            self._learn()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the board as it is. May be called twice."""
        try:
            self.link.close()
        finally:
            if self._log is not None:
                self._log.close()
            self._log = self.link.wire_log = None

    def __enter__(self) -> TestBoard:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.safe_state()
        finally:
            self.close()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self._armed = False
        self.link.write(":OUTPut:SAFE", timeout_s=timeout_s)

    def snapshot(self) -> Mapping[str, Any]:
        answers = self.link.exchange(";".join(f"{setting}?" for setting in _SETTINGS))
        found = {setting.lstrip(":"): answer for setting, answer in zip(_SETTINGS, answers, strict=True)}
        log = self._log
        digest = {"wire_log": log.path.name, "wire_log_span": log.span, "wire_log_sha256": log.digest} if log else {}
        return {"idn": self.link.idn, "chip_serial": self.chip_serial, "sequence": self._sequence, **found, **digest}

    @classmethod
    def nominal(cls, settings: TestBoardSettings) -> Nominal:
        """A board as `docs/board-commands.md` describes it, with this bench's settings."""
        full_scale = settings.current_range / settings.read_voltage
        return Nominal(
            Geometry(settings.rows, settings.cols, ""),
            cls.capabilities,
            Scale(5.0 / 65_536, 0.0, 16, "V"),
            Scale(full_scale * 33 / 32 / 16_383, -full_scale / 32, 14, "S"),
            PulseLimits(),
        )

    # -- what it is ---------------------------------------------------------------------------------------------

    capabilities = (
        Capability.FORM
        | Capability.PULSE
        | Capability.READ
        | Capability.PULSE_AND_VERIFY
        | Capability.MULTIPLY
        | Capability.SEQUENCE
        | Capability.READ_VOLTAGE
    )
    geometry: Geometry
    dac: Scale
    adc: Scale
    clock: Clock
    limits: PulseLimits
    chip_serial: str

    @property
    def sequence(self) -> int:
        """The number the next batch will carry; the board is asked where a fault has left that open."""
        if not self._sequence_known:
            self._learn_sequence()
        return self._sequence + 1

    # -- what it does -------------------------------------------------------------------------------------------

    def pulse(self, *batches: PulseBatch) -> None:
        self._apply(batches, verify=False)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        return self._apply(batches, verify=True)

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        """Raises ValueError where `cells` are not strictly increasing, or not on the array, or `voltage` beyond its
        range.

        A reading changes nothing, so where the link fails it is asked for once more. Another voltage is set and taken
        back in the message of the read.
        """
        scale = self.adc if voltage is None else self._scale_at(voltage)
        parts: list[str | np.ndarray]
        if cells is None:
            cells = np.arange(self.geometry.cells, dtype=np.uint32)
            parts = [f":READ:REGion? 0,0,{self.geometry.rows},{self.geometry.cols},{repeats}"]
        else:
            cells = self._checked_cells(cells)
            parts = [f":READ:INDexed? {repeats},", cells]
        duration = len(cells) * repeats * self._read_time
        if voltage is None:
            parts = [*self._to_base(), *parts]
        else:
            parts = [f":SENSe:VOLTage {voltage:.9g};", *parts, f";:SENSe:VOLTage {self._base_voltage:.9g}"]
            self._at_base = False
        message, allowed = (*parts, ";:SYSTem:TIME?"), self._allow(duration)
        try:
            answer = self.link.exchange(*message, timeout_s=allowed)
        except LinkError:
            answer = self.link.exchange(*message, timeout_s=allowed)
        self._at_base = True
        (block,), ended = self._blocks(answer, [2 * repeats * len(cells)])
        codes = block.view("<u2").reshape(repeats, len(cells))
        return Readout(cells, codes, scale, ended - duration, self._read_time)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        rows, cols = self.geometry.rows, self.geometry.cols
        lines, outputs = (cols, rows) if transpose else (rows, cols)
        vectors = np.ascontiguousarray(inputs, "<f4")
        if vectors.ndim != 2 or vectors.shape[1] != lines:
            raise ValueError(f"inputs must be (n, {lines}) volts, not {vectors.shape}")
        header = ":MULTiply:TRANspose? " if transpose else ":MULTiply? "
        duration = len(vectors) * outputs * self._read_time
        answer = self.link.exchange(header, vectors, ";:SYSTem:TIME?", timeout_s=self._allow(duration))
        (block,), _ = self._blocks(answer, [4 * len(vectors) * outputs])
        return block.view("<f4").reshape(len(vectors), outputs)

    # -- inside -------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        self._armed = False
        self.link.exchange(
            "*CLS;*RST;:FORMat:BORDer SWAPped;:FORMat:DATA REAL,32"
            f";:SENSe:VOLTage {self.settings.read_voltage:.9g};:SENSe:CURRent:RANGe {self.settings.current_range:.9g}"
            + ("" if self.settings.temperature is None else f";:SOURce:TEMPerature {self.settings.temperature:.9g}")
        )

    def _learn(self) -> None:
        answers = self.link.exchange(
            ":ARRay:GEOMetry?;CELL?;SERial?;:SOURce:DAC:SCALe?;:SENSe:ADC:SCALe?;:ARRay:TIMing?"
            ";:SOURce:LIMit?;:SYSTem:TIME:VIRTual?;:PULSe:SEQuence?;:SENSe:VOLTage?;VOLTage? MIN;VOLTage? MAX"
        )
        try:
            shape, cell, serial, dac, adc, timing, limits, virtual, last, *read_voltages = answers
            rows, cols = (int(word) for word in shape.split(","))
            self.geometry = Geometry(rows, cols, cell.strip('"'))
            self.chip_serial = serial.strip('"')
            self.dac, self.adc = _scale(dac, "V"), _scale(adc, "S")
            self._pulse_time, self._read_time = _numbers(timing)
            form, set_, reset, gate, shortest, longest = _numbers(limits)
            self._base_voltage, lowest, highest = (float(each) for each in read_voltages)
            self.limits = PulseLimits(
                form, set_, reset, gate, shortest, longest, min_read_voltage=lowest, max_read_voltage=highest
            )
            self.clock = BoardClock(self.link) if int(virtual) else WallClock()
            self._sequence, self._sequence_known, self._at_base = int(last), True, True
        except (ValueError, AttributeError) as problem:
            raise InstrumentError(
                f"{self.settings.resource_name}: {self.link.idn} does not answer as a test board does: {problem}"
            ) from None
        expected = (self.settings.rows, self.settings.cols)
        if (rows, cols) != expected:
            raise BenchError(
                f"{self.settings.resource_name}: the board has {rows} rows and {cols} columns where the bench "
                f"file says {expected[0]} and {expected[1]}: set rows and cols of this instrument"
            )

    def _apply(self, batches: Sequence[PulseBatch], verify: bool, tries: int = _TRIES) -> tuple[Readout, ...]:
        """Send the batches in one message; after a fault find out which of them were applied and send the rest."""
        batches = [self._checked(batch) for batch in batches]
        first = self.sequence
        durations = [len(batch.cells) * self._cell_time(batch, verify) for batch in batches]
        parts: list[str | np.ndarray] = [*self._to_base(), *([] if self._armed else [":OUTPut:STATe ON;"])]
        for number, batch in enumerate(batches, first):
            parts += self._message(number, batch, verify)
        self._sequence_known = False
        try:
            answer = self.link.exchange(*parts, ":SYSTem:TIME?", timeout_s=self._allow(sum(durations)))
        except LinkError as problem:
            if tries == 1:
                raise
            return self._find_out(batches, first, verify, tries - 1, problem)
        except InstrumentError:
            with contextlib.suppress(LinkError, InstrumentError):  # asked again before the next batch
                self._learn_sequence()
            raise
        self._armed = self._at_base = True
        blocks, ended = self._blocks(answer, [2 * len(batch.cells) for batch in batches] if verify else [])
        self._sequence, self._sequence_known = first + len(batches) - 1, True
        start, readouts = ended - sum(durations), []
        for batch, block, duration in zip(batches, blocks, durations, strict=False):
            codes = block.view("<u2").reshape(1, -1)
            readouts.append(Readout(batch.cells, codes, self.adc, start, self._cell_time(batch, verify)))
            start += duration
        return tuple(readouts)

    def _blocks(self, answer: list[Any], sizes: Sequence[int]) -> tuple[list[NDArray[np.uint8]], float]:
        """An answer's blocks, of which these `sizes` in bytes are expected, and the board's time behind them."""
        *blocks, ended = answer or [""]
        try:
            found = [block.nbytes for block in blocks]
            if found != list(sizes):
                raise ValueError(f"blocks of {found} bytes")
            return blocks, float(ended)
        except (ValueError, TypeError, AttributeError) as problem:
            raise InstrumentError(
                f"{self.settings.resource_name}: the board answered {problem} where blocks of {list(sizes)} bytes "
                "and its time were expected"
            ) from None

    def _checked(self, batch: PulseBatch) -> PulseBatch:
        """The batch in the types of the wire. Raises ValueError where it is none."""
        cells, amplitude = self._checked_cells(batch.cells), _whole(batch.amplitude, np.uint16, "amplitudes")
        if len(amplitude) != len(cells):
            raise ValueError(f"{len(amplitude)} amplitudes for {len(cells)} cells")
        if not (math.isfinite(batch.width) and math.isfinite(batch.gate)):
            raise ValueError(f"a pulse cannot be {batch.width:g} s wide with {batch.gate:g} V on the gate")
        return PulseBatch(batch.operation, cells, amplitude, batch.width, batch.gate)

    def _checked_cells(self, cells: ArrayLike) -> Cells:
        """Strictly increasing, because the forms that list no cells go by their order on the array."""
        where: Cells = _whole(cells, np.uint32, "cells")
        if len(where) and not (np.all(where[1:] > where[:-1]) and where[-1] < self.geometry.cells):
            raise ValueError(f"cells must be strictly increasing and between 0 and {self.geometry.cells - 1}")
        return where

    def _message(self, number: int, batch: PulseBatch, verify: bool) -> list[str | np.ndarray]:
        """The batch as one command: it carries everything, so nothing can be half set."""
        query = "?" if verify else ""
        shape = f"{number},{_KEYWORDS[batch.operation]},{batch.width:.9g},{batch.gate:.9g},"
        count, total = len(batch.cells), self.geometry.cells
        where: list[str | np.ndarray] = []
        if count == total:
            form = "ALL"
        elif count * 32 > total:  # a bit a cell of the array is then shorter than a 32-bit index a pulsed cell
            mask = np.zeros(total, np.bool_)
            mask[batch.cells] = True
            form, where = "MASKed", [np.packbits(mask), ","]
        else:
            form, where = "INDexed", [batch.cells, ","]
        return [f":PULSe:{'VERify' if verify else 'APPLy'}:{form}{query} {shape}", *where, batch.amplitude, ";"]

    def _find_out(
        self, batches: Sequence[PulseBatch], first: int, verify: bool, tries: int, problem: LinkError
    ) -> tuple[Readout, ...]:
        """The wire failed with pulses under way. Raises `problem` where the board cannot be asked."""
        try:
            self._learn_sequence(tries)
        except (LinkError, InstrumentError) as silence:
            raise type(problem)(f"{problem}; whether the pulses were given is not known: {silence}") from None
        applied = self._sequence - first + 1
        if not 0 <= applied <= len(batches):
            raise LinkError(
                f"{problem}; and the board's last batch is now {self._sequence}, not one of ours "
                f"({first - 1} to {first + len(batches) - 1}): it has been restarted or used by someone else"
            ) from None
        done = tuple(self.read(batch.cells) for batch in batches[:applied]) if verify else ()
        return done + (self._apply(batches[applied:], verify, tries) if applied < len(batches) else ())

    def _learn_sequence(self, tries: int = 1) -> None:
        """Asking changes nothing, so it may be done again."""
        try:
            answer = self.link.query(":PULSe:SEQuence?")
        except LinkError:
            if tries == 1:
                raise
            return self._learn_sequence(tries - 1)
        if not answer.isdecimal():
            raise InstrumentError(f"{self.settings.resource_name}: {answer!r} is no number of a batch")
        self._sequence, self._sequence_known = int(answer), True
        return None

    def _check_still_on(self, within_s: float) -> None:
        """After a fault. Raises LinkError where the board was off meanwhile, and with it the settings we gave it."""
        if self._watching and not self._was_off:
            self._was_off = bool(int(self.link.query("*ESR?", timeout_s=within_s)) & _POWER_ON)
        if self._was_off:
            raise LinkError(
                f"{self.settings.resource_name}: the board has been restarted, its settings are lost: connect anew"
            )

    def _scale_at(self, voltage: float) -> Scale:
        """The converter measures a current, so what a code is in S goes with one over the voltage."""
        low, high = self.limits.min_read_voltage, self.limits.max_read_voltage
        if low is None or high is None or not low * (1 - _ROUNDING) <= voltage <= high * (1 + _ROUNDING):
            raise ValueError(f"a cell cannot be read at {voltage:g} V: the board reads at {low:g} to {high:g} V")
        ratio = self._base_voltage / voltage
        return replace(self.adc, step=self.adc.step * ratio, offset=self.adc.offset * ratio)

    def _to_base(self) -> list[str]:
        """What makes sure of the base voltage where a fault has left it open."""
        return [] if self._at_base else [f":SENSe:VOLTage {self._base_voltage:.9g};"]

    def _cell_time(self, batch: PulseBatch, verify: bool) -> float:
        return batch.width + self._pulse_time + (self._read_time if verify else 0.0)

    def _allow(self, duration: float) -> float:
        """How long an exchange may take whose work takes the board `duration` s."""
        return self.link.timeout_s + 2.0 * duration


class BoardClock:
    """The clock of a board that keeps its own time and can be told to let it pass."""

    def __init__(self, link: VisaLink) -> None:
        self._link = link

    def now(self) -> float:
        return float(self._link.query(":SYSTem:TIME?"))

    def sleep_until(self, moment: float) -> None:
        now = self.now()
        while now < moment:  # a second time where the sum of two floats falls short of the moment
            advance = max(moment - now, 1e-6)
            now = float(self._link.query(f":SYSTem:TIME:ADVance {advance:.9f};:SYSTem:TIME?"))


def _whole(values: ArrayLike, dtype: DTypeLike, what: str) -> NDArray[Any]:
    """`values` as (n,) of the wire's unsigned integers. Raises ValueError where they are no such numbers."""
    given = np.asarray(values)
    if given.ndim != 1 or (given.dtype.kind not in "ui" and given.size):
        raise ValueError(f"{what} must be whole numbers in one dimension, not {given.dtype} of shape {given.shape}")
    wanted = np.dtype(dtype).newbyteorder("<")
    if given.dtype != wanted and given.size and (given.min() < 0 or given.max() > np.iinfo(wanted).max):
        raise ValueError(f"{what} must be between 0 and {np.iinfo(wanted).max}")
    return np.ascontiguousarray(given, wanted)


def _numbers(answer: str) -> tuple[float, ...]:
    return tuple(float(word) for word in answer.split(","))


def _scale(answer: str, unit: str) -> Scale:
    step, offset, bits = _numbers(answer)
    return Scale(step, offset, int(bits), unit)
