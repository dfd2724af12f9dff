"""A word to the person at the terminal while a run goes on."""

from __future__ import annotations

import contextlib
import sys


def tell(text: str) -> None:
    """On stderr, which may be gone with its terminal."""
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        print(text, file=sys.stderr, flush=True)
