"""What a network that labels pixels detects: which pixels it gets right, and its curves over all thresholds."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.learning.metrics import Curve, detection_curve

VERDICTS = ("neither", "found", "missed", "not there")
"""By code: nothing is there and nothing is said to be, it is there and said to be, only there, only said."""

_PICTURES = ("pictures", "truth", "probability")


def has_pictures(measured: xr.Dataset) -> bool:
    return set(_PICTURES) <= set(measured)


def verdicts(measured: xr.Dataset) -> NDArray[np.uint8]:
    """(picture, y, x) index in VERDICTS of each pixel, at a probability of a half."""
    there, said = measured["truth"].values == 1, measured["probability"].values > 0.5
    return np.select([there & said, there, said], [1, 2, 3], 0).astype(np.uint8)


def errors(measured: xr.Dataset) -> NDArray[np.float64]:
    """(picture,) the share of the pixels that count which have the wrong label."""
    wrong, counts = verdicts(measured) >= VERDICTS.index("missed"), counted(measured)
    shares: NDArray[np.float64] = (wrong & counts).sum(axis=(1, 2)) / np.maximum(counts.sum(axis=(1, 2)), 1)
    return shares


def counted(measured: xr.Dataset) -> NDArray[np.bool_]:
    """(picture, y, x) which pixels are judged: those in the field of view, where the run says which these are."""
    if "field" in measured:
        return np.asarray(measured["field"].values, bool)
    return np.ones(measured["truth"].shape, bool)


def detections(measured: xr.Dataset) -> Curve | None:
    """Of all pixels that count; None where there are no pictures, or no curve is defined."""
    if not has_pictures(measured):
        return None
    inside = counted(measured)
    truth, probability = (measured[name].values[inside] for name in ("truth", "probability"))
    if not truth.size or truth.all() or not truth.any() or np.isnan(probability).any():
        return None
    return detection_curve(truth, probability)
