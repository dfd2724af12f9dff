"""Tables as CSV: a file each, a line of headers with units, times in ISO 8601, flags as words; and what they mean.

What they mean stands beside them as a Data Package (https://specs.frictionlessdata.io), which pandas and spreadsheets
do not need and others read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.exchange.tables.columns import Column, Table
from labctl.exchange.tables.names import headers, quoted
from labctl.exchange.tables.origin import Origin
from labctl.exchange.tables.text import lines
from labctl.recording.text import json_text

_TYPES = {"f": "number", "i": "integer", "u": "integer", "b": "integer", "M": "datetime"}


def write_csv(table: Table, path: Path) -> None:
    """The table at `path`, a block at a time."""
    with path.open("wb") as file:
        file.write((",".join(quoted(each) for each in headers(table.columns)) + "\n").encode())
        for block in table.blocks():
            file.write(lines(table.columns, block))


def write_package(tables: Mapping[str, Table], origin: Origin, path: Path) -> None:
    """What the columns of the files `tables` (by their names) are, and where they come from, at `path`."""
    package = {
        "profile": "tabular-data-package",
        "name": Path(str(origin.flat["source_file"])).stem.lower(),
        "title": origin.flat.get("title", ""),
        "created": origin.flat["exported"],
        "resources": [_resource(name, table) for name, table in tables.items()],
        "sources": [{"title": origin.flat["source_file"], "path": origin.flat["source_file"]}],
        "labctl": {**origin.flat, "provenance": origin.nested},
    }
    path.write_text(json_text(package) + "\n", encoding="utf-8")


def _resource(file_name: str, table: Table) -> dict[str, Any]:
    fields = zip(headers(table.columns), table.columns, strict=True)
    return {
        "profile": "tabular-data-resource",
        "name": table.name,
        "path": file_name,
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "rows": table.rows,
        "schema": {"fields": [_field(header, column) for header, column in fields], "missingValues": [""]},
    }


def _field(header: str, column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": header,
        "type": _TYPES["i" if column.integer else column.dtype.kind],
        "description": column.long_name,
        "column": column.name,
        "unit": column.unit,
    }
    if column.flags is not None:
        words = {str(code): word for code, word in column.flags.words().items()}
        found |= {"type": "string", "constraints": {"enum": list(words.values())}, "flags": words}
    return found
