"""The standard's error numbers, the exception that carries one, and the bounded queue they are read from."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_ERROR = '0,"No error"'

STANDARD: Mapping[int, str] = MappingProxyType(
    {
        -100: "Command error",
        -101: "Invalid character",
        -102: "Syntax error",
        -103: "Invalid separator",
        -104: "Data type error",
        -108: "Parameter not allowed",
        -109: "Missing parameter",
        -110: "Command header error",
        -111: "Header separator error",
        -112: "Program mnemonic too long",
        -113: "Undefined header",
        -114: "Header suffix out of range",
        -120: "Numeric data error",
        -121: "Invalid character in number",
        -123: "Exponent too large",
        -124: "Too many digits",
        -128: "Numeric data not allowed",
        -130: "Suffix error",
        -131: "Invalid suffix",
        -134: "Suffix too long",
        -138: "Suffix not allowed",
        -140: "Character data error",
        -141: "Invalid character data",
        -144: "Character data too long",
        -148: "Character data not allowed",
        -150: "String data error",
        -151: "Invalid string data",
        -158: "String data not allowed",
        -160: "Block data error",
        -161: "Invalid block data",
        -168: "Block data not allowed",
        -170: "Expression error",
        -171: "Invalid expression",
        -178: "Expression data not allowed",
        -200: "Execution error",
        -203: "Command protected",
        -211: "Trigger ignored",
        -213: "Init ignored",
        -214: "Trigger deadlock",
        -220: "Parameter error",
        -221: "Settings conflict",
        -222: "Data out of range",
        -223: "Too much data",
        -224: "Illegal parameter value",
        -225: "Out of memory",
        -230: "Data corrupt or stale",
        -240: "Hardware error",
        -241: "Hardware missing",
        -285: "Program syntax error",
        -286: "Program runtime error",
        -310: "System error",
        -330: "Self-test failed",
        -350: "Queue overflow",
        -360: "Communication error",
        -363: "Input buffer overrun",
        -400: "Query error",
        -410: "Query INTERRUPTED",
        -420: "Query UNTERMINATED",
        -430: "Query DEADLOCKED",
        -440: "Query UNTERMINATED after indefinite response",
    }
)
"""Number -> text, as SCPI-1999 volume 2 chapter 21 has them. A firmware's own errors are positive."""

_LONGEST_TEXT = 255
_UNPRINTABLE = re.compile(r"[^ -~]")  # a newline in a text would end the response


class ScpiError(Exception):
    """What a command, or the exchange of messages, did wrong: an entry of the error queue.

    `detail` follows the standard text after a semicolon; of a positive, device-specific number it is the
    text.
    """

    def __init__(self, number: int, detail: str = "") -> None:
        if number == 0 or (number < 0 and number not in STANDARD):
            raise ValueError(f"{number} is neither a standard error number nor a positive one")
        self.number = number
        self.detail = detail
        super().__init__(number, detail)

    @property
    def text(self) -> str:
        """The text without its quotes, shortened to what the standard allows."""
        if self.number > 0:
            return self.detail[:_LONGEST_TEXT] or "Device-specific error"
        standard = STANDARD[self.number]
        return f"{standard};{self.detail}"[:_LONGEST_TEXT] if self.detail else standard

    @property
    def ends_message(self) -> bool:
        """What follows in the message is dropped: it cannot be understood (-1xx) or answered (-430)."""
        return -200 < self.number <= -100 or self.number == -430

    def __str__(self) -> str:
        quoted = _UNPRINTABLE.sub("?", self.text).replace('"', '""')
        return f'{self.number},"{quoted}"'


class _Entry(NamedTuple):
    number: int
    text: str
    line: str


class ErrorQueue:
    """First in, first out, bounded: when full, the youngest entry becomes -350 and later ones are lost."""

    def __init__(self, capacity: int = 32) -> None:
        if capacity < 2:
            raise ValueError("the standard asks for room for at least two errors")
        self._capacity = capacity
        self._entries: deque[_Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, error: ScpiError) -> bool:
        """Store `error`; False where there was no room for it."""
        if len(self._entries) < self._capacity:
            self._entries.append(_Entry(error.number, error.text, str(error)))
            return True
        overflow = ScpiError(-350)
        self._entries[-1] = _Entry(-350, overflow.text, str(overflow))
        return False

    def pop(self) -> str:
        """The oldest entry as `number,"text"`, removed; `0,"No error"` where there is none."""
        return self._entries.popleft().line if self._entries else NO_ERROR

    def take(self) -> tuple[int, str]:
        """The oldest entry's number and text, removed; 0 and `No error` where there is none."""
        entry = self._entries.popleft() if self._entries else _Entry(0, "No error", NO_ERROR)
        return entry.number, entry.text

    def clear(self) -> None:
        self._entries.clear()
