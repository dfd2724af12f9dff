"""How exported Python modules are written: numbers as literals, remarks as comments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from labctl import __version__
from labctl.errors import ExportError

_WIDTH = 100
DIGITS = 5
"""Significant digits of a number, where nothing else is said."""


def literal(name: str, values: ArrayLike, digits: int = DIGITS) -> str:
    """`name = [...]`, a number or nested lists, with so many significant digits."""
    return f"{name} = {_text(np.asarray(values, np.float64), digits, '')}"


def heading(title: str, sources: Iterable[str], notes: Iterable[str]) -> str:
    """The docstring of a module: what it is, what made it and of which files, and what it does not hold."""
    lines = [f'"""{title}', "", f"Written by labctl {__version__}."]
    lines += [*(f"Made of {each}." for each in sources), *(f"- {note}" for note in notes), '"""']
    return "\n".join(lines).replace("\\", "/")


def identifier(name: str, fallback: str) -> str:
    """`name` as a Python identifier."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_")
    return plain if plain and not plain[0].isdigit() else f"{fallback}_{plain}".rstrip("_")


def write_files(files: Mapping[Path, str], *, overwrite: bool = False) -> list[Path]:
    """Write all of them, or none where one exists already or has no folder. Raises ExportError."""
    for path in files:
        if not path.parent.is_dir():
            raise ExportError(f"{path}: there is no folder {path.parent}")
        if path.exists() and not overwrite:
            raise ExportError(f"{path} exists already: choose another name, or say --force")
    for path, text in files.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as problem:
            raise ExportError(f"{path}: cannot be written: {problem.strerror or problem}") from None
    return list(files)


def _text(values: np.ndarray, digits: int, indent: str) -> str:
    if values.ndim == 0:
        return f"{float(values):.{digits}g}"
    inner = indent + "    "
    parts = [_text(each, digits, inner) for each in values]
    line = f"[{', '.join(parts)}]"
    if len(indent) + len(line) <= _WIDTH and values.ndim == 1:
        return line
    if values.ndim > 1:
        return "[\n" + "".join(f"{inner}{part},\n" for part in parts) + f"{indent}]"
    rows, row = [], ""
    for part in parts:
        if len(inner) + len(row) + len(part) > _WIDTH:
            rows.append(row.rstrip())
            row = ""
        row += f"{part}, "
    return "[\n" + "".join(f"{inner}{each}\n" for each in [*rows, row.rstrip()]) + f"{indent}]"
