"""Cells that people exclude: a TOML file a chip, readable and editable, which is the only place where that stands."""

from __future__ import annotations

import getpass
import os
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from labctl.chips.names import safe_serial
from labctl.errors import UsageError
from labctl.units import describe

FOLDER = "chips"

_PATIENCE_S = 10.0
_Number = Annotated[int, msgspec.Meta(ge=0)]


class Exclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Cells as (row, column), whole rows and whole columns, and why. by, at: who said so, and when (ISO 8601)."""

    because: str
    cells: tuple[tuple[_Number, _Number], ...] = ()
    rows: tuple[_Number, ...] = ()
    cols: tuple[_Number, ...] = ()
    by: str = ""
    at: str = ""

    def mask(self, rows: int, cols: int) -> NDArray[np.bool_]:
        """(rows, cols) bool. Raises UsageError for what is not on such an array."""
        wrong = [
            *(f"cell {row},{col}" for row, col in self.cells if row >= rows or col >= cols),
            *(f"row {row}" for row in self.rows if row >= rows),
            *(f"column {col}" for col in self.cols if col >= cols),
        ]
        if wrong:
            raise UsageError(f"{wrong[0]} is not on an array of {rows} x {cols}, whose first is 0")
        found = np.zeros((rows, cols), bool)
        for row, col in self.cells:
            found[row, col] = True
        found[list(self.rows)] = True
        found[:, list(self.cols)] = True
        return found

    def without(self, other: Exclusion) -> Exclusion | None:
        """What is left of it without what `other` names; None where that is nothing."""
        left = msgspec.structs.replace(
            self,
            cells=tuple(each for each in self.cells if each not in other.cells),
            rows=tuple(each for each in self.rows if each not in other.rows),
            cols=tuple(each for each in self.cols if each not in other.cols),
        )
        return left if left.cells or left.rows or left.cols else None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    serial: str
    exclude: list[Exclusion] = []


def exclusions_path(folder: Path, serial: str) -> Path:
    """Where what people exclude of the chip `serial` stands, in a folder of runs."""
    return folder / FOLDER / f"{safe_serial(serial)}.toml"


def read_exclusions(folder: Path, serial: str) -> tuple[Exclusion, ...]:
    """What people exclude of the chip. Raises UsageError with the path of what is wrong in the file."""
    path = exclusions_path(folder, serial)
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"{path}: not TOML: {problem}") from None
    except msgspec.ValidationError as problem:
        raise UsageError(f"{path}: {describe(problem)}") from None
    if found.serial != serial:
        raise UsageError(f"{path}: $.serial: is {found.serial!r}, but the file's name stands for {serial!r}")
    return tuple(found.exclude)


def exclude(folder: Path, serial: str, exclusion: Exclusion) -> None:
    """Add to what people exclude, with who and when. Several may do so at once. Raises UsageError."""
    signed = msgspec.structs.replace(exclusion, by=_user(), at=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    with _locked(folder, serial):
        _write(folder, serial, [*read_exclusions(folder, serial), signed])


def clear(folder: Path, serial: str, named: Exclusion | None = None) -> int:
    """Take back what people exclude, all or what is `named`; returns how many exclusions that changed.

    Raises UsageError.
    """
    with _locked(folder, serial):
        before = read_exclusions(folder, serial)
        after = [] if named is None else [each.without(named) for each in before]
        left = [each for each in after if each is not None]
        _write(folder, serial, left)
    return len(before) if named is None else sum(one != other for one, other in zip(before, after, strict=True))


def _locked(folder: Path, serial: str) -> FileLock:
    """The right to change the file, waited for. Raises UsageError."""
    path = exclusions_path(folder, serial)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_PATIENCE_S)
    except Timeout:
        raise UsageError(f"{path}: somebody else has been changing it for {_PATIENCE_S:g} s") from None
    except OSError as problem:
        raise UsageError(f"{path}: cannot be written: {problem.strerror or problem}") from None
    return lock


def _write(folder: Path, serial: str, exclusions: Sequence[Exclusion]) -> None:
    """Whole or not at all."""
    path = exclusions_path(folder, serial)
    head = "# Cells of this chip that are never to be touched: `labctl chip exclude` writes this, and so may you.\n"
    tables = "".join(f"\n[[exclude]]\n{_table(each)}" for each in exclusions)
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}", suffix=".tmp")
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(f"{head}serial = {_quoted(serial)}\n{tables}")
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as problem:
        raise UsageError(f"{path}: cannot be written: {problem.strerror or problem}") from None


def _table(exclusion: Exclusion) -> str:
    """Its keys as TOML; those that say nothing are left out."""
    said = {name: getattr(exclusion, name) for name in exclusion.__struct_fields__}
    lines = [
        f"{name} = {_quoted(value) if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for name, value in said.items()
        if value
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML string, which is JSON's but that it wants one character more escaped."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
