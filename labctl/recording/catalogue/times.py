"""Moments as a person writes them: `2026-11-20`, `2026-11-20T14:00`, `3d`, `12h`."""

from __future__ import annotations

import datetime as dt

from labctl.errors import UsageError
from labctl.units import parse_quantity


def parse_moment(text: str, now: float, *, is_end: bool = False) -> float:
    """s since 1970 of the moment `text`, by the clock on the wall here: a date, a date and a time, or how long before
    `now`. A date is its first moment, as an end the first one after it. Raises UsageError.
    """
    said = text.strip()
    try:
        ago = _seconds_ago(said)
        return now - ago if ago is not None else _on_the_calendar(said, is_end)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text!r} is not a time: write a date like 2026-11-20, with a time like 2026-11-20T14:00, "
            "or how long ago, like 3d or 12h"
        ) from None


def _seconds_ago(text: str) -> float | None:
    """None for what is no duration."""
    if not text[-1:].isalpha():
        return None
    try:
        seconds = parse_quantity(text, "s")
    except ValueError:
        return None
    if seconds < 0:
        raise ValueError("a moment to come")
    return seconds


def _on_the_calendar(text: str, is_end: bool) -> float:
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        return dt.datetime.fromisoformat(text).timestamp()
    return dt.datetime.combine(day + dt.timedelta(days=is_end), dt.time()).timestamp()
