"""Parameter sets of cell models: TOML in which every number stands with its unit and its source.

A set is a frozen dataclass of floats and tables (nested tuples of floats); each field's annotation says the unit
(`Volt`), and the file has to agree:

    [breakdown_voltage]
    value = 3.433
    unit = "V"
    source = "where the number comes from"

What a fit knows besides (`low` and `high` of its interval, `cells` behind it, `goodness`) may stand there too. A file
may begin with a table `chip` that names a built-in set as its `base`: then it need only hold what differs. That is
how a calibrated chip is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, get_type_hints

Number = Annotated[float, "1"]
Volt = Annotated[float, "V"]
Siemens = Annotated[float, "S"]
SiemensPerVolt = Annotated[float, "S/V"]
Second = Annotated[float, "s"]
Kelvin = Annotated[float, "K"]
ElectronVolt = Annotated[float, "eV"]
PerSquareVolt = Annotated[float, "1/V2"]
Numbers = Annotated[tuple[Any, ...], "1"]
Seconds = Annotated[tuple[Any, ...], "s"]
Conductances = Annotated[tuple[Any, ...], "S"]

_REQUIRED = {"value", "unit", "source"}
_KNOWN_OF_FITS = {"low", "high", "cells", "goodness"}
_HEADER = "chip"


class ParameterError(ValueError):
    """A parameter file does not say what the cell model needs; the text names the file and the path in it."""


class ParameterSet(Protocol):
    """A dataclass of floats and tables."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Set = TypeVar("Set", bound=ParameterSet)


@dataclass(frozen=True, slots=True)
class ParameterFile:
    """A parameter file as it stands. kind: of cell, "" where the file does not say. serial: of chips made of it."""

    path: Path | Traversable
    kind: str
    base: str | None
    serial: str | None
    tables: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path | Traversable) -> ParameterFile:
        """Raises ParameterError."""
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
            raise ParameterError(f"{path}: {problem}") from problem
        header = tables.pop(_HEADER, {})
        if not isinstance(header, dict):
            raise ParameterError(f"{path}: $.{_HEADER}: expected a table")
        for name in ("kind", "base", "serial"):
            if not isinstance(header.get(name, ""), str):
                raise ParameterError(f"{path}: $.{_HEADER}.{name}: expected a text, got {header[name]!r}")
        return cls(path, header.get("kind", ""), header.get("base"), header.get("serial"), tables)

    def parameters(self, kind: type[Set]) -> Set:
        """Every value of a `kind`, those of the base where the file gives none. Raises ParameterError."""
        found = self._with_base(kind)
        for field in dataclasses.fields(kind):
            if field.name not in found:
                raise ParameterError(f"{self.path}: $.{field.name}: missing")
        return kind(**found)

    def _with_base(self, kind: type[ParameterSet]) -> dict[str, Any]:
        """What the file gives, on what its base gives, and its base's."""
        found = {} if self.base is None else built_in(self.base)._with_base(kind)
        return found | self._values(kind, self, str(self.path))

    @staticmethod
    def _values(kind: type[ParameterSet], file: ParameterFile, path: str) -> dict[str, Any]:
        hints = get_type_hints(kind, include_extras=True)
        for name in file.tables:
            if name not in hints:
                raise ParameterError(f"{path}: $.{name}: not a parameter of this cell")
        return {name: _value(table, hints[name], f"{path}: $.{name}") for name, table in file.tables.items()}


def built_in(name: str) -> ParameterFile:
    """The set of that name in `data/cells`. Raises ParameterError, naming those there are."""
    folder = files("labctl.data") / "cells"
    known = sorted(each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml"))
    if name not in known:
        raise ParameterError(f"there are no cells {name!r}: choose one of {', '.join(known)}")
    return ParameterFile.read(folder / f"{name}.toml")


def load_parameters(kind: type[Set], path: Path | Traversable) -> Set:
    """The parameter set in the file at `path`. Raises ParameterError."""
    return ParameterFile.read(path).parameters(kind)


def parameters_digest(parameters: ParameterSet) -> str:
    """Names a parameter set by its values: equal values, equal digest."""
    values = json.dumps(dataclasses.asdict(parameters), sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()


def _value(table: Any, hint: Any, where: str) -> Any:
    unit = hint.__metadata__[0]
    if not isinstance(table, dict) or not _REQUIRED <= table.keys() <= _REQUIRED | _KNOWN_OF_FITS:
        raise ParameterError(f"{where}: expected a table of value, unit and source")
    if table["unit"] != unit:
        raise ParameterError(f"{where}.unit: expected {unit!r}, got {table['unit']!r}")
    if not isinstance(table["source"], str) or not table["source"].strip():
        raise ParameterError(f"{where}.source: expected where the value comes from")
    if hint.__origin__ is float:
        return _number(table["value"], f"{where}.value")
    if not isinstance(table["value"], list):
        raise ParameterError(f"{where}.value: expected an array, got {table['value']!r}")
    return _numbers(table["value"], f"{where}.value")


def _numbers(values: list[Any], where: str) -> tuple[Any, ...]:
    """Nested lists as nested tuples."""
    return tuple(
        _numbers(each, f"{where}[{place}]") if isinstance(each, list) else _number(each, f"{where}[{place}]")
        for place, each in enumerate(values)
    )


def _number(value: Any, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ParameterError(f"{where}: expected a finite number, got {value!r}")
    return float(value)
