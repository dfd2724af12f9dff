"""What an export comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Exported:
    """The files written, and what their reader should know."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]
