"""How imperfect what stands around the cells of a macro is; `data/chips/test_macro.toml` has values and sources."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated

from ..cells.parameters import Number, ParameterError, ParameterFile, Siemens

Ohm = Annotated[float, "Ohm"]
Ampere = Annotated[float, "A"]
AmperePerKelvin = Annotated[float, "A/K"]
PerKelvin = Annotated[float, "1/K"]
Lsb = Annotated[float, "LSB"]

DEFAULT = "test_macro"


@dataclass(frozen=True, slots=True)
class Periphery:
    """Bit lines run along rows, source lines along columns; lines have their resistance once for each cell they pass.

    Each line has a converter of either kind, whose faults are drawn from the chip's serial: `_spread` is the standard
    deviation from line to line, of the amplifier from chip to chip. bow and skew: peaks of the integral
    non-linearity's symmetric and antisymmetric part. `_coefficient`: relative change of a conductance with temperature,
    far below and far above `coefficient_level`.
    """

    bit_line_resistance: Ohm
    source_line_resistance: Ohm
    switch_resistance: Ohm

    adc_offset_spread: Lsb
    adc_gain_spread: Number
    adc_bow_spread: Lsb
    adc_skew_spread: Lsb
    dac_offset_spread: Lsb
    dac_gain_spread: Number
    dac_bow_spread: Lsb
    dac_skew_spread: Lsb

    amplifier_offset: Ampere
    amplifier_offset_spread: Ampere
    amplifier_drift_spread: AmperePerKelvin

    low_conductance_coefficient: PerKelvin
    high_conductance_coefficient: PerKelvin
    coefficient_level: Siemens

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0 and field.name.endswith(("_resistance", "_spread")):
                raise ValueError(f"{field.name} must not be negative")

    @classmethod
    def ideal(cls) -> Periphery:
        """Lines that conduct, converters that are straight, cells that feel no temperature."""
        return cls(**{field.name: 0.0 for field in dataclasses.fields(cls)})

    @classmethod
    def named(cls, name: str) -> Periphery:
        """`ideal`, or a set of `data/chips`. Raises ParameterError, naming those there are."""
        if name == "ideal":
            return cls.ideal()
        if name not in (known := _known()):
            raise ParameterError(
                f"there is no periphery {name!r}: choose one of {', '.join(sorted(['ideal', *known]))}"
            )
        return _read(name)


def _known() -> list[str]:
    folder = files("labctl.data") / "chips"
    return [each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml")]


@functools.cache
def _read(name: str) -> Periphery:
    return ParameterFile.read(files("labctl.data") / "chips" / f"{name}.toml").parameters(Periphery)
