"""Programs as text that one can read and write: tables with their passes, then an instruction a line.

    program sum of two
    table add a b c
        110 > -01
        100 > -10
        001 > -10
        011 > -01
    do
    add 8: 0+ 64+ 128

`0+` is column 0 for the first bit and one further for each bit after; `0-` one back, `0+2` two further; a number alone
stays. `#` begins a comment. What a table does to its roles is told by keys and writes as in `labctl.associative.Pass`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from labctl.associative import NO_COLUMN, AssociativeGeometry, Pass, Program, Table, instructions
from labctl.errors import UsageError

_COLUMN = re.compile(r"(\d{1,10})(?:([+-])(\d{0,3}))?")
_INSTRUCTION = re.compile(r"(\S+)\s+(\d{1,5})\s*:\s*(.*)")


class ProgramTextError(UsageError):
    """A program's text is wrong; says in which line."""


def disassemble(program: Program) -> str:
    """The text of `program`; raises ValueError where two of its tables have one name, or where a space or `#` is in the
    name of a table or is a role.

    The program's own name, which is for people, comes back on one line and without `#`.
    """
    names = [table.name for table in program.tables]
    if len(set(names)) != len(names) or any(not re.fullmatch(r"[^\s#:]+", name) for name in names):
        raise ValueError("a program can be written as text if its tables have names of their own, without spaces")
    if any(re.search(r"[\s#]", table.roles) for table in program.tables):
        raise ValueError("a program can be written as text if no role of its tables is a space or #")
    lines = [" ".join(["program", *program.name.replace("#", " ").split()])]
    for table in program.tables:
        lines.append(f"table {table.name} {' '.join(table.roles)}")
        lines += [f"    {each.key} > {each.then}" for each in table.passes]
    lines.append("do")
    roles = [len(table.roles) for table in program.tables]
    made = program.instructions
    rows = zip(*(made[name].tolist() for name in ("table", "bits", "columns", "steps")), strict=True)
    for table, bits, columns, steps in rows:
        where = " ".join(_column(*each) for each in zip(columns[: roles[table]], steps, strict=False))
        lines.append(f"{names[table]} {bits}: {where}")
    return "\n".join(lines) + "\n"


def assemble(text: str) -> Program:
    """The program of a text. Raises ProgramTextError that names the line that is wrong."""
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].strip()
        if words:
            try:
                reader.line(words)
            except ValueError as error:
                raise ProgramTextError(f"line {number} of the program: {error}") from error
    if reader.parts != "do":
        raise ProgramTextError("the program has no line `do`, after which its instructions stand")
    return Program(tuple(reader.tables), instructions(reader.rows), reader.name)


class _Reader:
    """parts: which part of the text it is in."""

    def __init__(self) -> None:
        self.name = ""
        self.tables: list[Table] = []
        self.numbers: dict[str, int] = {}
        self.rows: list[tuple[int, int, list[int], list[int]]] = []
        self.parts = "tables"

    def line(self, words: str) -> None:
        if self.parts == "do":
            self._instruction(words)
        elif words == "do":
            self.parts = "do"
        elif words.split()[0] == "program" and not self.tables:
            self.name = words.removeprefix("program").strip()
        elif words.split()[0] == "table":
            self._table(words.split()[1:])
        else:
            self._pass(words)

    def _table(self, words: list[str]) -> None:
        if len(words) < 2:
            raise ValueError("a table has a name and roles, as in `table add a b c`")
        if words[0] in self.numbers:
            raise ValueError(f"there is a table {words[0]} already")
        self.numbers[words[0]] = len(self.tables)
        self.tables.append(Table(words[0], "".join(words[1:]), ()))

    def _pass(self, words: str) -> None:
        key, arrow, then = (each.strip() for each in words.partition(">"))
        if not self.tables or not arrow:
            raise ValueError(f"{words!r} is no pass, as `110 > -01` is, of a table")
        table = self.tables[-1]
        self.tables[-1] = Table(table.name, table.roles, (*table.passes, Pass(key, then)))

    def _instruction(self, words: str) -> None:
        match = _INSTRUCTION.fullmatch(words)
        if match is None:
            raise ValueError(f"{words!r} is no instruction, as `add 8: 0+ 64+ 128` is")
        name, bits, where = match.groups()
        if name not in self.numbers:
            raise ValueError(f"there is no table {name}")
        number = self.numbers[name]
        columns = [_COLUMN.fullmatch(each) for each in where.split()]
        if len(columns) != len(self.tables[number].roles):
            raise ValueError(f"{name} has {len(self.tables[number].roles)} roles, not {len(columns)}")
        given: list[int] = []
        steps: list[int] = []
        for each, word in zip(columns, where.split(), strict=True):
            if each is None:
                raise ValueError(f"{word!r} is no column, as 64, 64+ or 64-2 are")
            given.append(int(each[1]))
            steps.append(int(f"{each[2]}{each[3] or 1}") if each[2] else 0)
        if (
            int(bits) > np.iinfo(np.uint16).max
            or max(given) > NO_COLUMN
            or not all(-128 <= one <= 127 for one in steps)
        ):
            raise ValueError(f"{words!r} has a number that is too large")
        self.rows.append((number, int(bits), given, steps))


def expand(program: Program, geometry: AssociativeGeometry, limit: int = 10_000) -> str:
    """Every shift, search and write of `program`, from heads at 0, a line each; at most `limit` passes of them."""
    lines: list[str] = []
    heads: dict[int, int] = {}
    done = 0
    for instruction in program.instructions:
        table = program.tables[instruction["table"]]
        for bit in range(int(instruction["bits"])):
            columns = _columns_of_bit(instruction, bit)
            for each in table.passes:
                if done == limit:
                    return "\n".join([*lines, f"... and {program.passes - done} more passes"]) + "\n"
                lines += _pass_lines(table.name, bit, each, columns, geometry, heads)
                done += 1
    return "\n".join(lines) + "\n"


def _columns_of_bit(instruction: Any, bit: int) -> list[int]:
    pairs = zip(instruction["columns"].tolist(), instruction["steps"].tolist(), strict=True)
    return [column + bit * step for column, step in pairs]


def _pass_lines(
    name: str, bit: int, each: Pass, columns: list[int], geometry: AssociativeGeometry, heads: dict[int, int]
) -> list[str]:
    lines = []
    for role, column in zip(range(len(each.key)), columns, strict=False):
        if each.key[role] == each.then[role] == "-":
            continue
        track, head = column // geometry.domains, int(geometry.heads(column))
        if by := head - heads.get(track, 0):
            lines.append(f"shift track {track} by {by:+d}")
        heads[track] = head
    looked, written = (
        " ".join(f"{column}={mark}" for column, mark in zip(columns, word, strict=False) if mark != "-")
        for word in (each.key, each.then)
    )
    lines.append(f"search {looked}    # {name}, bit {bit}" if looked else f"tag all    # {name}, bit {bit}")
    if written:
        lines.append(f"write {written}")
    return lines


def _column(column: int, step: int) -> str:
    if step == 0:
        return str(column)
    sign = "+" if step > 0 else "-"
    return f"{column}{sign}{abs(step) if abs(step) != 1 else ''}"
