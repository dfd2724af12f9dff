"""The cells of a measurement, formed first where they are pristine; a part of the other protocols here.

cells = chosen(settings, array.geometry)
cells = yield from formed_cells(array, settings, cells)
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from labctl.array import Capability, Cells, Geometry, MemoryArray, Scale
from labctl.errors import CapabilityError, RunError
from labctl.protocols import forming
from labctl.protocols.characterisation.cells import CellChoice, chosen
from labctl.steps import Cost, Step, StopRequested
from labctl.units import format_quantity


class FormedChoice(CellChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """form_pristine: form pristine cells among the chosen first, as `form` says, and measure those that conduct; else
    all that were chosen are measured as they are.
    """

    form_pristine: bool = True
    form: forming.FormingSettings = forming.FormingSettings()


def formed_cells(array: MemoryArray, settings: FormedChoice, cells: Cells) -> Generator[Step, None, Cells]:
    """Those of `cells` that conduct once forming is done. Raises RunError where none does, CapabilityError where the
    board cannot form.

    A protocol that uses it has `forming.PHASES` and `forming.VARIABLES` among its own.
    """
    if not settings.form_pristine:
        return cells
    if Capability.FORM not in array.capabilities:
        raise CapabilityError("this board cannot form cells: say form_pristine=false to measure them as they are")
    wanted = np.zeros(array.geometry.cells, bool)
    wanted[cells] = True
    formed = yield from forming.form(array, settings.form, wanted)
    if formed.stopped:
        raise StopRequested
    conducting: Cells = cells[formed.conductance[cells] >= settings.form.formed_at]
    if not len(conducting):
        least = format_quantity(settings.form.formed_at, "S")
        raise RunError(f"none of the {len(cells)} chosen cells reads {least} or more after forming")
    return conducting


def with_forming(cost: Cost, geometry: Geometry, dac: Scale, settings: FormedChoice) -> Cost:
    """`cost` of a measurement, and that of forming its cells first."""
    if not settings.form_pristine:
        return cost
    first = forming.form_cost(geometry, dac, settings.form, len(chosen(settings, geometry)))
    return replace(
        cost,
        max_pulses=cost.max_pulses + first.max_pulses,
        max_reads=cost.max_reads + first.max_reads,
        amplitudes={**first.amplitudes, **cost.amplitudes},
        gates={**first.gates, **cost.gates},
        widths={**first.widths, **cost.widths},
        max_pulses_per_cell=cost.max_pulses_per_cell + first.max_pulses_per_cell,
        max_form_pulses_per_cell=first.max_pulses_per_cell,
    )
