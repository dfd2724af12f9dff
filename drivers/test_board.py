"""Driver of the memory-array test board (`docs/board-commands.md`): one message a step, whatever the array's size.

Every pulse batch carries a number that grows by one. When the wire fails between a batch and its answer, the board is
asked which number it applied last, so that no pulse is ever given twice or guessed at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from labctl.units import Ampere, Volt

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


class TestBoardSettings(VisaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """read_voltage: V across a cell while it is read. current_range: A at the top of the ADC.

    rows, cols: the array's shape, for planning without the board; checked against it on connecting.
    """

    rows: int = 512
    cols: int = 512
    read_voltage: Volt = Volt(0.2)
    current_range: Ampere = Ampere(16e-6)


class TestBoard:
    """The test board as a MemoryArray."""

    __test__ = False  # the word is the instrument's, not pytest's
    Settings = TestBoardSettings

    def __init__(self, settings: TestBoardSettings, managers: ResourceManagers | None = None) -> None:
        self.settings = settings
        self._log = WireLog(settings.wire_log) if settings.wire_log else None
        self.link = VisaLink(
            settings.resource_name,
            visa_library=settings.visa_library,
            timeout_s=settings.timeout,
            wire_log=self._log,
            managers=managers,
        )
        self._sequence = 0
        self._armed = False  # outputs are on

    # -- life ---------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the link, put the board in a known state with outputs off, and learn what it is."""
        self.link.connect()
        try:
            self._set_up()
            self._learn()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.link.close()
        if self._log is not None:
            self._log.close()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self._armed = False
        self.link.timeout_s, usual = timeout_s, self.link.timeout_s
        try:
            self.link.write(":OUTPut:SAFE")
        finally:
            self.link.timeout_s = usual

    def snapshot(self) -> Mapping[str, Any]:
        answers = self.link.exchange(";".join(f"{setting}?" for setting in _SETTINGS))
        found = {setting.lstrip(":"): answer for setting, answer in zip(_SETTINGS, answers, strict=True)}
        digest = {"wire_log": self._log.path.name, "wire_log_sha256": self._log.digest} if self._log else {}
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
    )
    geometry: Geometry
    dac: Scale
    adc: Scale
    clock: Clock
    limits: PulseLimits
    chip_serial: str

    @property
    def sequence(self) -> int:
        return self._sequence + 1

    # -- what it does -------------------------------------------------------------------------------------------

    def pulse(self, *batches: PulseBatch) -> None:
        self._apply(batches, verify=False)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        return self._apply(batches, verify=True)

    def read(self, cells: Cells | None = None, repeats: int = 1) -> Readout:
        parts: list[str | np.ndarray]
        if cells is None:
            cells = np.arange(self.geometry.cells, dtype=np.uint32)
            parts = [f":READ:REGion? 0,0,{self.geometry.rows},{self.geometry.cols},{repeats}"]
        else:
            parts = [f":READ:INDexed? {repeats},", cells]
        duration = len(cells) * repeats * self._read_time
        block, ended = self.link.exchange(*parts, ";:SYSTem:TIME?", timeout_s=self._allow(duration))
        codes = block.view("<u2").reshape(repeats, len(cells))
        return Readout(cells, codes, self.adc, float(ended) - duration, self._read_time)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        rows, cols = self.geometry.rows, self.geometry.cols
        lines, outputs = (cols, rows) if transpose else (rows, cols)
        vectors = np.ascontiguousarray(inputs, "<f4")
        if vectors.ndim != 2 or vectors.shape[1] != lines:
            raise ValueError(f"inputs must be (n, {lines}) volts, not {vectors.shape}")
        header = ":MULTiply:TRANspose? " if transpose else ":MULTiply? "
        (block,) = self.link.exchange(header, vectors, timeout_s=self._allow(len(vectors) * outputs * self._read_time))
        return block.view("<f4").reshape(len(vectors), outputs)

    # -- inside -------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        self.link.exchange(
            "*CLS;*RST;:FORMat:BORDer SWAPped;:FORMat:DATA REAL,32"
            f";:SENSe:VOLTage {self.settings.read_voltage:.9g};:SENSe:CURRent:RANGe {self.settings.current_range:.9g}"
        )

    def _learn(self) -> None:
        shape, cell, serial, dac, adc, timing, limits, virtual, last = self.link.exchange(
            ":ARRay:GEOMetry?;CELL?;SERial?;:SOURce:DAC:SCALe?;:SENSe:ADC:SCALe?;:ARRay:TIMing?"
            ";:SOURce:LIMit?;:SYSTem:TIME:VIRTual?;:PULSe:SEQuence?"
        )
        rows, cols = (int(word) for word in shape.split(","))
        expected = (self.settings.rows, self.settings.cols)
        if (rows, cols) != expected:
            raise BenchError(
                f"{self.settings.resource_name}: the board has {rows} rows and {cols} columns where the bench file says "
                f"{expected[0]} and {expected[1]}: set rows and cols of this instrument"
            )
        self.geometry = Geometry(rows, cols, cell.strip('"'))
        self.chip_serial = serial.strip('"')
        self.dac, self.adc = _scale(dac, "V"), _scale(adc, "S")
        self._pulse_time, self._read_time = _numbers(timing)
        form, set_, reset, gate, shortest, longest = _numbers(limits)
        self.limits = PulseLimits(form, set_, reset, gate, shortest, longest)
        self.clock = BoardClock(self.link) if int(virtual) else WallClock()
        self._sequence = int(last)

    def _apply(
        self, batches: Sequence[PulseBatch], verify: bool, tries: int = _TRIES
    ) -> tuple[Readout, ...]:
        """Send the batches in one message; after a fault find out which of them were applied and send the rest."""
        first = self._sequence + 1
        durations = [len(batch.cells) * self._cell_time(batch, verify) for batch in batches]
        parts: list[str | np.ndarray] = [] if self._armed else [":OUTPut:STATe ON;"]
        for number, batch in enumerate(batches, first):
            parts += self._message(number, batch, verify)
        try:
            *blocks, ended = self.link.exchange(*parts, ":SYSTem:TIME?", timeout_s=self._allow(sum(durations)))
        except LinkError as problem:
            if tries == 1:
                raise
            return self._find_out(batches, first, verify, tries - 1, problem)
        except InstrumentError:
            self._sequence = self._ask_sequence()
            raise
        self._armed = True
        self._sequence += len(batches)
        if not verify:
            return ()
        start, readouts = float(ended) - sum(durations), []
        for batch, block, duration in zip(batches, blocks, durations, strict=True):
            codes = block.view("<u2").reshape(1, -1)
            readouts.append(Readout(batch.cells, codes, self.adc, start, self._cell_time(batch, verify)))
            start += duration
        return tuple(readouts)

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
            applied = self._ask_sequence() - first + 1
        except (LinkError, InstrumentError):
            raise problem from None
        if not 0 <= applied <= len(batches):
            raise LinkError(
                f"{problem}; and the board's last batch is now {applied + first - 1}, not one of ours "
                f"({first - 1} to {first + len(batches) - 1}): it has been restarted or used by someone else"
            ) from None
        self._sequence = first + applied - 1
        done = tuple(self.read(batch.cells) for batch in batches[:applied]) if verify else ()
        return done + (self._apply(batches[applied:], verify, tries) if applied < len(batches) else ())

    def _ask_sequence(self) -> int:
        return int(self.link.query(":PULSe:SEQuence?"))

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
        left = moment - self.now()
        if left > 0:
            self._link.write(f":SYSTem:TIME:ADVance {left:.9f}")


def _numbers(answer: str) -> tuple[float, ...]:
    return tuple(float(word) for word in answer.split(","))


def _scale(answer: str, unit: str) -> Scale:
    step, offset, bits = _numbers(answer)
    return Scale(step, offset, int(bits), unit)
