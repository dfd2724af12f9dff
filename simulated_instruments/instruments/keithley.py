"""What the SCPI of Keithley's source-measure units has in common: number formats, refusals, options, a beeper.

Readings leave as text (`+1.000206E+00`) or as single or double precision floats in a block of indefinite length (`#0`),
little endian unless told otherwise. What is not a number is 9.91E37, what is beyond the range 9.9E37.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from ..scpi import Boolean, Command, Keyword, Numeric, ScpiError, setting
from ..scpi.formatting import INFINITY, NOT_A_NUMBER
from ..scpi.lexer import Element, Kind
from ..scpi.parameters import Parameter
from .source_measure import BeyondPower, BeyondRange, OffState, Quantity

QUANTITY_OF: dict[str, Quantity] = {"VOLT": "voltage", "CURR": "current"}
WORDS: dict[Quantity, str] = {"voltage": "VOLTage", "current": "CURRent"}
FUNCTIONS = {"VOLT": '"VOLT:DC"', "CURR": '"CURR:DC"', "RES": '"RES"'}
"""What can be measured, by its short word -> as SENSe:FUNCtion? tells it."""
OFF_STATES = {
    "HIMP": OffState.HIGH_IMPEDANCE,
    "NORM": OffState.NORMAL,
    "ZERO": OffState.ZERO,
    "GUAR": OffState.GUARD,
}
_SPELLINGS = {
    spelling: short
    for short, long in (("VOLT", "VOLTAGE"), ("CURR", "CURRENT"), ("RES", "RESISTANCE"))
    for spelling in (short, long, f"{short}:DC", f"{long}:DC")
}
_MOST_DATA_BITS = 64


class SmuOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[simulated.NAME]` table for a source-measure unit.

    wired_to: `FIXTURE.LEAD`, another `[simulated.FIXTURE]` and a lead of it; without it nothing is connected. serial:
    its serial number, which decides its noise. line_frequency: of the mains, 50 or 60 Hz.
    """

    wired_to: str = ""
    serial: str = "1234567"
    line_frequency: float = 50.0

    def __post_init__(self) -> None:
        if self.line_frequency not in (50.0, 60.0):
            raise ValueError(f"line_frequency must be 50 or 60 Hz, not {self.line_frequency:g}")
        if not (self.serial.isascii() and self.serial.isalnum()):
            raise ValueError(f"serial must be plain letters and digits, not {self.serial!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Boolean):
    """ON, OFF or a number, or one of the further `words`, which arrive as they are, in capitals."""

    words: frozenset[str] = frozenset()

    def _value(self, element: Element) -> Any:
        if element.kind is Kind.CHARACTERS and element.text.upper() in self.words:
            return element.text.upper()
        return bool(Boolean._value(self, element))


class Value:
    """A setting that is read and written by two functions, for `scpi.setting(header, parameter, Value(...), "now")`."""

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._read, self._write = read, write

    @property
    def now(self) -> Any:
        return self._read()

    @now.setter
    def now(self, value: Any) -> None:
        self._write(value)


def value(header: str, parameter: Parameter, read: Callable[[], Any], write: Callable[[Any], None]) -> Command:
    """The command and query of a setting that two functions read and write."""
    return setting(header, parameter, Value(read, write), "now")


@contextmanager
def refusing(too_much: tuple[int, str]) -> Iterator[None]:
    """What a channel refuses, as an entry of the error queue; `too_much` where it is V and A together."""
    try:
        yield
    except BeyondRange as problem:
        raise ScpiError(-222, str(problem)) from None
    except BeyondPower:
        raise ScpiError(*too_much) from None


def function_named(name: str) -> str:
    """`'VOLTage:DC'` as VOLT. Raises ScpiError -224."""
    try:
        return _SPELLINGS[name.strip().upper()]
    except KeyError:
        raise ScpiError(-224, name) from None


def nr3(number: float) -> str:
    """`+1.000206E+00`; 9.91E37 for what is not a number, +-9.9E37 for what is beyond the range."""
    if math.isnan(number):
        number = NOT_A_NUMBER
    elif math.isinf(number):
        number = math.copysign(INFINITY, number)
    return f"{number:+.6E}"


class DataFormat:
    """FORMat[:DATA] and FORMat:BORDer of these instruments. `words`: what FORMat[:DATA] takes -> bits, 0 for text."""

    def __init__(self, words: dict[tuple[str, int | None], int]) -> None:
        self._words = words
        self.reset()

    def reset(self) -> None:
        self.bits, self.order = 0, "SWAP"

    def answer(self, numbers: Sequence[float]) -> str:
        """`numbers` as FORMat says."""
        if not self.bits:
            return ",".join(map(nr3, numbers))
        values = np.nan_to_num(np.array(numbers, float), nan=NOT_A_NUMBER, posinf=INFINITY, neginf=-INFINITY)
        dtype = np.dtype(f"f{self.bits // 8}").newbyteorder("<" if self.order == "SWAP" else ">")
        packed: bytes = values.astype(dtype).tobytes()
        return "#0" + packed.decode("latin-1")  # text leaves as it is, and a block of this kind has no length

    def commands(self) -> list[Command]:
        words = sorted({word for word, _ in self._words})
        names = {"ASC": "ASCii", "REAL": "REAL", "SRE": "SREal"}
        length = Numeric(integer=True, minimum=0, maximum=_MOST_DATA_BITS, optional=True)
        return [
            Command(
                "FORMat[:DATA]",
                set=self._choose,
                query=self._chosen,
                parameters=(Keyword(*(names[word] for word in words)), length),
            ),
            setting("FORMat:BORDer", Keyword("NORMal", "SWAPped"), self, "order"),
        ]

    def _choose(self, word: str, length: int | None = None) -> None:
        if (word, length) not in self._words:
            raise ScpiError(-224, f"{word} has no length {length}")
        self.bits = self._words[word, length]

    def _chosen(self) -> str:
        (word, length), *_ = [words for words, bits in self._words.items() if bits == self.bits]
        return word if length is None else f"{word},{length}"


def beeper() -> list[Command]:
    """SYSTem:BEEPer: its frequency in Hz and duration in s are checked; it is not heard."""
    heard = (
        Numeric(unit="HZ", minimum=20.0, maximum=2e6),
        Numeric(unit="S", minimum=0.0, maximum=100.0, optional=True),
    )
    return [Command("SYSTem:BEEPer[:IMMediate]", set=lambda *_: None, parameters=heard)]


def statistics(kind: str, columns: Iterable[Sequence[float]]) -> list[float]:
    """Of each column of readings (MEAN, SDEV, MAX, MIN or PKPK), in its unit; NaN where there is none to count."""
    functions: dict[str, Callable[[Any], Any]] = {
        "MEAN": np.mean,
        "SDEV": lambda values: np.std(values, ddof=1) if len(values) > 1 else 0.0,
        "MAX": np.max,
        "MIN": np.min,
        "PKPK": np.ptp,
    }
    found = []
    for column in columns:
        counted = np.array([each for each in column if math.isfinite(each)])
        found.append(float(functions[kind](counted)) if len(counted) else math.nan)
    return found
