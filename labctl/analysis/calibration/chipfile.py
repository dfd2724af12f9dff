"""chip.toml: a calibrated chip as a file that a simulated board can be given, and a person can read.

[chip]
kind = "1T1R RRAM"
base = "rram_40nm"            # gives every parameter that is not here
serial = "R40-0001-twin"

[breakdown_voltage]
value = 3.433
unit = "V"
source = "[calibrated] ramp of 9 voltages up to 3.9 V, 400 cells"
low = 3.421                   # 95 % interval
high = 3.445
cells = 400
goodness = "KS 0.021"
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labctl.analysis.calibration.parameters import Floats, Parameter
from labctl.errors import RecordingError, UsageError

_WIDTH = 116
_TABLE_DIGITS = 4
_TAGS = ("calibrated", "bounded", "assumed")


@dataclass(frozen=True, slots=True)
class ChipFile:
    """What a chip.toml says. parameters: by name. notes: what was used, left out and not told, a line each.

    heading: the first lines of the file, before the notes; both are comments in it.
    """

    kind: str
    base: str
    serial: str
    parameters: Mapping[str, Parameter]
    heading: Sequence[str] = ()
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The file's content; the same for the same parameters."""
        remarks = [*self.heading, *([""] if self.notes else []), *self.notes]
        head = [*(f"# {line}".rstrip() for line in remarks), "", "[chip]"]
        chip = [f"{name} = {_quoted(getattr(self, name))}" for name in ("kind", "base", "serial")]
        tables = [_table(name, self.parameters[name]) for name in sorted(self.parameters, key=self._place)]
        return "\n".join([*head, *chip, *(line for table in tables for line in ("", *table)), ""])

    def write(self, path: Path) -> None:
        """Raises RecordingError where the file cannot be written."""
        try:
            path.write_text(self.text(), encoding="utf-8")
        except OSError as problem:
            raise RecordingError(f"{path}: the chip file cannot be written: {problem.strerror or problem}") from None

    @staticmethod
    def _place(name: str) -> tuple[bool, str]:
        """Tables of many lines stand last."""
        return name.startswith("relaxation_") or "_step_" in name, name


def read_chip(path: str | Path) -> ChipFile:
    """The chip file at `path`. Raises UsageError with one sentence that names what is wrong in it."""
    where = Path(path)
    tables = read_tables(where)
    chip = tables.pop("chip", None)
    if not isinstance(chip, dict) or not all(isinstance(chip.get(each), str) for each in ("kind", "base", "serial")):
        raise UsageError(
            f"{where.name}: $.chip: expected a table with kind, base and serial, as labctl calibrate writes"
        )
    parameters = {name: _parameter(table, f"{where.name}: $.{name}") for name, table in tables.items()}
    return ChipFile(chip["kind"], chip["base"], chip["serial"], parameters)


def read_tables(path: Path) -> dict[str, Any]:
    """What the TOML file at `path` holds. Raises UsageError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not a text file"
        raise UsageError(f"{path}: cannot be read as a chip file: {reason}") from None
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"{path.name}: not TOML: {problem}") from None


def _parameter(table: Any, at: str) -> Parameter:
    if not isinstance(table, dict) or not {"value", "unit", "source"} <= table.keys():
        raise UsageError(f"{at}: expected a table of value, unit and source")
    tag, _, source = str(table["source"]).partition("] ")
    tag = tag.removeprefix("[")
    return Parameter(
        value=_numbers(table["value"], f"{at}.value"),
        unit=str(table["unit"]),
        source=source if tag in _TAGS else str(table["source"]),
        cells=int(table.get("cells", 0)),
        low=_numbers(table["low"], f"{at}.low") if "low" in table else None,
        high=_numbers(table["high"], f"{at}.high") if "high" in table else None,
        goodness=str(table.get("goodness", "")),
        tag=tag if tag in _TAGS else "assumed",
    )


def _numbers(value: Any, at: str) -> Floats:
    try:
        found = np.array(value, np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{at}: expected a number or an even table of numbers") from None
    if not np.isfinite(found).all():
        raise UsageError(f"{at}: expected finite numbers")
    return found


# -- text ---------------------------------------------------------------------------------------------------------


def _table(name: str, parameter: Parameter) -> list[str]:
    digits = _digits(parameter)
    lines = [f"[{name}]", f"value = {_value(parameter.value, digits)}", f"unit = {_quoted(parameter.unit)}"]
    lines.append(f"source = {_quoted(f'[{parameter.tag}] {parameter.source}')}")
    if parameter.low is not None and parameter.high is not None:
        lines += [f"low = {_value(parameter.low, digits)}", f"high = {_value(parameter.high, digits)}"]
    if parameter.cells:
        lines.append(f"cells = {parameter.cells}")
    if parameter.goodness:
        lines.append(f"goodness = {_quoted(parameter.goodness)}")
    return lines


def _digits(parameter: Parameter) -> int:
    """Significant digits: of a number two of its interval's half, of a table always four."""
    value = np.asarray(parameter.value)
    if value.ndim or parameter.low is None or parameter.high is None or not value:
        return _TABLE_DIGITS
    half = float(parameter.high - parameter.low) / 2
    if half <= 0:
        return _TABLE_DIGITS
    known = math.floor(math.log10(abs(float(value)))) - math.floor(math.log10(half)) + 2
    return min(max(known, 2), 9)


def _value(value: Floats, digits: int) -> str:
    array = np.asarray(value)
    if array.ndim == 0:
        return _number(float(array), digits)
    if array.ndim == 1:
        line = f"[{', '.join(_number(each, digits) for each in array.tolist())}]"
        return line if len(line) <= _WIDTH or not len(array) else _broken(array.tolist(), digits)
    return _nested(array, digits, "")


def _broken(values: Sequence[float], digits: int) -> str:
    words = [_number(each, digits) for each in values]
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > _WIDTH - 8:
            lines.append(line.rstrip())
            line = ""
        line += f"{word}, "
    return "[\n" + "".join(f"    {each}\n" for each in [*lines, line.rstrip()]) + "]"


def _nested(array: Floats, digits: int, indent: str) -> str:
    inner = indent + "    "
    if array.ndim == 1:
        return f"[{', '.join(_number(each, digits) for each in array.tolist())}]"
    rows = [f"{inner}{_nested(each, digits, inner)},\n" for each in array]
    return "[\n" + "".join(rows) + indent + "]"


def _number(value: float, digits: int) -> str:
    """A TOML float (or whole number) that reads back as `value` to so many digits."""
    text = f"{value:.{digits}g}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
