"""The parameters of a 1T1R RRAM technology; `data/cells/rram_40nm.toml` has the values and their sources."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from .parameters import Number, Second, Siemens, SiemensPerVolt, Volt, load_parameters


@dataclass(frozen=True, slots=True)
class RramParameters:
    """`_spread`: standard deviation (of the logarithm, where its unit is 1). `device_`: between cells, fixed.

    `cycle_`: from one pulse to the next on the same cell.
    """

    pristine_conductance: Siemens
    pristine_device_spread: Number

    breakdown_voltage: Volt
    breakdown_device_spread: Volt
    breakdown_cycle_spread: Volt
    breakdown_early_fraction: Number
    breakdown_early_tail: Volt

    gate_threshold: Volt
    gate_reference: Volt
    gate_exponent: Number
    access_transconductance: SiemensPerVolt

    compliance_conductance: Siemens
    compliance_limit: Siemens
    compliance_device_spread: Number
    compliance_cycle_spread: Number

    floor_conductance: Siemens
    floor_device_spread: Number
    floor_cycle_spread: Number

    reference_width: Second
    set_voltage: Volt
    set_voltage_device_spread: Volt
    set_voltage_scale: Volt
    set_voltage_cycle_spread: Volt
    reset_voltage: Volt
    reset_voltage_device_spread: Volt
    reset_voltage_scale: Volt
    reset_voltage_cycle_spread: Volt
    abruptness_device_spread: Number
    slow_fraction: Number
    slow_tail: Volt

    unformable_fraction: Number
    stuck_low_fraction: Number
    stuck_low_factor: Number
    stuck_high_fraction: Number
    stuck_high_conductance: Siemens

    read_noise: Number
    read_noise_device_spread: Number
    read_noise_floor: Siemens

    @classmethod
    def default(cls) -> RramParameters:
        """The 40 nm TaN/TaOx/Ta/TiN technology."""
        return load_parameters(cls, files("labctl.data") / "cells" / "rram_40nm.toml")

    @classmethod
    def from_file(cls, path: Path) -> RramParameters:
        """Another technology. Raises ParameterError."""
        return load_parameters(cls, path)
