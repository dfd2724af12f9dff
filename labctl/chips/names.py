"""A chip's serial number as the name of a file."""

from __future__ import annotations

import hashlib
import re

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 60


def safe_serial(serial: str) -> str:
    """Safe on every system, and no other serial number's: one that cannot stand as it is carries a digest."""
    plain = _UNSAFE.sub("-", serial)[:_LONGEST].strip("-.")
    if plain == serial and not _is_reserved(plain):
        return plain
    return f"{plain or 'chip'}-{hashlib.sha256(serial.encode()).hexdigest()[:8]}"


def _is_reserved(name: str) -> bool:
    """On Windows."""
    stem = name.partition(".")[0].upper()
    return stem in {"CON", "PRN", "AUX", "NUL"} or re.fullmatch(r"(COM|LPT)\d", stem) is not None
