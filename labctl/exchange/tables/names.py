"""What columns are called where not every name will do: headers with units, and MATLAB's names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from labctl.exchange.tables.columns import Column

_MATLAB_LENGTH = 63


def header(column: Column) -> str:
    """`reading (S)`: name and unit, as spreadsheets and PyMeasure show them; times are UTC."""
    unit = "UTC" if column.is_time else column.unit
    return column.name if unit in ("", "1") else f"{column.name} ({unit})"


def headers(columns: Iterable[Column]) -> list[str]:
    """Of all columns, no two the same."""
    return _distinct([header(column) for column in columns], longest=None)


def matlab_names(names: Iterable[str]) -> list[str]:
    """`names` as MATLAB's: letters, digits and underscores after a letter, 63 at most, no two the same."""
    plain = (re.sub(r"\W", "_", name, flags=re.ASCII) for name in names)
    return _distinct([name if name[:1].isalpha() else f"x{name}" for name in plain], _MATLAB_LENGTH)


def quoted(text: str) -> str:
    """`text` as one value of a line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()


def _distinct(names: list[str], longest: int | None) -> list[str]:
    """Cut to the `longest` length; those that were there before get a number."""
    found: list[str] = []
    for name in names:
        attempt, number = name[:longest], 1
        while attempt in found:
            number += 1
            ending = f"_{number}"
            attempt = f"{name[: longest - len(ending)] if longest else name}{ending}"
        found.append(attempt)
    return found
