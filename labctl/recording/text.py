"""How times and nested values are written as text."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np


def iso_time(seconds: float) -> str:
    """`seconds` since 1970 as UTC text that sorts."""
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def json_text(content: object) -> str:
    """`content` as JSON, numpy's scalars and arrays included."""
    return msgspec.json.encode(content, enc_hook=_plain, order="deterministic").decode()


def _plain(item: object) -> object:
    if isinstance(item, np.generic | np.ndarray):
        return item.tolist()
    return str(item)
