"""The text units of a response message."""

from __future__ import annotations

import re

_STRING = r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*')"""
_UNIT = re.compile(rf"(?:(?:(?<=[,\s])|(?<![^;])){_STRING}|[^;])*+")
_ERROR = re.compile(r"""\s*([+-]?\d+)\s*,\s*(?:"((?:[^"]|"")*)"|([^"]*[^\W\d][^"]*?))\s*""")


def split_units(line: str) -> list[str]:
    """`line` at its semicolons, those inside strings apart. A quote begins a string only where a datum can begin."""
    line = line.rstrip("\r\n")
    if '"' not in line and "'" not in line:
        return [unit.strip() for unit in line.split(";")]
    units, at = [], 0
    while at <= len(line):
        found = _UNIT.match(line, at)
        stop = found.end() if found else len(line)
        units.append(line[at:stop].strip())
        at = stop + 1
    return units


def parse_error(answer: str) -> tuple[int, str] | None:
    """`-113,"Undefined header"` as (-113, "Undefined header"); None where it is not an error's number and text."""
    found = _ERROR.fullmatch(answer)
    if found is None:
        return None
    return int(found[1]), found[3] if found[2] is None else found[2].replace('""', '"')
