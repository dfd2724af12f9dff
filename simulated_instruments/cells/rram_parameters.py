"""The parameters of a 1T1R RRAM technology; `data/cells/rram_40nm.toml` has the values and their sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .parameters import (
    Conductances,
    ElectronVolt,
    Kelvin,
    Number,
    Numbers,
    PerSquareVolt,
    Second,
    Seconds,
    Siemens,
    SiemensPerVolt,
    Volt,
    built_in,
    load_parameters,
)


@dataclass(frozen=True, slots=True)
class RramParameters:
    """`_spread`: standard deviation (of the logarithm, where its unit is 1). `device_`: between cells, fixed.

    `cycle_`: from one pulse to the next on the same cell. An empty table turns its effect off, as 0 does.
    """

    pristine_conductance: Siemens
    pristine_device_spread: Number

    breakdown_voltage: Volt
    breakdown_device_spread: Volt
    breakdown_cycle_spread: Volt
    breakdown_early_fraction: Number
    breakdown_early_tail: Volt
    thin_fraction: Number
    thin_tail: Number

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
    threshold_share: Number
    abruptness_device_spread: Number
    slow_fraction: Number
    slow_tail: Volt

    set_cycle_memory: Number
    reset_cycle_memory: Number

    set_step_levels: Conductances
    set_step_mean: Conductances
    set_step_spread: Conductances
    reset_step_levels: Conductances
    reset_step_mean: Conductances
    reset_step_spread: Conductances
    step_set_voltage: Volt
    step_reset_voltage: Volt
    step_width: Second

    endurance_pulses: Number
    endurance_device_spread: Number

    unformable_fraction: Number
    unformable_chip_spread: Number
    stuck_low_fraction: Number
    stuck_low_factor: Number
    stuck_high_fraction: Number
    stuck_high_conductance: Siemens

    read_noise: Number
    read_noise_device_spread: Number
    read_noise_floor: Siemens
    flicker_noise: Number
    flicker_device_spread: Number
    flicker_excess: Number
    telegraph_fraction: Number
    telegraph_noise: Number
    telegraph_device_spread: Number
    telegraph_fastest: Second
    telegraph_slowest: Second
    read_disturb: Number
    read_disturb_voltage: Volt
    nonlinearity: PerSquareVolt
    nonlinearity_level: Siemens

    relaxation_times: Seconds
    relaxation_levels: Conductances
    relaxation_probabilities: Numbers
    relaxation_quantiles: Conductances
    relaxation_memory: Numbers
    relaxation_volatility: Number
    relaxation_activation: ElectronVolt
    relaxation_temperature: Kelvin

    loss_time: Second
    loss_device_spread: Number
    loss_exponent: Number

    @classmethod
    def default(cls) -> RramParameters:
        """The 40 nm TaN/TaOx/Ta/TiN technology."""
        return cls.named("rram_40nm")

    @classmethod
    def named(cls, name: str) -> RramParameters:
        """A built-in technology. Raises ParameterError."""
        return built_in(name).parameters(cls)

    @classmethod
    def from_file(cls, path: Path) -> RramParameters:
        """Another technology. Raises ParameterError."""
        return load_parameters(cls, path)
