"""How sure an accuracy is that a network reached on the test samples of its run."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis import estimators


def share_right(measured: xr.Dataset, accuracy: float) -> estimators.Estimate:
    """An accuracy on the run's test samples with Wilson's interval; without one where these are pixels of pictures, as
    they go together, and where it is not known how many there were.
    """
    samples = int(measured.attrs["samples"])
    if samples:
        return estimators.fraction(round(accuracy * samples), samples)
    return estimators.Estimate(accuracy, np.nan, np.nan, measured.sizes.get("picture", 0))
