"""Errors of instruments that run scripts: the standard's, Keithley's own numbers, and what a script itself does wrong.

An error in an attribute or a function's argument goes to the queue and the script goes on; what Lua cannot carry out
ends the script. Keithley's own numbers and texts, 1101 and 1102, are from memory of the Series 2600B Reference Manual
(2600BS-901-01, section 8), and not checked.
"""

from __future__ import annotations

from ..scpi.errors import ScpiError

SYNTAX = -285
RUNTIME = -286
TOO_SMALL = 1101
TOO_BIG = 1102

SEVERITY = 20
"""RECOVERABLE, of everything but an empty queue."""


class ScriptError(ScpiError):
    """What ended a script, or kept it from being run. `detail` is the whole text."""

    @property
    def text(self) -> str:
        return self.detail[:255]


def too_small() -> ScpiError:
    return ScpiError(TOO_SMALL, "Parameter too small")


def too_big() -> ScpiError:
    return ScpiError(TOO_BIG, "Parameter too big")
