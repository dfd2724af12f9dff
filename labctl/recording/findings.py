"""What a check of a run file finds."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class Severity(enum.StrEnum):
    """ERROR: the file cannot be relied on. WARNING: what it says holds, but something one may want is not there."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a run file."""

    severity: Severity
    text: str


def error(text: str) -> Finding:
    return Finding(Severity.ERROR, text)


def warning(text: str) -> Finding:
    return Finding(Severity.WARNING, text)


def where(
    wrong: NDArray[np.bool_], text: str, first: int = 0, severity: Severity = Severity.ERROR
) -> Iterator[Finding]:
    """One finding where any row is `wrong`: `text` with how many and which is the first. first: the number of row 0."""
    rows = np.flatnonzero(wrong)
    if rows.size:
        place = f"row {first + rows[0]:,}" if rows.size == 1 else f"{rows.size:,} rows, the first {first + rows[0]:,}"
        yield Finding(severity, f"{text} ({place})")
