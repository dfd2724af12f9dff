"""The text units of a response message."""

from __future__ import annotations

import re

_UNIT = re.compile(r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|[^;"'])*""")
_ERROR = re.compile(r'\s*([+-]?\d+)\s*,\s*"?(.*?)"?\s*$', re.DOTALL)


def split_units(line: str) -> list[str]:
    """`line` at its semicolons, those inside quotes apart."""
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


def parse_error(answer: str) -> tuple[int, str]:
    """`-113,"Undefined header"` as (-113, "Undefined header"); an answer of another form as (1, answer)."""
    found = _ERROR.match(answer)
    return (int(found[1]), found[2].replace('""', '"')) if found else (1, answer)
