"""In which order the variables of a group are computed, in place or not, and where: one walk does all three.

Depth first from the sums, so that few variables are alive at once; a variable goes to the sums it belongs to as soon
as it is there, and its columns are free after its last use. A variable is computed in place of an operand that is used
for the last time. All words are unsigned, so that nothing has to be done for the sign of a narrow word above its bits
in a wide one: x - y is held as x + ~y, with an offset that is known, or as y + ~x, whose sign is the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from labctl.compiler.allocation import Slots
from labctl.compiler.emission import Kind
from labctl.compiler.subexpressions import Expressions

INPUT, SLOT = 0, 1
"""Where a variable is: one of the group's inputs, or a slot for temporary words."""


class Place(NamedTuple):
    """Where a variable is held, and as what: sign * variable + offset, from low (0 or more) to high, and its bits."""

    where: int
    number: int
    sign: int
    bits: int
    low: int
    high: int
    offset: int


class Step(NamedTuple):
    """One word operation: kind, operands a and b, and the place of the result; in place, b and it have one place."""

    kind: Kind
    a: Place
    b: Place
    result: Place


class Delivery(NamedTuple):
    """After so many steps, `row`'s sum takes what is held at `place` (less its offset), times `sign`."""

    steps: int
    row: int
    place: Place
    sign: int


@dataclass(frozen=True)
class Schedule:
    """Steps of a group in order, and what goes to the sums when; `slots` is how many slots it takes."""

    steps: list[Step]
    deliveries: list[Delivery]
    slots: int


def schedule(expressions: Expressions, input_range: tuple[int, int], slots: Slots) -> Schedule:
    """All steps for `expressions`; `slots` is empty before and after."""
    walk = _Walk(expressions, input_range, slots)
    walk.all_sums()
    return Schedule(walk.steps, walk.deliveries, slots.most)


class _Walk:
    def __init__(self, expressions: Expressions, input_range: tuple[int, int], slots: Slots) -> None:
        self.inputs = expressions.inputs
        self.definitions = expressions.definitions
        self.slots = slots
        self.steps: list[Step] = []
        self.deliveries: list[Delivery] = []
        low, high = input_range
        top = high - low
        self.place: list[Place | None] = [
            Place(INPUT, each, 1, top.bit_length(), 0, top, -low) for each in range(self.inputs)
        ]
        self.place += [None] * len(self.definitions)
        self.uses = [0] * len(self.place)
        self.partners: list[list[int]] = [[] for _ in self.place]
        for left, right, _ in self.definitions:
            self.uses[left] += 1
            self.uses[right] += 1
            self.partners[left].append(right)
            self.partners[right].append(left)
        self.sums: dict[int, list[tuple[int, int]]] = {}
        for row, (variable, sign) in enumerate(expressions.results):
            if variable >= 0:
                self.sums.setdefault(variable, []).append((row, sign))

    def all_sums(self) -> None:
        for variable in sorted(self.sums):
            if variable < self.inputs:
                self._deliver(variable)
        for variable in sorted(self.sums):
            self._compute(variable)

    def _compute(self, wanted: int) -> None:
        waiting = [wanted]
        while waiting:
            variable = waiting[-1]
            if self.place[variable] is not None:
                waiting.pop()
                continue
            left, right, sign = self.definitions[variable - self.inputs]
            missing = [each for each in (right, left) if self.place[each] is None]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            self._define(variable, left, right, sign)
            self._deliver(variable)
            for each in (left, right, variable):
                self._free_if_done(each)

    def _define(self, variable: int, left: int, right: int, sign: int) -> None:
        a, b = self.place[left], self.place[right]
        assert a is not None
        assert b is not None
        self.uses[left] -= 1
        self.uses[right] -= 1
        a_sign, b_sign = a.sign, b.sign * sign
        same = a_sign == b_sign
        if (into := self._in_place(variable, left, right)) is not None:
            if into == left:
                a, b, b_sign = b, a, a_sign
            kind = Kind.ADD if same else Kind.ADD_NOT
            result = _held(b, a, same, b.number, b_sign)
            self.place[into] = None
        else:
            if not same and _held(b, a, same).high < _held(a, b, same).high:
                a, b, a_sign = b, a, b_sign
            kind = Kind.ADD_OUT if same else Kind.ADD_NOT_OUT
            result = _held(a, b, same, self.slots.take(self._not_beside(variable, a, b)), a_sign)
        self.place[variable] = result
        self.steps.append(Step(kind, a, b, result))

    def _in_place(self, variable: int, left: int, right: int) -> int | None:
        """The operand that the result can take the columns of."""
        for each in (right, left):
            place = self.place[each]
            assert place is not None
            last = not self.uses[each]
            if last and place.where == SLOT and self.slots.track(place.number) not in self._not_beside(variable):
                return each
        return None

    def _not_beside(self, variable: int, *operands: Place) -> set[int]:
        """The tracks of what the variable will be used with, and of `operands`: it must be on another."""
        beside = [place for other in self.partners[variable] if (place := self.place[other]) is not None]
        return {self.slots.track(place.number) for place in (*beside, *operands) if place.where == SLOT}

    def _deliver(self, variable: int) -> None:
        place = self.place[variable]
        assert place is not None
        for row, sign in self.sums.get(variable, ()):
            self.deliveries.append(Delivery(len(self.steps), row, place, sign * place.sign))

    def _free_if_done(self, variable: int) -> None:
        place = self.place[variable]
        if place is not None and place.where == SLOT and not self.uses[variable]:
            self.slots.give_back(place.number)
            self.place[variable] = None


def _held(kept: Place, other: Place, same: bool, slot: int = 0, sign: int = 1) -> Place:
    """kept + other where they have the same sign; else kept + ~other, which is unsigned too."""
    if same:
        low, high, offset = kept.low + other.low, kept.high + other.high, kept.offset + other.offset
    else:
        ones = (1 << other.bits) - 1
        low, high = kept.low + ones - other.high, kept.high + ones - other.low
        offset = kept.offset - other.offset + ones
    return Place(SLOT, slot, sign, high.bit_length(), low, high, offset)
