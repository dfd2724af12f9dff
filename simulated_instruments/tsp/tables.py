"""What a script sees of an instrument: tables of attributes, functions and further tables.

Reading a name that is not there gives nil, as in any Lua table; writing one is an error of the script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..scpi.errors import ScpiError
from .errors import too_big, too_small

Value: TypeAlias = Any
"""None, a bool, a number, text, or a `Table`; what Lua has besides, such as its own tables, comes as lupa gives it."""

Accept: TypeAlias = Callable[[Value], Value]
"""Turns what a script gave into what an instrument wants. Raises ScpiError."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A name that is read, and written where `write` is there. Both raise ScpiError, which does not end the script."""

    read: Callable[[], Value]
    write: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A name that is called. It raises ScpiError, and then returns nothing; the script goes on.

    least, most: how many arguments it takes.
    """

    call: Callable[..., Value | tuple[Value, ...]]
    least: int = 0
    most: int = 0

    def __call__(self, arguments: tuple[Value, ...]) -> Value | tuple[Value, ...]:
        if len(arguments) < self.least:
            raise ScpiError(-109)
        if len(arguments) > self.most:
            raise ScpiError(-108)
        return self.call(*arguments)


class Table:
    """Names and what they mean. Anything that is not an Attribute is a constant."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.members = dict(members)

    def get(self, key: Value) -> Value:
        """Raises ScpiError as the attribute does."""
        member = self.members.get(key) if isinstance(key, str) else self.item(key)
        return member.read() if isinstance(member, Attribute) else member

    def item(self, key: Value) -> Value:  # noqa: ARG002
        """What stands at a key that is no name, as in `node[1]`."""
        return None

    def set(self, key: Value, value: Value) -> None:
        """Raises ScpiError as the attribute does, and KeyError with a sentence where there is none to write."""
        member = self.members.get(key) if isinstance(key, str) else None
        if not isinstance(member, Attribute):
            raise KeyError(f"attempt to assign to {key!r}, which is not an attribute")
        if member.write is None:
            raise KeyError(f"attempt to assign to {key!r}, which can only be read")
        member.write(value)


class Numbered(Table):
    """Members by number, as in `node[1]`."""

    def __init__(self, items: Mapping[int, Any]) -> None:
        super().__init__({})
        self._items = dict(items)

    def item(self, key: Value) -> Value:
        return self._items.get(key)


def number(low: float | None = None, high: float | None = None) -> Accept:
    """A number within limits: -104, 1101 and 1102 where it is none."""

    def accept(value: Value) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise ScpiError(-104)
        if low is not None and value < low:
            raise too_small()
        if high is not None and value > high:
            raise too_big()
        return value

    return accept


def whole(low: int, high: int) -> Accept:
    """A whole number within limits."""
    within = number(low, high)
    return lambda value: round(within(value))


def one_of(*values: int) -> Accept:
    """One of some numbers, which a manual names: beyond them 1101 or 1102, between them -224. true is 1, false is 0."""
    within = number(min(values), max(values))

    def accept(value: Value) -> int:
        found = within(int(value) if isinstance(value, bool) else value)
        if found not in values:
            raise ScpiError(-224)
        return int(found)

    return accept


def text(value: Value) -> str:
    if not isinstance(value, str):
        raise ScpiError(-104)
    return value


def stored(owner: object, name: str, accept: Accept) -> Attribute:
    """The attribute that is `owner.name`."""
    return Attribute(lambda: getattr(owner, name), lambda value: setattr(owner, name, accept(value)))


def constants(**values: int) -> dict[str, int]:
    """Names for numbers, as they stand in a manual."""
    return values
