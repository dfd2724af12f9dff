"""What tests of runs on a small associative array share: its shape, and the steps of their files."""

from __future__ import annotations

from typing import Any

import numpy as np

SHAPE = {"rows": 256, "tracks": 24, "domains": 16, "ports": 1}


def steps_of(tree: Any, name: str) -> np.ndarray:
    """A column of the steps, NaN where it was not given."""
    return np.asarray(tree["steps"].to_dataset()[name].values, np.float64)
