"""The trigger model of the 2450, from its templates: sweeps, lists and loops.

It is carried out within the message that initiates it, so that *WAI and *OPC? have nothing to wait for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..scpi import Boolean, Command, Keyword, Numeric, ScpiError, Text
from .keithley import WORDS, refusing
from .keithley_2450_buffers import DEFAULT, Buffer, Buffers, SourceStatus, Stored, as_text
from .keithley_2450_settings import Settings
from .keithley_2450_specifications import LARGEST, MOST_LEVELS, POWER, amount, amounts
from .source_measure import Quantity, unit

_BUFFER = Text(optional=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """A trigger model from a template: each level `passes` times, with `delay` s before each measurement.

    levels: None where the level stays as it is. best: the range holds all of them. stops: at the first reading that
    is limited.
    """

    levels: tuple[float, ...] | None
    quantity: Quantity
    passes: int
    delay: float
    buffer: str
    ranging: str = "BEST"
    stops: bool = False


class TriggerModel:
    """What INITiate carries out; `measure` gives one reading."""

    def __init__(self, settings: Settings, buffers: Buffers, measure: Callable[[], Stored]) -> None:
        self.settings, self.buffers = settings, buffers
        self.channel = settings.channel
        self._measure = measure
        self._plan: Plan | None = None

    def reset(self) -> None:
        self._plan = None

    def commands(self) -> Iterator[Command]:
        for quantity in WORDS:
            yield from self._sweep_commands(quantity)
        yield from self._trigger_commands()

    def _sweep_commands(self, quantity: Quantity) -> list[Command]:
        word, level = WORDS[quantity], amount(quantity, 0.0)
        points = Numeric(integer=True, minimum=2, maximum=1_000_000)
        step = Numeric(unit=unit(quantity), minimum=0.0, maximum=2 * LARGEST[quantity])
        how = (
            Numeric(unit="S", minimum=-1.0, maximum=1e4, default=-1.0, optional=True),
            Numeric(integer=True, minimum=0, maximum=268_435_455, default=1, optional=True),
            Keyword("AUTO", "BEST", "FIXed", optional=True),
            Boolean(optional=True),
            Boolean(optional=True),
            _BUFFER,
        )
        listed = (Numeric(integer=True, minimum=1, maximum=MOST_LEVELS, optional=True), *how[:2], how[3], _BUFFER)
        many = (amounts(quantity),)

        def sweep(levels: Callable[[float, float, Any], Any]) -> Callable[..., None]:
            def plan(start: float, stop: float, third: Any, *rest: Any) -> None:
                self._plan_sweep(quantity, levels(start, stop, third), *rest)

            return plan

        return [
            Command(f"SOURce:SWEep:{word}:LINear", set=sweep(np.linspace), parameters=(level, level, points, *how)),
            Command(f"SOURce:SWEep:{word}:LINear:STEP", set=sweep(_stepped), parameters=(level, level, step, *how)),
            Command(f"SOURce:SWEep:{word}:LOG", set=sweep(_decades), parameters=(level, level, points, *how)),
            Command(f"SOURce:SWEep:{word}:LIST", set=self._list_sweep(quantity), parameters=listed),
            Command(
                f"SOURce:LIST:{word}",
                set=lambda *levels: self._set_list(quantity, [], levels),
                query=lambda: as_text(self.settings.sources[quantity].listed),
                parameters=many,
            ),
            Command(
                f"SOURce:LIST:{word}:APPend",
                set=lambda *levels: self._set_list(quantity, self.settings.sources[quantity].listed, levels),
                parameters=many,
            ),
            Command(f"SOURce:LIST:{word}:POINts", query=lambda: len(self.settings.sources[quantity].listed)),
        ]

    def _plan_sweep(
        self,
        quantity: Quantity,
        levels: Sequence[float],
        delay: float = -1.0,
        count: int = 1,
        ranging: str = "BEST",
        stops: bool = True,
        dual: bool = False,
        buffer: str = DEFAULT,
    ) -> None:
        if quantity != self.channel.function:
            raise ScpiError(-221, f"{quantity} is not the source function")
        if count == 0:
            raise ScpiError(-221, "a sweep without end is not simulated")
        self.buffers[buffer]
        there = tuple(float(each) for each in levels)
        back = there[::-1] if dual else ()
        self._plan = Plan((*there, *back), quantity, count, max(delay, 0.0), buffer, ranging, stops)

    def _list_sweep(self, quantity: Quantity) -> Callable[..., None]:
        def plan(
            first: int = 1, delay: float = -1.0, count: int = 1, stops: bool = True, buffer: str = DEFAULT
        ) -> None:
            levels = self.settings.sources[quantity].listed
            if first > len(levels):
                raise ScpiError(-222, f"the list has {len(levels)} levels")
            self._plan_sweep(quantity, levels[first - 1 :], delay, count, "BEST", stops, False, buffer)

        return plan

    def _set_list(self, quantity: Quantity, before: Sequence[float], levels: Sequence[float]) -> None:
        if len(before) + len(levels) > MOST_LEVELS:
            raise ScpiError(-223, f"a list has {MOST_LEVELS} levels at most")
        self.settings.sources[quantity].listed = [*before, *levels]

    def _trigger_commands(self) -> list[Command]:
        count = Numeric(integer=True, minimum=1, maximum=268_435_455)
        delay = Numeric(unit="S", minimum=0.0, maximum=1e4, default=0.0, optional=True)
        return [
            Command("INITiate[:IMMediate]", set=self._initiate),
            Command("ABORt", set=lambda: None),  # between two messages nothing runs
            Command("*TRG", set=lambda: None),  # nothing waits for it, either
            Command("TRIGger:STATe", query=lambda: "IDLE;IDLE;0"),
            Command(
                "TRIGger:LOAD",
                set=self._load,
                parameters=(Text(), Numeric(minimum=0.0, maximum=1e9, optional=True), delay, _BUFFER),
            ),
            Command("TRIGger:LOAD:EMPTy", set=lambda: self._load("Empty")),
            Command("TRIGger:LOAD:LOOP:SIMPle", set=self._load_simple, parameters=(count, delay, _BUFFER)),
        ]

    def _load(self, template: str, amount: float = 1.0, delay: float = 0.0, buffer: str = DEFAULT) -> None:
        if template.casefold() == "empty":
            self._plan = None
        elif template.casefold() == "simpleloop":
            self._load_simple(round(amount), delay, buffer)
        else:
            raise ScpiError(-224, f"no template {template} is simulated")

    def _load_simple(self, count: int, delay: float = 0.0, buffer: str = DEFAULT) -> None:
        self.buffers[buffer]
        self._plan = Plan(None, self.channel.function, max(count, 1), delay, buffer)

    def _initiate(self) -> None:
        """Carry out the trigger model: the buffer is cleared, the output on, and off again at the end."""
        plan = self._plan
        if plan is None:
            raise ScpiError(-221, "the trigger model is empty")
        if plan.quantity != self.channel.function:
            raise ScpiError(-221, f"{plan.quantity} is not the source function")
        buffer = self.buffers[plan.buffer]
        buffer.clear()
        best = max(map(abs, plan.levels)) if plan.levels and plan.ranging == "BEST" else 0.0
        with refusing(POWER):
            if plan.levels and plan.ranging != "FIX":
                self.channel.set_source_auto(plan.quantity, True)
                self.channel.set_level(plan.quantity, plan.levels[0], best)
            self.channel.set_output(True)
            try:
                self._carry_out(plan, buffer, best)
            finally:
                self.channel.set_output(False)

    def _carry_out(self, plan: Plan, buffer: Buffer, best: float) -> None:
        for _ in range(plan.passes):
            for level in plan.levels or (None,):
                if level is not None:
                    self.channel.set_level(plan.quantity, level, best)
                self.channel.lead.clock.spend(plan.delay)
                stored = self._measure()
                buffer.store(stored)
                if plan.stops and SourceStatus.LIMIT in stored.source_status:
                    return


def _stepped(start: float, stop: float, step: float) -> Sequence[float]:
    if step <= 0:
        raise ScpiError(-222, "the step must be above zero")
    steps = math.floor(abs(stop - start) / step + 1e-9)
    return [start + math.copysign(step, stop - start) * number for number in range(steps + 1)]


def _decades(start: float, stop: float, points: int) -> Sequence[float]:
    if start * stop <= 0:
        raise ScpiError(-221, "a logarithmic sweep neither begins nor ends at zero nor crosses it")
    return [float(level) for level in np.geomspace(start, stop, points)]
