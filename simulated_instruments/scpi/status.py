"""The IEEE 488.2 status model: standard events, operation and questionable registers, enables, status byte.

Bits move one way: conditions through transition filters into events, events through enables into the status
byte. What a condition bit means belongs to the firmware; that is why nothing here knows of volts or sweeps.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from .errors import ErrorQueue, ScpiError

_ALL_15 = 0x7FFF  # bit 15 of a SCPI register is never used, so that it reads as positive everywhere


class StandardEvent(enum.IntFlag):
    """Bits of the standard event status register, read and cleared by `*ESR?`."""

    OPERATION_COMPLETE = 1 << 0
    QUERY_ERROR = 1 << 2
    DEVICE_ERROR = 1 << 3
    EXECUTION_ERROR = 1 << 4
    COMMAND_ERROR = 1 << 5
    POWER_ON = 1 << 7


class StatusByte(enum.IntFlag):
    """Bits of the status byte. SERVICE is MSS where `*STB?` reads it and RQS where a serial poll does."""

    ERROR_QUEUE = 1 << 2
    QUESTIONABLE = 1 << 3
    MESSAGE_AVAILABLE = 1 << 4
    STANDARD_EVENT = 1 << 5
    SERVICE = 1 << 6
    OPERATION = 1 << 7


def event_of(error: ScpiError) -> StandardEvent:
    """The standard event an error's class sets."""
    if -500 < error.number <= -400:
        return StandardEvent.QUERY_ERROR
    if -300 < error.number <= -200:
        return StandardEvent.EXECUTION_ERROR
    if -200 < error.number <= -100:
        return StandardEvent.COMMAND_ERROR
    return StandardEvent.DEVICE_ERROR


class Register:
    """A SCPI status register: condition, transition filters, latched event, enable. All of 15 bits."""

    def __init__(self) -> None:
        self._condition = 0
        self._event = 0
        self.preset()

    def preset(self) -> None:
        """`STATus:PRESet`: nothing enabled, rising conditions latched, falling ones not."""
        self.enable = 0
        self.positive_transition = _ALL_15
        self.negative_transition = 0

    @property
    def condition(self) -> int:
        """What is so now. Assigning latches the bits that changed, as the filters say."""
        return self._condition

    @condition.setter
    def condition(self, value: int) -> None:
        value &= _ALL_15
        rose, fell = value & ~self._condition, self._condition & ~value
        self._event |= (rose & self.positive_transition) | (fell & self.negative_transition)
        self._condition = value

    def change(self, bits: int, on: bool) -> None:
        """Set or clear `bits` of the condition and leave the others."""
        self.condition = self._condition | bits if on else self._condition & ~bits

    def take_event(self) -> int:
        """What was latched since the last reading; reading clears it."""
        event, self._event = self._event, 0
        return event

    def clear_event(self) -> None:
        self._event = 0

    @property
    def summary(self) -> bool:
        return bool(self._event & self.enable)


class Status:
    """Everything a status query can ask for, and the error queue; one for all connections."""

    def __init__(self, queue_capacity: int, registers: Mapping[str, int] | None = None) -> None:
        """registers: the firmware's own, by name -> the bit of the status byte that sums each up."""
        self.errors = ErrorQueue(queue_capacity)
        self.operation = Register()
        self.questionable = Register()
        self.own = {name: Register() for name in registers or {}}
        self._summaries = [
            (self.questionable, int(StatusByte.QUESTIONABLE)),
            (self.operation, int(StatusByte.OPERATION)),
            *((self.own[name], bit) for name, bit in (registers or {}).items()),
        ]
        self.events = StandardEvent.POWER_ON
        self.event_enable = 0
        self._service_enable = 0

    @property
    def service_enable(self) -> int:
        """Which bits of the status byte ask for service; bit 6, the asking itself, cannot be enabled."""
        return self._service_enable

    @service_enable.setter
    def service_enable(self, value: int) -> None:
        self._service_enable = value & 0xFF & ~StatusByte.SERVICE

    def report(self, error: ScpiError) -> None:
        """Queue `error` and set the standard event of its class."""
        self.events |= event_of(error)
        if not self.errors.push(error):
            self.events |= StandardEvent.DEVICE_ERROR

    def take_events(self) -> int:
        """The standard events since the last reading; reading clears them."""
        events, self.events = self.events, StandardEvent(0)
        return int(events)

    def clear(self) -> None:
        """`*CLS`: events and errors go, conditions, filters and enables stay."""
        self.errors.clear()
        self.events = StandardEvent(0)
        for register, _ in self._summaries:
            register.clear_event()

    def preset(self) -> None:
        """`STATus:PRESet`: the SCPI registers' filters and enables; not `*ESE`, not `*SRE`."""
        for register, _ in self._summaries:
            register.preset()

    def byte(self, message_available: bool) -> int:
        """The status byte without bit 6. `message_available` is the asking connection's own."""
        byte = (
            (StatusByte.ERROR_QUEUE if len(self.errors) else 0)
            | (StatusByte.MESSAGE_AVAILABLE if message_available else 0)
            | (StatusByte.STANDARD_EVENT if self.events & self.event_enable else 0)
        )
        for register, bit in self._summaries:
            byte |= bit if register.summary else 0
        return byte


class ServiceRequest:
    """One connection's service request line, as IEEE 488.2 11.3 has it: pulled by a *new* reason for service.

    Attributes:
        pulled: RQS, until the poll or until no reason is left.
        count: how often it was pulled.
    """

    def __init__(self, status: Status) -> None:
        self._status = status
        self._reasons = 0
        self.pulled = False
        self.count = 0

    @property
    def is_wanted(self) -> bool:
        """Whether `update` can change anything: something may ask for service, or did."""
        return bool(self._status.service_enable or self._reasons)

    def update(self, message_available: bool) -> None:
        """Look at what is so now. To be called whenever a reason may have come or gone."""
        enabled = self._status.service_enable
        if not (enabled or self._reasons):
            return
        reasons = self._status.byte(message_available) & enabled
        if reasons & ~self._reasons:
            self.count += not self.pulled
            self.pulled = True
        elif not reasons:
            self.pulled = False
        self._reasons = reasons

    def poll(self, message_available: bool) -> int:
        """A serial poll: the status byte with RQS as bit 6, which it clears."""
        self.update(message_available)
        byte = self._status.byte(message_available) | (StatusByte.SERVICE if self.pulled else 0)
        self.pulled = False
        return int(byte)
