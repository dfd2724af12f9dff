"""An associative chip's state on disk: planes that hold anything, positions, wear, and how far all faults have come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .state_file import ChipFileError, read_state, write_state

_FORMAT = "labctl simulated associative chip 1"


@dataclass(frozen=True, slots=True)
class AssociativeRecord:
    """What is kept of a chip. digest: of its parameters. temperature: K. time: s, NaN where it was never told.

    told, spent: s of age at `time`, and of work taken by the clock.
    """

    serial: str
    digest: str
    rows: int
    tracks: int
    domains: int
    ports: int
    temperature: float
    time: float
    told: float
    spent: float
    sense_threshold: float
    verify_every: int
    state: Mapping[str, NDArray[Any]]

    def check(self, path: Path, digest: str) -> None:
        """Raises ChipFileError where the file is of other cells than those at hand."""
        if self.digest != digest:
            raise ChipFileError(f"{path} holds chip {self.serial}, bought with other cell parameters")


_ATTRIBUTES = tuple(field.name for field in fields(AssociativeRecord) if field.name != "state")


def write_associative(path: Path, record: AssociativeRecord) -> None:
    """Write `record` to `path`, in place of what is there."""
    write_state(path, _FORMAT, {name: getattr(record, name) for name in _ATTRIBUTES}, record.state)


def read_associative(path: Path) -> AssociativeRecord:
    """The record at `path`. Raises ChipFileError."""
    attributes, state = read_state(path, _FORMAT, _ATTRIBUTES)
    return AssociativeRecord(**attributes, state=state)
