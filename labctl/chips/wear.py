"""How much of their life cells have had, against the lifetime that a bench file gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.bench.settings import WearSettings
from labctl.units import format_quantity


@dataclass(frozen=True, slots=True)
class Wear:
    """Against one limit. worst: the largest share of its lifetime that a cell has had, or may have after a run;
    beyond: how many cells are past the share `warn_at`.
    """

    lifetime: str
    worst: float
    beyond: int
    warn_at: float

    def __str__(self) -> str:
        return (
            f"{self.beyond:,} {'cell' if self.beyond == 1 else 'cells'} past {self.warn_at:.0%} of a lifetime of "
            f"{self.lifetime}, the most worn at {self.worst:.0%}"
        )


def wear_of(
    settings: WearSettings,
    pulses: NDArray[np.uint64],
    dose: NDArray[np.float64],
    more_pulses: int = 0,
    more_dose: float = 0.0,
) -> list[Wear]:
    """pulses, dose (V s): (cells,) so far; a run may add `more_pulses` and `more_dose` to each. One Wear a limit."""
    found = []
    if settings.max_pulses is not None:
        share = (pulses + np.uint64(more_pulses)) / settings.max_pulses
        found.append(_wear(f"{settings.max_pulses:,} pulses", share, settings.warn_at))
    if settings.max_dose is not None:
        share = (dose + more_dose) / settings.max_dose
        found.append(_wear(format_quantity(settings.max_dose, "Vs"), share, settings.warn_at))
    return found


def _wear(lifetime: str, share: NDArray[np.float64], warn_at: float) -> Wear:
    return Wear(lifetime, float(share.max(initial=0.0)), int(np.count_nonzero(share > warn_at)), warn_at)
