"""How an instrument is asked what went wrong, and how its answers are put together: no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from labctl.links.units import parse_error, split_units

_NUMBER = r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
_TSP_ERROR = re.compile(rf"\s*({_NUMBER})\t([^\t]*[^\W\d][^\t]*)\t{_NUMBER}\t{_NUMBER}\s*")


class Dialect(Protocol):
    """error_query: the device's own word for "next error"."""

    @property
    def error_query(self) -> str: ...

    @property
    def ending(self) -> bytes:
        """What follows every message, so that a refusal is known in the same crossing of the wire."""

    def units(self, line: str) -> list[str]:
        """The text units of one line of an answer."""

    def is_last(self, line: str) -> bool:
        """Whether the answer to a message with its `ending` ends with this line."""

    def error(self, unit: str) -> tuple[int, str] | None:
        """Number and text of an answer to `error_query`; None where it is none."""


@dataclass(frozen=True, slots=True)
class Scpi:
    """One line an answer, its units apart by semicolons, that of the error query last."""

    error_query: str = ":SYSTem:ERRor?"

    @property
    def ending(self) -> bytes:
        return f";{self.error_query}\n".encode("ascii")

    def units(self, line: str) -> list[str]:
        return split_units(line)

    def is_last(self, line: str) -> bool:  # noqa: ARG002
        return True

    def error(self, unit: str) -> tuple[int, str] | None:
        return parse_error(unit)


@dataclass(frozen=True, slots=True)
class Tsp:
    """Keithley's scripts: an answer is a line for every `print`, its values apart by tabs; a unit is one line.

    An error ends the chunk it is in, so the error query is a chunk of its own behind it. Its answer, of number, text,
    severity and node, is the last line.
    """

    error_query: str = "print(errorqueue.next())"

    @property
    def ending(self) -> bytes:
        return f"\n{self.error_query}\n".encode("ascii")

    def units(self, line: str) -> list[str]:
        return [line.strip("\r\n")]

    def is_last(self, line: str) -> bool:
        return self.error(line) is not None

    def error(self, unit: str) -> tuple[int, str] | None:
        found = _TSP_ERROR.fullmatch(unit)
        if found is None or re.fullmatch(_NUMBER, found[2].strip()):
            return None
        return int(float(found[1])), found[2].strip()
