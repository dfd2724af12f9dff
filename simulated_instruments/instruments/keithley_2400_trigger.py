"""The trigger model of the 2400: an arm layer around a trigger layer around one source-delay-measure action.

A run is a generator that goes on by itself as far as it can, and stops where it waits for an event: the bus trigger,
the trigger link, the front panel, or, of an arm count without end, the next message.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..scpi import Command, Keyword, Numeric, ScpiError, setting
from .clocks import BoardClock
from .keithley import value

ENDLESS = float("inf")
MOST_POINTS = 2500
_NEXT_MESSAGE = "next message"
_POINTS = Numeric(integer=True, minimum=1, maximum=MOST_POINTS, default=1)
_ARM_COUNT = Numeric(minimum=1, maximum=ENDLESS, default=1, infinite=True)
_LINE = Numeric(integer=True, minimum=1, maximum=4, default=1)


@dataclass(slots=True)
class Layer:
    """One layer's settings. delay, timer: s. count: passes; infinite for an arm layer without end.

    source: the event it waits for. The lines are those of the trigger link; output: when it pulses its own.
    """

    source: str = "IMM"
    count: float = 1
    delay: float = 0.0
    timer: float = 0.1
    input_line: int = 1
    output_line: int = 2
    output: str = "NONE"
    direction: str = "ACC"

    def reset(self) -> None:
        fresh = Layer()
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))


class TriggerModel:
    """Idle until `start`. `act(point)` measures; point counts within one pass of the trigger layer."""

    def __init__(self, clock: BoardClock, act: Callable[[int], None], finished: Callable[[], None]) -> None:
        self.arm, self.trigger = Layer(), Layer()
        self._clock = clock
        self._act, self._finished = act, finished
        self._run: Iterator[str] | None = None
        self.waits_for = ""
        self._due = 0.0

    @property
    def idle(self) -> bool:
        return self._run is None

    @property
    def waits_in(self) -> Layer | None:
        """The layer that waits for an event from outside."""
        return None if self.idle or self.waits_for == _NEXT_MESSAGE else self._layer

    def reset(self) -> None:
        self.abort()
        self.arm.reset()
        self.trigger.reset()

    def commands(self) -> list[Command]:
        arm, trigger = self.arm, self.trigger
        wait = Numeric(unit="S", minimum=0.0, maximum=999.9999, default=0.0)
        timer = Numeric(unit="S", minimum=0.001, maximum=99999.99, default=0.1)
        armed_by = Keyword("IMMediate", "TLINk", "TIMer", "MANual", "BUS", "NSTest", "PSTest", "BSTest")
        arm_header, trigger_header = "ARM[:SEQuence][:LAYer]", "TRIGger[:SEQuence]"
        commands = [
            setting(f"{arm_header}:SOURce", armed_by, arm, "source"),
            setting(f"{arm_header}:TIMer", timer, arm, "timer"),
            setting(f"{arm_header}:OUTPut", Keyword("TENTer", "TEXit", "NONE"), arm, "output"),
            value(f"{arm_header}:COUNt", _ARM_COUNT, self._arm_count, self._set_arm_count),
            setting(f"{trigger_header}:SOURce", Keyword("IMMediate", "TLINk"), trigger, "source"),
            setting(f"{trigger_header}:DELay", wait, trigger, "delay"),
            setting(f"{trigger_header}:OUTPut", Keyword("SOURce", "DELay", "SENSe", "NONE"), trigger, "output"),
            value(f"{trigger_header}:COUNt", _POINTS, lambda: int(trigger.count), self._set_trigger_count),
            Command("TRIGger:CLEar", set=lambda: None),
            Command("*TRG", set=lambda: self.event("BUS")),
        ]
        for header, layer in ((arm_header, arm), (trigger_header, trigger)):
            commands += [
                setting(f"{header}:ILINe", _LINE, layer, "input_line"),
                setting(f"{header}:OLINe", _LINE, layer, "output_line"),
                setting(f"{header}:DIRection", Keyword("ACCeptor", "SOURce"), layer, "direction"),
            ]
        return commands

    def _arm_count(self) -> float | int:
        return ENDLESS if self.arm.count == ENDLESS else int(self.arm.count)

    def _set_arm_count(self, count: float) -> None:
        if count != ENDLESS and count * self.trigger.count > MOST_POINTS:
            raise ScpiError(-222, f"arm and trigger counts make more than {MOST_POINTS} points")
        self.arm.count = count

    def _set_trigger_count(self, count: int) -> None:
        if self.arm.count != ENDLESS and count * self.arm.count > MOST_POINTS:
            raise ScpiError(-222, f"arm and trigger counts make more than {MOST_POINTS} points")
        self.trigger.count = count

    def start(self) -> None:
        """Raises ScpiError -213 where it runs already."""
        if not self.idle:
            raise ScpiError(-213)
        self._run = self._passes()
        self._go_on()

    def abort(self) -> None:
        self._run, self.waits_for = None, ""

    def event(self, source: str) -> None:
        """Something happened that a layer may wait for. Raises ScpiError -211 where none does."""
        if self.idle or self.waits_for != source:
            raise ScpiError(-211)
        self._go_on()

    def message(self) -> None:
        """A message came: an endless run makes its next pass."""
        if self.waits_for == _NEXT_MESSAGE:
            self._go_on()

    def _go_on(self) -> None:
        run = self._run
        assert run is not None
        try:
            self.waits_for = next(run)
        except StopIteration:
            self.abort()
            self._finished()
        except ScpiError:
            self.abort()
            raise

    def _passes(self) -> Iterator[str]:
        passes = itertools.count() if self.arm.count == ENDLESS else range(int(self.arm.count))
        for number in passes:
            yield from self._wait(self.arm, first=number == 0)
            for point in range(int(self.trigger.count)):
                yield from self._wait(self.trigger, first=True)
                self._clock.spend(self.trigger.delay)
                self._act(point)
            if self.arm.count == ENDLESS:
                yield _NEXT_MESSAGE

    def _wait(self, layer: Layer, first: bool) -> Iterator[str]:
        self._layer = layer
        if layer.source == "TIM":
            if not first:
                self._clock.spend(max(self._due - self._clock.now(), 0.0))
            self._due = self._clock.now() + layer.timer
        elif layer.source != "IMM":
            yield layer.source
