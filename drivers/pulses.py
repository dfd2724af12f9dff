"""What is certain of a pulse that was refused: whether anything was given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from labctl.errors import InstrumentError


class NotPulsedError(InstrumentError):
    """Refused before anything that pulses was sent: nothing was given."""


@contextlib.contextmanager
def before_the_pulse() -> Iterator[None]:
    """What an instrument refuses in here has pulsed nothing. Raises NotPulsedError.

    A message goes on behind a command that was refused, so what may be refused is no part of the one that triggers.
    """
    try:
        yield
    except InstrumentError as problem:
        raise NotPulsedError(str(problem), command=problem.command, errors=problem.errors) from None
