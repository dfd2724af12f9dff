"""Driver of the ArC TWO array tester, on the maker's own library `pyarc2` (`pip install 'labctl[arc2]'`).

Word lines are rows and the high side of a cell, bit lines are columns and the low side. FORM and SET make the word line
positive, RESET makes it negative. The tester keeps no number of the pulses it gave: where its link fails between a
pulse and its end, that pulse is never sent again, and the error says which cell it was.

What each call does is taken from the library's documentation (pyarc2 0.6); no tester was at hand to try it on.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import (
    BitProducts,
    Capability,
    Cells,
    Geometry,
    LineCurrents,
    LineProduct,
    Nominal,
    Operation,
    PulseBatch,
    PulseLimits,
    Readout,
    Scale,
    Window,
)
from labctl.bench.clock import WallClock
from labctl.bench.settings import InstrumentSettings
from labctl.drivers.batches import checked_batch, checked_cells, codes_of, current_adc, scale_at
from labctl.errors import BenchError, InstrumentError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.units import Ampere, Second, Volt

CHANNELS = 64
LINES = 32
_DAC = Scale(10.0 / (1 << 15), 0.0, 15, "V")
"""The tester's converters have 16 bits over -10 V to 10 V; the sign is the operation's."""
_LEAST_READ = 1e-3  # V
_QUEUED = 256  # pulses in the tester's command buffer before it is told to begin
_POLL = 1e-4  # s


def socket_words() -> tuple[int, ...]:
    """Channels of the word lines of a 32 x 32 array in the tester's own socket."""
    return tuple(16 + line // 2 if line % 2 == 0 else 63 - line // 2 for line in range(LINES))


def socket_bits() -> tuple[int, ...]:
    """Channels of the bit lines of a 32 x 32 array in the tester's own socket."""
    return tuple(15 - line // 2 if line % 2 == 0 else 32 + line // 2 for line in range(LINES))


class ArcTwoSettings(InstrumentSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """firmware: the file that came with the tester. efm: which tester, where there are several; None: the first.

    chip: serial number of what is in it. cell: its kind. word_channels, bit_channels: the tester's channels that rows
    and columns are on, in order; by default those of its own socket. board: where the array is, the socket or the
    header. selectors: which lines the tester's 32 selectors are the gates of; `none` for cells without transistors,
    which have no gate: what a pulse says of it is then not applied.

    read_voltage: V across a cell in a read; read_gate: V on its gate, where it has one; current_range: A that readings
    go up to. The rest are what this tester and
    chip may be asked for at most.
    """

    firmware: str
    efm: int | None = None
    timeout: Second = Second(5.0)
    chip: str
    cell: str = "1R"
    word_channels: tuple[int, ...] = msgspec.field(default_factory=socket_words)
    bit_channels: tuple[int, ...] = msgspec.field(default_factory=socket_bits)
    board: Literal["socket", "header"] = "socket"
    selectors: Literal["none", "words", "bits"] = "none"
    read_voltage: Volt = Volt(0.2)
    read_gate: Volt = Volt(3.3)
    current_range: Ampere = Ampere(100e-6)
    max_voltage: Volt = Volt(9.9)
    max_gate_voltage: Volt = Volt(3.3)
    max_read_voltage: Volt = Volt(1.0)
    min_width: Second = Second(100e-9)
    max_width: Second = Second(1.0)

    def __post_init__(self) -> None:
        for name in ("timeout", "read_voltage", "current_range", "max_voltage", "max_read_voltage", "min_width"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name):g}")
        channels = [*self.word_channels, *self.bit_channels]
        if not all(0 <= channel < CHANNELS for channel in channels) or len(set(channels)) < len(channels):
            raise ValueError(f"word_channels and bit_channels must be different channels from 0 to {CHANNELS - 1}")
        if not (self.word_channels and self.bit_channels):
            raise ValueError("word_channels and bit_channels must name one channel each at least")

    @property
    def address(self) -> str:
        return "ArC TWO" if self.efm is None else f"ArC TWO {self.efm}"

    @property
    def lease(self) -> str:
        """One for all testers: which of them an unnamed one is, is known only once it is open."""
        return "ArC TWO"

    def located(self, bench: Path) -> Self:
        return msgspec.structs.replace(self, firmware=str(bench.parent / self.firmware))

    @property
    def adc(self) -> Scale:
        """Of reads at the read voltage."""
        return current_adc(self.current_range, self.read_voltage)

    @property
    def geometry(self) -> Geometry:
        return Geometry(len(self.word_channels), len(self.bit_channels), self.cell)

    @property
    def limits(self) -> PulseLimits:
        most = self.max_voltage
        return PulseLimits(
            most, most, most, self.max_gate_voltage, self.min_width, self.max_width,
            min_read_voltage=_LEAST_READ, max_read_voltage=self.max_read_voltage,
        )  # fmt: skip


class ArcTwo:
    """The tester as a MemoryArray."""

    Settings = ArcTwoSettings
    capabilities = (
        Capability.FORM
        | Capability.PULSE
        | Capability.READ
        | Capability.PULSE_AND_VERIFY
        | Capability.READ_VOLTAGE
        | Capability.MULTIPLY
    )
    dac = _DAC
    sequence = 0  # the tester keeps none

    def __init__(self, settings: ArcTwoSettings, managers: object = None) -> None:
        """managers: not used, the tester is not on VISA."""
        del managers
        self.settings = settings
        self.geometry = settings.geometry
        self.chip_serial = settings.chip
        self.adc = settings.adc
        self.limits = settings.limits
        self.clock = WallClock()
        self._words = np.array(settings.word_channels)
        self._bits = np.array(settings.bit_channels)
        self._arc: Any = None
        self._library: Any = None
        self._gate: tuple[int, float] | None = None  # the selector that is high, and its V

    @classmethod
    def nominal(cls, settings: ArcTwoSettings) -> Nominal:
        return Nominal(settings.geometry, cls.capabilities, cls.dac, settings.adc, settings.limits)

    # -- life -----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Load the firmware and ground everything. Raises BenchError, LinkError."""
        if self._arc is not None:
            return
        try:
            self._library = importlib.import_module("pyarc2")
        except ImportError:
            raise BenchError(
                "pyarc2, the ArC TWO's own library, is not installed: pip install 'labctl[arc2]'"
            ) from None
        if not Path(self.settings.firmware).is_file():
            raise BenchError(f"firmware: there is no file {self.settings.firmware}; it came with the tester")
        with self._said("could not be opened"):
            efm = self._chosen()
            self._arc = self._library.Instrument(efm, self.settings.firmware)
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it as it is. May be called twice."""
        self._arc, self._gate = None, None

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Every channel at ground, selectors low, the buffer empty. Raises LinkError where it is not in time."""
        arc = self._live
        self._gate = None
        with self._said("could not be grounded"):
            if self.settings.selectors != "none":
                arc.config_selectors([])
            arc.ground_all()
            arc.execute()
            self._wait(timeout_s)

    def snapshot(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {"chip_serial": self.chip_serial, "firmware": Path(self.settings.firmware).name}
        with contextlib.suppress(PackageNotFoundError):
            found["pyarc2"] = version("pyarc2")
        return {
            **found,
            "libarc2": str(getattr(self._library, "LIBARC2_VERSION", "")),
            "address": self.settings.address,
        }

    # -- what it does -----------------------------------------------------------------------------------------------

    def pulse(self, *batches: PulseBatch) -> None:
        """Raises LinkError where the tester fails, which says of how many cells that leaves the pulse open."""
        for batch in [checked_batch(each, self.geometry.cells) for each in batches]:
            nanoseconds, pulses = round(batch.width * 1e9), list(self._each(batch))
            for first in range(0, len(pulses), _QUEUED):
                queued = pulses[first : first + _QUEUED]
                with self._unsure(batch, first, len(queued)):
                    for cell, volts in queued:
                        row, col = divmod(cell, self.geometry.cols)
                        self._select(row, col, batch.gate)
                        self._live.pulse_one(
                            self._channel(self._bits, col), self._channel(self._words, row), volts, nanoseconds
                        )
                    self._ground(len(queued) * batch.width)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        readouts, volts_read = [], float(self.settings.read_voltage)
        for batch in [checked_batch(each, self.geometry.cells) for each in batches]:
            started, amps = self.clock.now(), np.empty(len(batch.cells))
            for done, (cell, volts) in enumerate(self._each(batch)):
                row, col = divmod(cell, self.geometry.cols)
                with self._unsure(batch, done, 1):
                    amps[done] = self._pulse_and_read(row, col, volts, batch, volts_read)
            with self._said("could not be grounded"):
                self._ground()
            readouts.append(self._readout(batch.cells, amps[np.newaxis], volts_read, self.adc, started))
        return tuple(readouts)

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        """A bit line at a time, with those of its cells that are asked for. A read that failed is made once more."""
        volts = float(self.settings.read_voltage) if voltage is None else voltage
        scale = scale_at(self.adc, self.settings.read_voltage, volts, self.limits)
        where = (
            np.arange(self.geometry.cells, dtype=np.uint32)
            if cells is None
            else checked_cells(cells, self.geometry.cells)
        )
        rows, cols = np.divmod(where, self.geometry.cols)
        started, amps = self.clock.now(), np.empty((repeats, len(where)))
        for repeat in range(repeats):
            for col in np.unique(cols):
                on_line = cols == col
                try:
                    amps[repeat, on_line] = self._read_line(int(col), rows[on_line], volts)
                except LinkError:
                    amps[repeat, on_line] = self._read_line(int(col), rows[on_line], volts)
        return self._readout(where, amps, volts, scale, started)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        """All driven lines are biased at once and the currents of all others read together."""
        driven, sensed = (self._bits, self._words) if transpose else (self._words, self._bits)
        if inputs.ndim != 2 or inputs.shape[1] != len(driven):
            raise ValueError(f"inputs must be (n, {len(driven)}) volts, not {inputs.shape}")
        if not np.all(np.abs(inputs) <= self.settings.max_read_voltage):
            raise ValueError(f"an input is beyond +-{self.settings.max_read_voltage:g} V")
        self._refuse_gated("multiplication")
        currents = np.empty((len(inputs), len(sensed)), np.float32)
        arc = self._live
        with self._said("could not multiply"):
            arc.connect_to_gnd([])
            for vector, into in zip(inputs, currents, strict=True):
                # A channel at 0 V gives out what a lower one takes in: inputs are driven below it, for their own sign.
                bias = [(int(channel), -float(volts)) for channel, volts in zip(driven, vector, strict=True)]
                arc.config_channels([*bias, *((int(channel), 0.0) for channel in sensed)], None)
                into[:] = self._of_channels(arc.read_slice_open([int(channel) for channel in sensed], False), sensed)
            self._ground()
        return currents

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        raise NotImplementedError  # not among the capabilities, so no protocol gets here

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        raise NotImplementedError  # nor this

    # -- inside -----------------------------------------------------------------------------------------------------

    @property
    def _live(self) -> Any:
        if self._arc is None:
            raise LinkClosedError(f"{self.settings.address}: not connected")
        return self._arc

    def _chosen(self) -> int:
        """The number of the tester to open. Raises LinkClosedError where it is not there."""
        found = [int(each) for each in self._library.find_ids()]
        wanted = self.settings.efm
        if not found or (wanted is not None and wanted not in found):
            there = ", ".join(map(str, found)) or "none"
            raise LinkClosedError(f"{self.settings.address}: not found; connected are: {there}")
        return found[0] if wanted is None else wanted

    def _set_up(self) -> None:
        arc, library = self._live, self._library
        with self._said("could not be set up"):
            mode = library.ControlMode
            arc.set_control_mode(mode.Header if self.settings.board == "header" else mode.Internal)
            if self.settings.selectors != "none":
                arc.config_selectors([])
            self._ground()

    def _ground(self, after_s: float = 0.0) -> None:
        """Every channel at 0 V once what is queued is done, which takes `after_s`."""
        self._live.ground_all()
        self._live.execute()
        self._wait(self.settings.timeout + after_s)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._live.busy():
            if time.monotonic() > deadline:
                raise LinkTimeoutError(f"{self.settings.address}: still busy after {seconds:g} s")
            time.sleep(_POLL)

    def _select(self, row: int, col: int, gate: float) -> None:
        """The selector of the cell's line high at `gate` V, where the tester's selectors are gates."""
        if self.settings.selectors == "none":
            return
        wanted = (row if self.settings.selectors == "words" else col, gate)
        if wanted != self._gate:
            self._gate = None  # not known until the tester has taken it
            levels = self._library.AuxDACFn
            self._live.config_aux_channels([(levels.SELL, 0.0), (levels.SELH, float(gate))])
            self._live.config_selectors([wanted[0]])
            self._gate = wanted

    def _pulse_and_read(self, row: int, col: int, volts: float, batch: PulseBatch, volts_read: float) -> float:
        """A of the cell after its pulse; where it has a gate, each with the gate voltage of its own."""
        low, high, nanoseconds = (
            self._channel(self._bits, col),
            self._channel(self._words, row),
            round(batch.width * 1e9),
        )
        if self.settings.selectors == "none":
            return float(self._live.pulseread_one(low, high, volts, nanoseconds, volts_read))
        self._select(row, col, batch.gate)
        self._live.pulse_one(low, high, volts, nanoseconds)
        self._ground(batch.width)
        return self._read_gated(row, col, volts_read)

    def _refuse_gated(self, what: str) -> None:
        if self.settings.selectors != "none":
            raise InstrumentError(
                f"{self.settings.address}: no {what} where the selectors are gates: one line at a time"
            )

    def _read_line(self, col: int, rows: NDArray[np.uint32], volts: float) -> NDArray[np.float64]:
        """A of the cells of bit line `col` on word lines `rows`."""
        words = self._words[rows]
        with self._said("could not be read"):
            if self.settings.selectors == "words":
                return np.array([self._read_gated(int(row), col, volts) for row in rows])
            self._select(0, col, self.settings.read_gate)
            low = self._channel(self._bits, col)
            answer = self._live.read_slice_masked(low, [int(word) for word in words], volts)
            self._ground()
        return self._of_channels(answer, words)

    def _read_gated(self, row: int, col: int, volts: float) -> float:
        self._select(row, col, self.settings.read_gate)
        return float(self._live.read_one(self._channel(self._bits, col), self._channel(self._words, row), volts))

    def _of_channels(self, answer: Any, channels: NDArray[np.int_]) -> NDArray[np.float64]:
        """The currents of `channels` out of an answer of all 64. Raises InstrumentError where they are not in it."""
        currents = np.asarray(answer, np.float64)
        if currents.shape != (CHANNELS,) or np.isnan(currents[channels]).any():
            raise InstrumentError(f"{self.settings.address}: answered no current of every channel that was read")
        return currents[channels]

    def _readout(self, cells: Cells, amps: NDArray[np.float64], volts: float, scale: Scale, started: float) -> Readout:
        try:
            codes = codes_of(amps, volts, scale)
        except ValueError as problem:
            raise InstrumentError(f"{self.settings.address}: {problem}") from None
        return Readout(cells, codes, scale, started, (self.clock.now() - started) / max(amps.size, 1))

    def _each(self, batch: PulseBatch) -> Iterator[tuple[int, float]]:
        """Cell and V, with its sign, of every pulse."""
        sign = -1.0 if batch.operation is Operation.RESET else 1.0
        for cell, code in zip(batch.cells, batch.amplitude, strict=True):
            yield int(cell), sign * (_DAC.offset + _DAC.step * int(code))

    @staticmethod
    def _channel(lines: NDArray[np.int_], line: int) -> int:
        return int(lines[line])

    @contextlib.contextmanager
    def _unsure(self, batch: PulseBatch, done: int, count: int) -> Iterator[None]:
        """`count` pulses of the batch after `done` ones are under way."""
        try:
            with self._said("failed"):
                yield
        except LinkError as problem:
            raise type(problem)(
                f"{problem}; {done} of the {len(batch.cells)} cells have had their {batch.operation.name} pulse, "
                f"whether the next {count} had is not known"
            ) from None

    @contextlib.contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """One sentence for what the library raises."""
        try:
            yield
        except self._library.ArC2Error as problem:
            raise LinkError(f"{self.settings.address}: {what}: {problem}") from None
