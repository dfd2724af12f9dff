"""Simulated chips for the fidelity table: bought with a parameter set, formed, and worked on by public protocols."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from direct import DirectArray

from labctl.plugins import load_protocol
from labctl.protocols.ramps import Ramp
from labctl.simulated_instruments.cells.pcm_parameters import PcmParameters
from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.periphery import Periphery
from labctl.units import Second, Siemens, Volt

COLUMNS = 128
DEFAULT_SETS = {
    "relaxation": "rram_40nm",
    "programming": "rram_1t1r_64k",
    "noise": "rram_1t1r_64k",
    "analog": "rram_analog",
}
"""Which parameter set stands for which measured technology."""

FORMING = Ramp(start=Volt(1.0), stop=Volt(4.8), step=Volt(0.05), width=Second(1e-6), gate=Volt(1.2))
"""Its gate is every technology's own."""


class Unavailable(Exception):
    """Part of the table cannot be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Study:
    """What the experiments are given. sets: by role, a built-in name or the path of a parameter file."""

    reference: h5py.File
    quick: bool = False
    sets: Mapping[str, str] = field(default_factory=lambda: DEFAULT_SETS)

    def cells(self, whole: int, least: int = COLUMNS) -> int:
        """So many, or an eighth of them, but not less than `least`."""
        return max(whole // 8, least) if self.quick else whole

    def parameters(self, role: str) -> RramParameters:
        """Of chips with the technology's usual yield: a bad one would decide the figure it happens to be bought for."""
        return replace(self.technology(role), unformable_chip_spread=0.0)

    def technology(self, role: str) -> RramParameters:
        """As it is, with its bad chips."""
        name = self.sets[role]
        return RramParameters.from_file(Path(name)) if name.endswith(".toml") else RramParameters.named(name)


@dataclass(frozen=True, slots=True)
class Run:
    """What a protocol left: the last value of each map, (cells,), and the values of every step by phase."""

    maps: Mapping[str, np.ndarray]
    steps: tuple[tuple[str, Mapping[str, Any]], ...]
    summary: Mapping[str, Any]


def run(protocol: str, array: DirectArray, **settings: Any) -> Run:
    """The protocol of that name on `array`, whole."""
    procedure = load_protocol(protocol)
    steps = procedure.steps(array, procedure.settings(**settings), np.random.default_rng(0))
    maps: dict[str, np.ndarray] = {}
    values: list[tuple[str, Mapping[str, Any]]] = []
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return Run(maps, tuple(values), end.value)
        maps |= {name: np.ravel(each) for name, each in step.maps.items()}
        values.append((step.phase, step.values))


def bought(
    serial: str,
    cells: int,
    parameters: RramParameters | PcmParameters,
    full_scale: float,
    periphery: Periphery | None = None,
) -> CrossbarMacro:
    """A fresh chip of at least so many cells, on the smallest current range that reads `full_scale` S."""
    chip = CrossbarMacro.buy(serial, parameters, -(-cells // COLUMNS), COLUMNS, periphery)
    fits = [each for each in chip.ranges if each >= full_scale * chip.read_voltage]
    if not fits:
        chip.read_voltage = chip.read_voltages[0]
        fits = [each for each in chip.ranges if each >= full_scale * chip.read_voltage]
    if not fits:
        raise Unavailable(f"no current range of the board reads {full_scale * 1e6:g} uS")
    chip.current_range = min(fits)
    return chip


def gate_for(parameters: RramParameters, conductance: float) -> float:
    """V on the word line at which SET is limited to `conductance` S (`RramCells` has the equation), or to the most."""
    p = parameters
    relative = min(conductance, p.compliance_limit) / p.compliance_conductance
    overdrive = (p.gate_reference - p.gate_threshold) * math.pow(relative, 1 / p.gate_exponent)
    return p.gate_threshold + overdrive


def formed_at(parameters: RramParameters) -> Siemens:
    """Above what pristine cells conduct, below all but the worst formed ones."""
    return Siemens(parameters.compliance_conductance / 10)


def form(array: DirectArray, parameters: RramParameters, gate: float | None = None) -> Run:
    """Form every cell, at the compliance of `gate` V or of the technology's reference."""
    volts = Volt(parameters.gate_reference if gate is None else gate)
    return run("forming", array, ramp=msgspec.structs.replace(FORMING, gate=volts), formed_at=formed_at(parameters))


def as_map(array: DirectArray, values: np.ndarray, fill: float) -> np.ndarray:
    """(rows, cols) from the first cells' values, `fill` in the others."""
    flat = np.full(array.geometry.cells, fill, np.float32)
    flat[: len(values)] = values
    return flat.reshape(array.geometry.rows, array.geometry.cols)
