"""The parameters of a phase-change memory technology; `data/cells/pcm_*.toml` have the values and their sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from .parameters import (
    Conductances,
    ElectronVolt,
    Kelvin,
    Number,
    Second,
    Siemens,
    Volt,
    built_in,
    load_parameters,
)

Ohm = Annotated[float, "Ohm"]
Ampere = Annotated[float, "A"]
Amperes = Annotated[tuple[Any, ...], "A"]


@dataclass(frozen=True, slots=True)
class PcmParameters:
    """g is conductance over `full_scale`. `_spread`: standard deviation (of the logarithm, where its unit is 1).

    `device_`: between cells, fixed. With a `programming_spread` every pulse lands where the programming curve says, and
    the `step_` and `memory_` values are of no effect; without, SET pulses accumulate.
    """

    full_scale: Siemens
    conductance_least: Siemens
    conductance_most: Siemens
    pristine_conductance: Siemens
    pristine_device_spread: Number

    series_resistance: Ohm
    gate_threshold: Volt
    gate_reference: Volt
    gate_exponent: Number
    saturation_current: Ampere
    heater_device_spread: Number

    set_current: Ampere
    melt_currents: Amperes
    melt_conductances: Conductances
    reset_spread: Siemens

    pulse_width: Second
    step_mean: Siemens
    step_mean_slope: Number
    step_mean_memory: Siemens
    step_spread: Siemens
    step_spread_slope: Number
    step_spread_memory: Siemens
    memory_pulses: Number

    programming_spread: Conductances

    drift_time: Second
    drift_onset: Second
    drift_exponent: Number
    drift_exponent_slope: Number
    drift_exponent_least: Number
    drift_exponent_most: Number
    drift_device_spread: Number
    drift_device_spread_slope: Number
    drift_device_spread_least: Number
    drift_device_spread_most: Number
    drift_activation: ElectronVolt
    drift_temperature: Kelvin

    read_noise: Number
    read_noise_exponent: Number
    read_noise_most: Number
    read_noise_floor: Siemens
    read_noise_width: Second
    read_noise_persistence: Number
    read_noise_device_spread: Number

    stuck_low_fraction: Number
    stuck_low_conductance: Siemens
    stuck_high_fraction: Number
    stuck_high_conductance: Siemens
    endurance_melts: Number
    endurance_device_spread: Number

    @classmethod
    def named(cls, name: str) -> PcmParameters:
        """A built-in technology. Raises ParameterError."""
        return built_in(name).parameters(cls)

    @classmethod
    def from_file(cls, path: Path) -> PcmParameters:
        """Another technology. Raises ParameterError."""
        return load_parameters(cls, path)
