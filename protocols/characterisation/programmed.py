"""Cells that a measurement programs by write-verify; a part of other protocols here."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from labctl.array import Cells, MemoryArray
from labctl.errors import RunError
from labctl.protocols.characterisation.formed import FormedChoice, formed_cells
from labctl.protocols.programming import Programming
from labctl.protocols.windows import windows
from labctl.protocols.write_verify_settings import WriteVerifySettings
from labctl.steps import Step
from labctl.units import format_quantity


def programmable_cells(array: MemoryArray, settings: FormedChoice, cells: Cells) -> Generator[Step, None, Cells]:
    """Those of `cells` that conduct, after forming where the settings ask for it. Raises RunError where none does."""
    cells = yield from formed_cells(array, settings, cells)
    if settings.form_pristine:
        return cells
    conducting: Cells = cells[array.read(cells).conductance[0] >= settings.form.formed_at]
    if not len(conducting):
        raise RunError(
            f"all {len(cells)} chosen cells read below {format_quantity(settings.form.formed_at, 'S')}: they have not "
            "been formed; form them first"
        )
    return conducting


def begun(array: MemoryArray, settings: WriteVerifySettings, cells: Cells) -> Programming:
    """Programming of `cells`, which conduct, to what `settings` say, from a reading of them."""
    conductance = np.zeros(array.geometry.cells, np.float32)
    conductance[cells] = np.maximum(array.read(cells).conductance[0], settings.form.formed_at)
    programming = Programming.starting(array, settings, windows(settings, array.geometry, array.adc), conductance)
    programming.read_count = len(cells)
    return programming
