"""Writes a chip file, or measured runs, as a device model of a simulator.

export_device([Path("chip.toml")], "aihwkit", Path("chip.py")) -> Exported
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from labctl.errors import ExportError
from labctl.exchange import aihwkit, crosssim
from labctl.exchange.chip_devices import chip_device
from labctl.exchange.devices import Device
from labctl.exchange.exported import Exported
from labctl.exchange.measured_devices import measured_device
from labctl.exchange.modules import identifier

Simulator = Literal["aihwkit", "crosssim"]
_MOST = 1.0
"""S: beyond, a number was meant to be in another unit."""
_WRITERS = {"aihwkit": aihwkit.export, "crosssim": crosssim.export}


def export_device(
    sources: Sequence[Path],
    simulator: Simulator,
    output: Path | None = None,
    g_max: float | None = None,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write what one chip file (.toml), or runs, tell of a device as a module for `simulator`.

    output: the module; named after the chip where None. g_max: S, instead of the highest found. overwrite: files that
    exist already. Raises ExportError.
    """
    device = read_device(sources, g_max)
    path = output or Path(f"{identifier(device.name, 'chip').lower()}_{simulator}.py")
    return Exported(tuple(_WRITERS[simulator](device, path, overwrite=overwrite)), device.notes)


def read_device(paths: Sequence[Path], g_max: float | None = None) -> Device:
    """The device in one chip file (.toml), or in runs of the same chip. g_max: S, instead of the highest found.

    Raises ExportError for what tells nothing a simulator could use.
    """
    if g_max is not None and not 0 < g_max <= _MOST:
        raise ExportError(f"{g_max:g} S is no conductance of a memory cell: give it with its unit, as in '40 uS'")
    chips = [path for path in paths if path.suffix.lower() == ".toml"]
    if chips and len(paths) > 1:
        raise ExportError("export one chip file, or runs: not both, as a chip file was made from runs already")
    device = chip_device(chips[0], g_max) if chips else measured_device(paths, g_max)
    if device.relaxation is None and device.programming is None and device.steps is None:
        told = "read noise alone" if device.noise is not None else "nothing"
        raise ExportError(
            f"{', '.join(path.name for path in paths)}: tells {told}; a device model needs a run of retention, "
            "programming or pulse-response, or a chip file with relaxation tables"
        )
    return device
