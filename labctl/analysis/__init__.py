"""From recorded runs to numbers and pictures; works from run files alone.

from labctl import analysis

analysis.levels("run.h5")                                # an xarray.Dataset, with intervals
analysis.learning_curve("runs/*.h5")                     # of many: along `run`, with their median
analysis.campaign("runs/*.h5", analysis.levels, workers=8)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.lazy import lazily

if TYPE_CHECKING:
    from labctl.analysis.characterisation import statistics
    from labctl.analysis.measurements import measurement
    from labctl.analysis.studies.campaigns import campaign
    from labctl.analysis.studies.drifting import drift
    from labctl.analysis.studies.histories import cell_history
    from labctl.analysis.studies.larger import open_events
    from labctl.analysis.studies.learning import learning_curve
    from labctl.analysis.studies.levels import levels
    from labctl.analysis.studies.noise import noise
    from labctl.analysis.studies.repeating import correlation
    from labctl.analysis.studies.spatial import spatial

__all__ = [
    "campaign",
    "cell_history",
    "correlation",
    "drift",
    "learning_curve",
    "levels",
    "measurement",
    "noise",
    "open_events",
    "spatial",
    "statistics",
]

_HOMES = {
    "campaign": "labctl.analysis.studies.campaigns",
    "cell_history": "labctl.analysis.studies.histories",
    "correlation": "labctl.analysis.studies.repeating",
    "drift": "labctl.analysis.studies.drifting",
    "learning_curve": "labctl.analysis.studies.learning",
    "levels": "labctl.analysis.studies.levels",
    "measurement": "labctl.analysis.measurements",
    "noise": "labctl.analysis.studies.noise",
    "open_events": "labctl.analysis.studies.larger",
    "spatial": "labctl.analysis.studies.spatial",
    "statistics": "labctl.analysis.characterisation",
}

__getattr__ = lazily(__name__, _HOMES)
