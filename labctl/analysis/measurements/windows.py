"""The windows that cells were programmed into, as far as the run's settings say them."""

from __future__ import annotations

import numpy as np

from labctl.analysis.measurements.recording import Floats, Recording


def half_widths(run: Recording) -> Floats | None:
    """(2, cells) S: how far below and above its target each cell may end.

    None where the settings say nothing of it, or were an array that the file does not hold.
    """
    low, high = run.setting("window_low"), run.setting("window_high")
    if low is not None and high is not None:
        target = run.map("target")
        return np.stack([target - low, high - target])
    if (each := run.setting("tolerances")) is not None:
        return np.stack([each, each])
    tolerance = run.settings.get("tolerance")
    arrays = any(run.settings.get(name) is not None for name in ("window_low", "window_high", "tolerances"))
    if arrays or not isinstance(tolerance, int | float):
        return None
    return np.full((2, run.cells), float(tolerance))
