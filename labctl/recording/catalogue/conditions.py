"""Conditions on settings and results of runs, as a person writes them: `tolerance<=1uS`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from labctl.errors import UsageError
from labctl.recording.catalogue.entries import Entry
from labctl.units import parse_quantity

_CONDITION = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|!=|=|<|>)\s*([^\s<>=!](?:.*\S)?)\s*", re.DOTALL)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS = ("V", "A", "S", "s", "Ohm", "K", "Vs", "Hz", "W", "J", "C", "F")
"""What settings and results are measured in."""

_WORDS: dict[str, bool | None] = {"true": True, "yes": True, "false": False, "no": False, "none": None, "null": None}
_COUNTS = ("rows", "cols", "steps", "operations", "events", "pulses", "unknown_dose", "unsettled", "elapsed")
_CLOSE = 1e-9
"""Relative difference at which numbers count as equal: 300 mV is 0.3 V however that was computed."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What stands at `path` of a run, compared with `text`, which is `number` in SI units where it is one.

    path: of a setting; else of a result of the summary; else a count of the run (`events`); else an attribute
    (`host`). `settings.` or `summary.` before it says which. A list fulfils it by any element, and `!=` by none
    being equal. A run without the path does not fulfil it.
    """

    path: str
    comparison: str
    text: str
    number: float | None

    @classmethod
    def parse(cls, said: str) -> Condition:
        """Raises UsageError with a sentence that says what would be right."""
        found = _CONDITION.fullmatch(said)
        if found is None:
            raise UsageError(
                f"--where {said}: write a setting or result, one of = != < <= > >=, and a value, like tolerance<=1uS"
            )
        path, comparison, text = found.groups()
        number = parse_number(text)
        if comparison in _ORDER and number is None:
            raise UsageError(f"--where {said}: {text} is not a number to compare with, like 200 or 1uS or 95%")
        return cls(path, comparison, text, number)

    def concerns(self, entry: Entry) -> bool:
        """Whether the run has anything at the path."""
        return self._find(entry) is not None

    def holds(self, entry: Entry) -> bool:
        """Whether the run fulfils it."""
        values = self._find(entry)
        if values is None:
            return False
        if self.comparison in _ORDER:
            return any(self._is_ordered(each) for each in values)
        return any(self._is_equal(each) for each in values) == (self.comparison == "=")

    def _find(self, entry: Entry) -> list[Any] | None:
        for prefix, values in _places(entry):
            for path in (self.path, self.path.removeprefix(prefix)):
                if path in values:
                    value = values[path]
                    return value if isinstance(value, list) else [value]
        return None

    def _is_ordered(self, value: Any) -> bool:
        assert self.number is not None
        return _is_number(value) and _ORDER[self.comparison](value, self.number)

    def _is_equal(self, value: Any) -> bool:
        if value is None or isinstance(value, bool):
            return _WORDS.get(self.text.casefold(), self) is value
        if _is_number(value):
            return self.number is not None and math.isclose(value, self.number, rel_tol=_CLOSE)
        return str(value).casefold() == self.text.casefold()


def paths(entry: Entry) -> set[str]:
    """Everything of a run that a condition can be about."""
    return {path for _, values in _places(entry) for path in values}


def parse_number(text: str) -> float | None:
    """`200`, `1uS` in SI units, `95%` as a fraction; None for what is no number."""
    if text.endswith("%"):
        share = parse_number(text[:-1])
        return None if share is None else share / 100
    for unit in _UNITS:
        try:
            return parse_quantity(text, unit)
        except ValueError:
            continue
    return None


def _places(entry: Entry) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Where a path may lead, by the prefix that says so."""
    counts = {name: getattr(entry, name) for name in _COUNTS}
    return ("settings.", entry.settings), ("summary.", entry.summary), ("", counts), ("", entry.attributes)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
