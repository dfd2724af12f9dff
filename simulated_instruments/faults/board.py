"""Faults of boards and chips: what they ask of a simulated instrument, and how they are done to it."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, runtime_checkable

from ..chips.crossbar import CrossbarMacro
from ..instruments.clocks import BoardClock
from ..scpi.errors import ScpiError
from ..scpi.status import Status
from ..wire import Wire
from .kinds import AdcSaturation, Fault, FullErrorQueue, Passing, Reboot, StuckColumns, TemperatureStep

_MORE_THAN_ANY_QUEUE = 256


class Simulated(Protocol):
    """Any simulated instrument; of the others below it may be some too."""

    @property
    def wire(self) -> Wire | None: ...

    def close(self) -> None: ...


@runtime_checkable
class PowerCycled(Protocol):
    """What can be switched off and on: its `wire` is another one then."""

    def power_cycle(self) -> None: ...


@runtime_checkable
class QueuesErrors(Protocol):
    """A wire behind which errors are queued, by the same status model whatever language it speaks."""

    @property
    def status(self) -> Status: ...


@runtime_checkable
class HasChip(Protocol):
    """A board with a chip on it, and the clock they go by."""

    @property
    def chip(self) -> CrossbarMacro: ...

    @property
    def clock(self) -> BoardClock: ...


def has_memory(simulated: object) -> TypeGuard[HasChip]:
    """Whether its chip is a memory, which is pulsed and read."""
    return isinstance(simulated, HasChip) and isinstance(simulated.chip, CrossbarMacro)


def check(fault: Fault, simulated: Simulated) -> None:
    """Raises ValueError with one sentence where this instrument cannot have `fault`."""
    needs: list[tuple[type, Any, str]] = [
        (Reboot, isinstance(simulated, PowerCycled), "cannot be switched off and on"),
        (FullErrorQueue, isinstance(simulated.wire, QueuesErrors), "queues no errors"),
        (Passing, has_memory(simulated), "has no memory chip of its own"),
    ]
    for kind, can, reason in needs:
        if isinstance(fault, kind) and not can:
            raise ValueError(f"{fault.name}: this instrument {reason}")
    if has_memory(simulated) and isinstance(fault, StuckColumns) and max(fault.columns) >= simulated.chip.cols:
        raise ValueError(f"{fault.name}: the chip has columns 0 to {simulated.chip.cols - 1}")
    if fault.pulses and not has_memory(simulated):
        raise ValueError(f"{fault.name}: pulses are counted by a chip, which this instrument does not have")


def begin(fault: Fault, simulated: Any) -> None:
    """Do a fault of the board or the chip."""
    if isinstance(fault, FullErrorQueue):
        with simulated.wire.lock:
            for _ in range(_MORE_THAN_ANY_QUEUE):
                simulated.wire.status.report(ScpiError(-310, "a fault"))
    elif isinstance(fault, AdcSaturation):
        simulated.chip.readout_faults.saturate(True)
    elif isinstance(fault, StuckColumns):
        simulated.chip.readout_faults.stick(fault.columns, fault.code)
    elif isinstance(fault, TemperatureStep):
        _warm(simulated, fault.kelvin)


def end(fault: Fault, simulated: Any) -> None:
    """What was wrong with the chip has passed."""
    if isinstance(fault, AdcSaturation):
        simulated.chip.readout_faults.saturate(False)
    elif isinstance(fault, StuckColumns):
        simulated.chip.readout_faults.loosen(fault.columns)
    elif isinstance(fault, TemperatureStep):
        _warm(simulated, -fault.kelvin)


def _warm(board: HasChip, kelvin: float) -> None:
    """As far as the chuck goes."""
    lowest, highest = board.chip.temperatures
    board.chip.heat(min(max(board.chip.temperature + kelvin, lowest), highest), board.clock.now())
