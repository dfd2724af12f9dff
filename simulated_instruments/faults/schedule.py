"""Which faults meet which message: by chance, by number, by the clock or by what the chip has had.

Chance is a function of seed, instrument, fault and message number alone, so threads do not change it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .kinds import Fault
from .plan import FaultPlan


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that meets message `number`; `chance` settles what it leaves open."""

    number: int
    fault: Fault
    chance: random.Random


class Schedule:
    """The faults of one instrument, asked once a message."""

    def __init__(self, plan: FaultPlan, instrument: str, now: Callable[[], float], pulses: Callable[[], int]) -> None:
        """now: s on the instrument's clock. pulses: what its chip has had; asked only where a fault goes by it."""
        self._seed = plan.seed
        self._instrument = instrument
        self._faults = [
            (index, fault)
            for index, fault in enumerate(plan.faults)
            if not fault.instruments or instrument in fault.instruments
        ]
        self._left = {index: fault.most for index, fault in self._faults}
        self._now, self._started = now, now()
        self._pulses = pulses
        self._first_pulses = pulses() if self._goes_by_pulses else 0
        self._seen = {index: 0 for index, _ in self._faults}  # how many of its times or pulses are behind us
        self._number = 0
        self._lock = threading.Lock()

    def next_message(self) -> tuple[int, list[Strike]]:
        """The number of the message that has come, and what strikes it, in the plan's order."""
        with self._lock:
            self._number += 1
            number = self._number
            passed = self._now() - self._started
            given = self._pulses() - self._first_pulses if self._goes_by_pulses else 0
            found = []
            for index, fault in self._faults:
                chance = random.Random(f"{self._seed}/{self._instrument}/{index}/{number}")
                if self._left[index] != 0 and self._strikes(index, fault, number, passed, given, chance):
                    left = self._left[index]
                    self._left[index] = None if left is None else left - 1
                    found.append(Strike(number, fault, chance))
            return number, found

    @property
    def _goes_by_pulses(self) -> bool:
        return any(fault.pulses for _, fault in self._faults)

    def _strikes(self, index: int, fault: Fault, number: int, passed: float, given: int, chance: random.Random) -> bool:
        if fault.probability is not None:
            return chance.random() < fault.probability
        if fault.messages:
            return number in fault.messages
        reached = sum(each <= passed for each in fault.times) + sum(each <= given for each in fault.pulses)
        before, self._seen[index] = self._seen[index], reached
        return reached > before
