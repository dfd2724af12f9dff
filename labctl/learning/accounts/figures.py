"""Tables of figures: what one operation takes, each value with its unit, its source and a mark of how sure it is.

    [conversion_energy]
    value = 1.67e-12
    unit = "J"
    source = "[published] where the number comes from"

A value may be text, as in `"1.67 pJ"`; `least` and `most` are what it cannot be below (0 otherwise) and above. A table
may begin with `[account]`: a `title`, and as `base` the built-in tables whose figures it starts from. Then it need only
hold what differs. `[[published]]` are ratios that papers give for the system, to stand beside what the figures make.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import msgspec

from labctl.errors import SettingsError
from labctl.units import convert, parse_quantity

MARKS = ("published", "recalled", "computed", "assumed", "measured", "given")
"""How sure a figure is; its source begins with one of them in brackets. `given`: by the caller."""
_NOT_KNOWN = "no figure of this account; there are:"


@dataclass(frozen=True, slots=True)
class Figure:
    """One value in SI units. least, most: what it cannot be below and above."""

    name: str
    value: float
    unit: str
    source: str
    least: float = 0.0
    most: float = math.inf

    @property
    def mark(self) -> str:
        return self.source[1 : self.source.index("]")]

    def scaled(self, factor: float) -> Figure:
        """`factor` times as much, or as near to that as it can be."""
        return replace(self, value=min(max(self.value * factor, self.least), self.most))


@dataclass(frozen=True, slots=True)
class Published:
    """A ratio that a paper gives. quantity: `saved`, the share of the energy; or `ratio`, how many times less."""

    task: str
    quantity: Literal["saved", "ratio"]
    value: float
    relative_to: str
    source: str

    @property
    def ratio(self) -> float:
        return self.value if self.quantity == "ratio" else 1 / (1 - self.value)

    @property
    def saved(self) -> float:
        return self.value if self.quantity == "saved" else 1 - 1 / self.value


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of an account, by name. name: of the table, or the path of its file."""

    name: str
    title: str
    figures: Mapping[str, Figure]
    published: tuple[Published, ...] = ()

    @classmethod
    def named(cls, name: str) -> Figures:
        """A built-in table: `pruning`, ... Raises SettingsError, naming those there are."""
        folder = files("labctl.data") / "accounts"
        known = sorted(each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml"))
        if name not in known:
            raise SettingsError(f"there is no table of figures {name!r}: choose one of {', '.join(known)}")
        return _read(folder / f"{name}.toml", name, new=True)

    @classmethod
    def load(cls, path: str | Path) -> Figures:
        """A table of one's own. Raises SettingsError with the path in the file."""
        return _read(Path(path), str(path), new=False)

    def value(self, name: str, unit: str) -> float:
        """The figure `name`, in `unit`. Raises SettingsError where there is none in that unit."""
        if name not in self.figures:
            raise SettingsError(f"{self.name}: $.{name}: missing; the account needs it, in {unit}")
        figure = self.figures[name]
        if figure.unit != unit:
            raise SettingsError(f"{self.name}: $.{name}.unit: expected {unit!r}, got {figure.unit!r}")
        return figure.value

    def positive(self, name: str, unit: str) -> float:
        """As `value`, of a figure that cannot be zero: a rate, a share of what is used, a number of things."""
        value = self.value(name, unit)
        if value <= 0:
            raise SettingsError(f"{self.name}: $.{name}.value: has to be above 0")
        return value

    def changed(self, values: Mapping[str, float | str]) -> Figures:
        """With other values, numbers in the figure's unit or text with a unit. Raises SettingsError."""
        changed = dict(self.figures)
        for name, value in values.items():
            if name not in changed:
                raise SettingsError(f"{self.name}: {name}: {_NOT_KNOWN} {', '.join(self.figures)}")
            row = _Row(value, changed[name].unit, "[given] by the caller")
            changed[name] = _replaced(changed[name], row, self.name)
        return replace(self, figures=changed)

    def scaled(self, name: str, factor: float) -> Figures:
        """With one figure `factor` times as much, or as near to that as it can be."""
        return replace(self, figures={**self.figures, name: self.figures[name].scaled(factor)})

    def published_for(self, task: str) -> tuple[Published, ...]:
        return tuple(each for each in self.published if each.task == task)

    def as_values(self) -> dict[str, Any]:
        """As plain JSON values."""
        figures = {
            each.name: {"value": each.value, "unit": each.unit, "source": each.source} for each in self.figures.values()
        }
        return {
            "name": self.name,
            "title": self.title,
            "figures": figures,
            "published": [asdict(each) for each in self.published],
        }


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    value: float | str
    unit: str
    source: str
    least: float | None = None
    most: float | None = None


class _Ratio(msgspec.Struct, forbid_unknown_fields=True):
    task: str
    quantity: Literal["saved", "ratio"]
    value: float
    relative_to: str
    source: str


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    title: str = ""
    base: list[str] = []


def _read(path: Path | Traversable, name: str, *, new: bool) -> Figures:
    """new: whether it may have figures that its base has not."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else problem
        raise SettingsError(f"{name} cannot be read as a table of figures: {reason}") from None
    header = convert(tables.pop("account", {}), _Header, what=name, at="$.account")
    ratios = convert(tables.pop("published", []), list[_Ratio], what=name, at="$.published")
    rows = {key: convert(table, _Row, what=name, at=f"$.{key}") for key, table in tables.items()}
    bases = [Figures.named(base) for base in header.base]
    figures = {key: figure for base in bases for key, figure in base.figures.items()}
    for key, row in rows.items():
        if bases and not new and key not in figures:
            raise SettingsError(f"{name}: $.{key}: {_NOT_KNOWN} {', '.join(figures)}")
        figures[key] = _replaced(figures.get(key, Figure(key, 0.0, row.unit, row.source)), row, name)
    published = tuple(_ratio(each, f"{name}: $.published[{place}]") for place, each in enumerate(ratios))
    inherited = tuple(each for base in bases for each in base.published)
    return Figures(name, header.title or (bases[0].title if bases else name), figures, published or inherited)


def _replaced(before: Figure, row: _Row, where: str) -> Figure:
    """A figure keeps its unit, and its bounds where the row has none."""
    if row.unit != before.unit:
        raise SettingsError(f"{where}: $.{before.name}.unit: expected {before.unit!r}, got {row.unit!r}")
    least = before.least if row.least is None else row.least
    most = before.most if row.most is None else row.most
    return _figure(before.name, row, least, most, where)


def _figure(name: str, row: _Row, least: float, most: float, where: str) -> Figure:
    try:
        value = parse_quantity(row.value, row.unit)
    except ValueError as problem:
        raise SettingsError(f"{where}: $.{name}.value: {problem}") from None
    if not least <= value <= most:
        bound = f"below {least:g}" if value < least else f"above {most:g}"
        raise SettingsError(f"{where}: $.{name}.value: cannot be {bound}")
    mark, closed, told = row.source.removeprefix("[").partition("]")
    if not row.source.startswith("[") or not closed or mark not in MARKS or not told.strip():
        raise SettingsError(
            f"{where}: $.{name}.source: expected one of {', '.join(f'[{mark}]' for mark in MARKS)} "
            "and where the value comes from"
        )
    return Figure(name, value, row.unit, row.source, least, most)


def _ratio(row: _Ratio, where: str) -> Published:
    most = 1 if row.quantity == "saved" else math.inf
    if not 0 < row.value < most:
        raise SettingsError(f"{where}.value: expected a number above 0 and below {most}, got {row.value}")
    return Published(row.task, row.quantity, row.value, row.relative_to, row.source)
