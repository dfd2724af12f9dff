"""The text units of a response message."""

from __future__ import annotations

import re
from functools import lru_cache

_CACHED = 16  # answers: nearly all say that there is no error
_STRING = r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*')"""
_QUOTE = re.compile("[\"']")
_UNIT = re.compile(rf"(?:(?:(?<=[,\s])|(?<![^;])){_STRING}|[^;])*+")
_ERROR = re.compile(r"""\s*([+-]?\d+)\s*,\s*(?:"((?:[^"]|"")*)"|([^"]*[^\W\d][^"]*?))\s*""")


def split_units(line: str) -> list[str]:
    """`line` at its semicolons, those inside strings apart. A quote begins a string only where a datum can begin."""
    line = line.rstrip("\r\n")
    quote = _QUOTE.search(line)
    if quote is None:
        return [unit.strip() for unit in line.split(";")]
    at = line.rfind(";", 0, quote.start()) + 1  # where the first unit with a quote begins
    units = [unit.strip() for unit in line[: at - 1].split(";")] if at else []
    while at <= len(line):
        found = _UNIT.match(line, at)
        stop = found.end() if found else len(line)
        units.append(line[at:stop].strip())
        at = stop + 1
    return units


@lru_cache(_CACHED)
def parse_error(answer: str) -> tuple[int, str] | None:
    """`-113,"Undefined header"` as (-113, "Undefined header"); None where it is not an error's number and text."""
    found = _ERROR.fullmatch(answer)
    if found is None:
        return None
    return int(found[1]), found[3] if found[2] is None else found[2].replace('""', '"')
