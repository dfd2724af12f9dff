"""Typed parameters: what a command takes, and the standard's error for what it does not.

A parameter turns one data element into a value for the handler. Numbers know their unit, range and default,
so that `PULSe:WIDTh 100 NS`, `PULSe:WIDTh MAXimum` and `PULSe:WIDTh? MAXimum` need no code in a firmware.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from .errors import ScpiError
from .formatting import INFINITY, Array, Format
from .lexer import Element, Kind
from .suffixes import suffixes_of

Bound: TypeAlias = float | Callable[[], float] | None
"""A limit: fixed, asked for each time because it depends on other settings, or absent."""

_KEYWORD = re.compile(r"([A-Z0-9_]+)([a-z0-9_]*)")
_NOT_ALLOWED = {
    Kind.NUMBER: -128,
    Kind.CHARACTERS: -148,
    Kind.STRING: -158,
    Kind.BLOCK: -168,
    Kind.EXPRESSION: -178,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What every parameter has.

    optional: it may be left out, and then the handler gets fewer arguments. repeat: it takes every element
    that is left, one or more; only the last parameter of a command may.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ()

    optional: bool = False
    repeat: bool = False

    def convert(self, element: Element, settings: Format) -> Any:  # noqa: ARG002 -- a Block's byte order
        """The handler's value. Raises ScpiError where the element's kind or value is wrong."""
        self._check_kind(element)
        return self._value(element)

    @property
    def is_fixed(self) -> bool:
        """Whether an element always becomes the same value, which nobody can change."""
        return False

    def _check_kind(self, element: Element) -> None:
        if element.kind not in self.kinds:
            raise ScpiError(_NOT_ALLOWED[element.kind])

    def _value(self, element: Element) -> Any:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric(Parameter):
    """A number: NR1, NR2, NR3 or #H #Q #B, with a unit suffix where `unit` is given, as a float in that unit.

    minimum, maximum, default: what is allowed, and what MIN, MAX and DEF stand for, where they are given.
    integer: rounded to the nearest whole number, and an int. infinite: INF, NINF and NAN are numbers too.
    """

    kinds = (Kind.NUMBER, Kind.CHARACTERS)

    unit: str = ""
    minimum: Bound = None
    maximum: Bound = None
    default: Bound = None
    integer: bool = False
    infinite: bool = False

    @property
    def is_fixed(self) -> bool:
        return not any(callable(bound) for bound in (self.minimum, self.maximum, self.default))

    def bound(self, name: str) -> float | int | None:
        """What MIN, MAX or DEF (either form, any case) stand for now; None where they stand for nothing."""
        limits = (("MINimum", self.minimum), ("MAXimum", self.maximum), ("DEFault", self.default))
        for keyword, limit in limits:
            if name.upper() in _forms(keyword):
                return self._now(limit)
        return None

    def _now(self, limit: Bound) -> float | int | None:
        value = limit() if callable(limit) else limit
        return round(value) if self.integer and value is not None else value

    def _value(self, element: Element) -> float | int:
        if element.kind is Kind.CHARACTERS:
            return self._named(element.text)
        value = self._scaled(element.text, element.suffix)
        if not math.isfinite(value):
            raise ScpiError(-222, "too large a number")
        return self._checked(value)

    def _named(self, name: str) -> float | int:
        value = self.bound(name)
        if value is not None:
            return value
        if self.infinite:
            if name.upper() in _forms("INFinity"):
                return self._checked(math.inf)
            if name.upper() in _forms("NINFinity"):
                return self._checked(-math.inf)
            if name.upper() == "NAN":
                return math.nan
        named = self.infinite or (self.minimum, self.maximum, self.default) != (None, None, None)
        raise ScpiError(-141 if named else -148, name)

    def _scaled(self, text: str, suffix: str) -> float:
        """The float nearest to the number and unit as written: 200 NS is 2e-07, not 200 times 1e-09."""
        if not suffix:
            return float(text)
        if not self.unit:
            raise ScpiError(-138, suffix)
        try:
            power = suffixes_of(self.unit)[suffix]
        except KeyError:
            raise ScpiError(-131, f"{suffix} is not in {self.unit}") from None
        mantissa, _, exponent = text.partition("e")
        return float(f"{mantissa}e{int(exponent or 0) + power}")

    def _checked(self, value: float) -> float | int:
        if self.infinite and abs(value) >= INFINITY:
            value = math.copysign(math.inf, value)
        else:
            value = self._rounded(value)
        minimum, maximum = self._now(self.minimum), self._now(self.maximum)
        if minimum is not None and value < minimum:
            raise ScpiError(-222, f"{value:.9g} is below {minimum:.9g}{self._unit_text}")
        if maximum is not None and value > maximum:
            raise ScpiError(-222, f"{value:.9g} is above {maximum:.9g}{self._unit_text}")
        return value

    @property
    def _unit_text(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _rounded(self, value: float) -> float | int:
        return round(value) if self.integer else value


@dataclass(frozen=True, slots=True, init=False)
class Keyword(Parameter):
    """One of some words, written as in manuals (`VOLTage`): either form, any case; read as the short."""

    kinds = (Kind.CHARACTERS,)

    words: dict[str, str]

    def __init__(self, *words: str, optional: bool = False, repeat: bool = False) -> None:
        forms = {form: min(_forms(word), key=len) for word in words for form in _forms(word)}
        object.__setattr__(self, "words", forms)
        object.__setattr__(self, "optional", optional)
        object.__setattr__(self, "repeat", repeat)

    @property
    def is_fixed(self) -> bool:
        return True

    def _value(self, element: Element) -> str:
        try:
            return self.words[element.text.upper()]
        except KeyError:
            raise ScpiError(-224, element.text) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boolean(Parameter):
    """ON, OFF, or a number, which is rounded and means on unless it is zero."""

    kinds = (Kind.CHARACTERS, Kind.NUMBER)

    def _value(self, element: Element) -> bool:
        if element.kind is Kind.NUMBER:
            if element.suffix:
                raise ScpiError(-138, element.suffix)
            return abs(float(element.text)) >= 0.5
        word = element.text.upper()
        if word not in ("ON", "OFF"):
            raise ScpiError(-224, element.text)
        return word == "ON"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Parameter):
    """A string in either quote."""

    kinds = (Kind.STRING,)

    max_length: int = 1024

    def _value(self, element: Element) -> str:
        if len(element.text) > self.max_length:
            raise ScpiError(-223, f"a string of more than {self.max_length} characters")
        return element.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Parameter):
    """A block as an array of `dtype`, in the byte order of FORMat:BORDer: a read-only view of the message.

    The view may be kept: the engine then leaves that memory to it and takes new memory for the next message.
    """

    kinds = (Kind.BLOCK,)

    dtype: DTypeLike = np.uint8

    def convert(self, element: Element, settings: Format) -> Array:
        self._check_kind(element)
        dtype = settings.order(np.dtype(self.dtype))
        if len(element.payload) % dtype.itemsize:
            raise ScpiError(-161, f"its length is not a multiple of {dtype.itemsize}")
        return np.frombuffer(element.payload, dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelList(Parameter):
    """`(@1,3:5)` as the tuple (1, 3, 4, 5); a range may count down. Channels outside the limits are -222."""

    kinds = (Kind.EXPRESSION,)

    minimum: int = 1
    maximum: int = 9999
    max_channels: int = 65536

    def _value(self, element: Element) -> tuple[int, ...]:
        body = element.text.strip()
        if not body.startswith("@"):
            raise ScpiError(-171, "a channel list begins with (@")
        channels: list[int] = []
        if not body[1:].strip():
            return ()
        for entry in body[1:].split(","):
            ends = [self._channel(end) for end in entry.split(":")]
            if len(ends) > 2:
                raise ScpiError(-171, entry)
            step = 1 if ends[-1] >= ends[0] else -1
            span = range(ends[0], ends[-1] + step, step)
            if len(channels) + len(span) > self.max_channels:
                raise ScpiError(-223, f"more than {self.max_channels} channels")
            channels.extend(span)
        return tuple(channels)

    def _channel(self, text: str) -> int:
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit()):
            raise ScpiError(-171, text)
        if len(digits) > 9 or not self.minimum <= int(digits) <= self.maximum:
            raise ScpiError(-222, f"channel {digits} is not in {self.minimum} to {self.maximum}")
        return int(digits)


@cache
def _forms(word: str) -> tuple[str, ...]:
    """`VOLTage` -> VOLT and VOLTAGE."""
    found = _KEYWORD.fullmatch(word)
    if found is None:
        raise ValueError(f"{word!r} is not a keyword: write its short form in capitals, as VOLTage")
    return (found[1], word.upper()) if found[2] else (found[1],)
