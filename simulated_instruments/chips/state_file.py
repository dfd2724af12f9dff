"""A chip's state on disk: one HDF5 file that replaces the one before it in one step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_FORMAT = "labctl simulated chip 2"


class ChipFileError(ValueError):
    """A file is not the state of the chip that was asked for; the text names the file."""


@dataclass(frozen=True, slots=True)
class ChipRecord:
    """What is kept of a chip. digest: of its cells' parameters. temperature: K. state: (cells,) arrays.

    time, age: s. changed_time, changed_age: those of the last pulse or change of temperature.
    """

    cell_kind: str
    serial: str
    digest: str
    rows: int
    cols: int
    temperature: float
    time: float
    age: float
    changed_time: float
    changed_age: float
    multiplications: int
    read_voltage: float
    current_range: float
    state: Mapping[str, NDArray[Any]]

    def check(self, path: Path, cell_kind: str, digest: str) -> None:
        """Raises ChipFileError where the file is of other cells than those at hand."""
        if self.cell_kind != cell_kind:
            raise ChipFileError(f"{path} holds {self.cell_kind} cells, not {cell_kind}")
        if self.digest != digest:
            raise ChipFileError(f"{path} holds chip {self.serial}, bought with other cell parameters")

    def restore(self, path: Path, state: Mapping[str, NDArray[Any]]) -> None:
        """Write the recorded arrays into `state`. Raises ChipFileError where they are not the same ones."""
        for name in self.state.keys() ^ state.keys():
            raise ChipFileError(f"{path}: state {name!r} is {'not known' if name in self.state else 'missing'}")
        for name, array in state.items():
            recorded = self.state[name]
            if recorded.shape != array.shape or recorded.dtype != array.dtype:
                raise ChipFileError(f"{path}: state {name!r} is {recorded.dtype}{recorded.shape}")
            array[:] = recorded


_ATTRIBUTES = tuple(field.name for field in fields(ChipRecord) if field.name != "state")


def write_record(path: Path, record: ChipRecord) -> None:
    """Write `record` to `path`, in place of what is there."""
    write_state(path, _FORMAT, {name: getattr(record, name) for name in _ATTRIBUTES}, record.state)


def read_record(path: Path) -> ChipRecord:
    """The record at `path`. Raises ChipFileError."""
    attributes, state = read_state(path, _FORMAT, _ATTRIBUTES)
    return ChipRecord(**attributes, state=state)


def write_state(path: Path, form: str, attributes: Mapping[str, Any], state: Mapping[str, NDArray[Any]]) -> None:
    """Write a file of format `form` beside `path`, then move it there: a kill leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["format"] = form
            file.attrs.update(attributes)
            for name, array in state.items():
                file["state/" + name] = array
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: Path, form: str, names: Iterable[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The attributes `names` and the state of a file of format `form`. Raises ChipFileError."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != form:
                raise ChipFileError(f"{path} is not the state of a simulated chip ({form!r})")
            attributes = {name: _plain(file.attrs[name]) for name in names}
            return attributes, {name: data[...] for name, data in file["state"].items()}
    except FileNotFoundError:
        raise ChipFileError(f"{path} does not exist") from None
    except (OSError, KeyError) as problem:
        raise ChipFileError(f"{path} cannot be read as the state of a simulated chip: {problem}") from problem


def _plain(value: Any) -> Any:
    """An HDF5 attribute as Python has it."""
    return value.item() if isinstance(value, np.generic) else value
