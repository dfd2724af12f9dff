"""Parameter sets of cell models: TOML in which every number stands with its unit and its source.

A set is a frozen dataclass of floats; each field's annotation says the unit (`Volt`), and the file has to
agree:

    [breakdown_voltage]
    value = 3.433
    unit = "V"
    source = "where the number comes from"
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, get_type_hints

Number = Annotated[float, "1"]
Volt = Annotated[float, "V"]
Siemens = Annotated[float, "S"]
SiemensPerVolt = Annotated[float, "S/V"]
Second = Annotated[float, "s"]


class ParameterError(ValueError):
    """A parameter file does not say what the cell model needs; the text names the file and the path in it."""


class ParameterSet(Protocol):
    """A dataclass of floats."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Set = TypeVar("Set", bound=ParameterSet)


def load_parameters(kind: type[Set], path: Path | Traversable) -> Set:
    """The parameter set in the file at `path`. Raises ParameterError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ParameterError(f"{path}: {problem}") from problem
    hints = get_type_hints(kind, include_extras=True)
    units = {field.name: hints[field.name].__metadata__[0] for field in dataclasses.fields(kind)}
    for name in tables.keys() ^ units.keys():
        raise ParameterError(f"{path}: $.{name}: {'missing' if name in units else 'not a parameter of this cell'}")
    return kind(**{name: _value(tables[name], unit, f"{path}: $.{name}") for name, unit in units.items()})


def parameters_digest(parameters: ParameterSet) -> str:
    """Names a parameter set by its values: equal values, equal digest."""
    values = json.dumps(dataclasses.asdict(parameters), sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()


def _value(table: Any, unit: str, where: str) -> float:
    if not isinstance(table, dict) or table.keys() != {"value", "unit", "source"}:
        raise ParameterError(f"{where}: expected a table of value, unit and source")
    if table["unit"] != unit:
        raise ParameterError(f"{where}.unit: expected {unit!r}, got {table['unit']!r}")
    if not isinstance(table["source"], str) or not table["source"].strip():
        raise ParameterError(f"{where}.source: expected where the value comes from")
    value = table["value"]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ParameterError(f"{where}.value: expected a finite number, got {value!r}")
    return float(value)
