"""Which model goes with which parameter set: built-in technologies by name, calibrated chips by file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .model import CellModel
from .parameters import ParameterError, ParameterFile, ParameterSet, built_in
from .pcm import PcmCells
from .pcm_parameters import PcmParameters
from .rram import RramCells
from .rram_parameters import RramParameters

_PARAMETERS: dict[str, type[ParameterSet]] = {RramCells.kind: RramParameters, PcmCells.kind: PcmParameters}

DEFAULT = "rram_40nm"


@dataclass(frozen=True, slots=True)
class Technology:
    """parameters: of its cells. serial: of the chip that it was calibrated on, "" for a built-in one."""

    parameters: ParameterSet
    serial: str = ""

    @classmethod
    def named(cls, name: str) -> Technology:
        """A built-in one. Raises ParameterError."""
        return cls._of(built_in(name))

    @classmethod
    def from_file(cls, path: Path) -> Technology:
        """What calibration has written. Raises ParameterError."""
        return cls._of(ParameterFile.read(path))

    @classmethod
    def _of(cls, file: ParameterFile) -> Technology:
        kind = file.kind or (built_in(file.base).kind if file.base else "")
        if kind not in _PARAMETERS:
            raise ParameterError(f"{file.path}: $.chip.kind: {kind!r} is not one of {', '.join(_PARAMETERS)}")
        return cls(file.parameters(_PARAMETERS[kind]), file.serial or "")


def make_cells(serial: str, count: int, parameters: ParameterSet) -> CellModel:
    """`count` cells of the chip `serial`. Raises ValueError where the parameters contradict each other."""
    if isinstance(parameters, RramParameters):
        return RramCells(serial, count, parameters)
    if isinstance(parameters, PcmParameters):
        return PcmCells(serial, count, parameters)
    raise TypeError(f"no cells have parameters of {type(parameters).__name__}")
