"""The parameters of a racetrack memory; `data/cells/racetrack*.toml` have the values and their sources."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .parameters import Number, Second, built_in, load_parameters

PerSecond = Annotated[float, "1/s"]

OVERRIDES = (
    "shift_error",
    "transverse_misread",
    "sense_noise",
    "write_error",
    "read_error",
    "retention_rate",
    "lifetime",
)
"""What `RacetrackParameters.changed` takes."""


@dataclass(frozen=True, slots=True)
class RacetrackParameters:
    """Times of single operations on all rows at once, and how often they go wrong. Raises ValueError where impossible.

    shift_over, shift_under: that a nanowire goes one domain too far, or stays, in a single shift. transverse_misread:
    that a transverse read is off by one. sense_noise: standard deviation of a match line's signal, whose unit is that
    of one mismatch. write_error: that a cell keeps its bit. read_error: that a bit reads inverted. retention_rate:
    thermal flips of a cell. lifetime: scale of the Weibull distribution of the writes a cell lasts, 0 for ever;
    lifetime_shape: its shape.
    """

    shift_time: Second
    search_time: Second
    write_time: Second
    read_time: Second
    transverse_read_time: Second
    shift_over: Number
    shift_under: Number
    transverse_misread: Number
    sense_noise: Number
    write_error: Number
    read_error: Number
    retention_rate: PerSecond
    lifetime: Number
    lifetime_shape: Number

    def __post_init__(self) -> None:
        for name in ("shift_over", "shift_under", "transverse_misread", "write_error", "read_error"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for field in dataclasses.fields(self):
            if not 0.0 <= getattr(self, field.name) < math.inf:
                raise ValueError(f"{field.name} must be 0 or more and finite, not {getattr(self, field.name)}")
        if self.shift_error > 1.0:
            raise ValueError(f"shift_over and shift_under together must be at most 1, not {self.shift_error}")
        if self.lifetime and not self.lifetime_shape:
            raise ValueError("lifetime_shape must be above 0")

    @property
    def shift_error(self) -> float:
        """That a single shift of a nanowire goes wrong, either way."""
        return self.shift_over + self.shift_under

    def changed(self, **overrides: float) -> RacetrackParameters:
        """With other values of `OVERRIDES`; shift_error keeps its shares of over and under. Raises ValueError."""
        for name in overrides:
            if name not in OVERRIDES:
                raise ValueError(f"{name} is not one of {', '.join(OVERRIDES)}")
        if "shift_error" in overrides:
            total = overrides.pop("shift_error")
            share = self.shift_over / self.shift_error if self.shift_error else 0.5
            overrides |= {"shift_over": total * share, "shift_under": total * (1 - share)}
        return dataclasses.replace(self, **overrides)

    @classmethod
    def named(cls, name: str) -> RacetrackParameters:
        """A built-in technology. Raises ParameterError."""
        return built_in(name).parameters(cls)

    @classmethod
    def from_file(cls, path: Path) -> RacetrackParameters:
        """Another technology. Raises ParameterError."""
        return load_parameters(cls, path)
