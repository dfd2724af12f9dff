"""Vessels of the retina: crops to train a segmentation with, and whole pictures to judge it by.

Of a user's DRIVE folder, or of the procedural phantom where there is none; both are prepared alike: green channel,
CLAHE (K. Zuiderveld, in Graphics Gems IV (1994) 474), gamma.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.datasets.dataset import Dataset, Inputs
from labctl.learning.datasets.drive import SOURCE, find_drive, read_drive
from labctl.learning.datasets.files import VARIABLE, data_folder, digest_of
from labctl.learning.datasets.fundus import Fundus
from labctl.learning.datasets.phantom import draw_fundus
from labctl.learning.networks.network import IGNORED

PHANTOM_SIZE = 256
PHANTOM_TRAINING, PHANTOM_TEST = 12, 6
HELD_OUT = 5
"""Of the training pictures, how many of the last are the test of the split held-out."""

_CLIP_LIMIT = 0.01
_GAMMA = 1 / 1.2


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """Pictures to train with and to be judged by, and where they come from."""

    training: list[Fundus]
    test: list[Fundus]
    source: str


def load_vessels(
    data: Path | None = None,
    split: str = "official",
    crops: int = 4000,
    crop: int = 48,
    seed: int = 1,
    size: int | None = None,
    pictures: int | None = None,
    test_pictures: int | None = None,
) -> Dataset:
    """Vessel segmentation: train_inputs (crops, 1, crop, crop), test_inputs (n, 1, height, width); label 1: vessel.

    data: a folder laid out like DRIVE, or that holds one; where it holds none, or none is named, the phantom is drawn,
    and `source` says so. split: "official", or "held-out" (the last 5 training pictures are the test). seed: of the
    crops' places, and of the phantom. size, pictures, test_pictures: of the phantom, px and counts. `extra` has
    test_field (the fields of view, 1 where pixels count) and, where there was one, test_second (second observer); in
    train_labels pixels outside of the field of view are IGNORED. Raises UsageError where files, options or
    scikit-image are missing.
    """
    if crops < 1 or crop < 1:
        raise UsageError(f"{crops} crops of {crop} x {crop} pixels are none to train with: both must be at least 1")
    eyes = _eyes(data, split, seed, size, pictures, test_pictures)
    for fundus in (*eyes.training, *eyes.test):
        if not fundus.view.any():
            raise UsageError(f"picture {fundus.number} has an empty field of view")
    inputs, labels = _crops(eyes.training, crops, crop, np.random.default_rng([seed, crops, crop]))
    extra = {"test_field": np.stack([fundus.view for fundus in eyes.test])}
    second = [fundus.second for fundus in eyes.test if fundus.second is not None]
    if len(second) == len(eyes.test):
        extra["test_second"] = np.stack(second)
    prepared = f"{split} {crops} {crop} {seed} {_CLIP_LIMIT} {_GAMMA:.6f}"
    return Dataset(
        name="vessels",
        classes=2,
        train_inputs=inputs[:, None],
        train_labels=labels,
        test_inputs=np.stack([enhanced(fundus) for fundus in eyes.test])[:, None],
        test_labels=np.stack([fundus.vessels for fundus in eyes.test]),
        digest=digest_of([prepared, *(fundus.digest for fundus in (*eyes.training, *eyes.test))]),
        source=eyes.source,
        extra=extra,
    )


def _eyes(
    data: Path | None, split: str, seed: int, size: int | None, pictures: int | None, test_pictures: int | None
) -> Eyes:
    """DRIVE where there is one, else the phantom."""
    if split not in ("official", "held-out"):
        raise UsageError(f"there is no split {split!r}: write official or held-out")
    named = data is not None or bool(os.environ.get(VARIABLE))
    folder = data_folder(data, SOURCE) if named else None
    drive = find_drive(folder) if folder is not None else None
    if drive is None:
        missing = f", as no folder like DRIVE is in {folder}" if folder is not None else ""
        training, test = phantom(
            seed,
            PHANTOM_SIZE if size is None else size,
            PHANTOM_TRAINING if pictures is None else pictures,
            PHANTOM_TEST if test_pictures is None else test_pictures,
        )
        eyes = Eyes(training, test, f"labctl's procedural phantom of retinal vessels, seed {seed}{missing}")
    elif any(option is not None for option in (size, pictures, test_pictures)):
        raise UsageError(f"size, pictures and test_pictures are of the phantom, but {drive} is read: leave them out")
    else:
        training = read_drive(drive, "training")
        eyes = Eyes(training, read_drive(drive, "test") if split == "official" else [], "a user's copy of DRIVE")
    if split == "official":
        return eyes
    if len(eyes.training) <= HELD_OUT:
        raise UsageError(f"the split held-out needs more than {HELD_OUT} training pictures, got {len(eyes.training)}")
    return Eyes(eyes.training[:-HELD_OUT], eyes.training[-HELD_OUT:], eyes.source)


def phantom(seed: int, size: int, pictures: int, test_pictures: int) -> tuple[list[Fundus], list[Fundus]]:
    """Training and test pictures of the phantom; as in DRIVE the test has the first numbers, and the second observer.

    Raises UsageError where they would be too small to hold vessels, or none.
    """
    if size < 64 or pictures < 1 or test_pictures < 1:
        raise UsageError(
            f"a phantom of {pictures} and {test_pictures} pictures of {size} x {size} pixels cannot be drawn: "
            "at least 1 and 1, of 64 x 64"
        )
    test = [draw_fundus(seed, number, size) for number in range(1, test_pictures + 1)]
    numbers = range(test_pictures + 1, test_pictures + pictures + 1)
    drawn = (draw_fundus(seed, number, size) for number in numbers)
    return [Fundus(each.number, each.picture, each.view, each.vessels) for each in drawn], test


def enhanced(fundus: Fundus) -> Inputs:
    """(height, width) from 0 to 1: the green channel, its contrast evened out by CLAHE, brightened by a gamma.

    Outside the field of view goes on what is at its edge, smoothed, so that the edge is none of the picture's. Raises
    UsageError without scikit-image.
    """
    try:
        from skimage.exposure import equalize_adapthist
    except ImportError:
        raise UsageError("vessels need scikit-image, which is not installed: pip install 'labctl[learn]'") from None
    evened = equalize_adapthist(_filled(fundus.picture[..., 1] / 255, fundus.view == 1), clip_limit=_CLIP_LIMIT)
    brightened: Inputs = np.clip(evened, 0, 1).astype(np.float32) ** np.float32(_GAMMA)
    return brightened


def _filled(green: NDArray[np.float64], view: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`green` (height, width) with the mean around the nearest pixel of `view` wherever it is not in it."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    width = len(green) / 50
    mean = gaussian_filter(green * view, width) / np.maximum(gaussian_filter(view.astype(np.float64), width), 1e-9)
    nearest = distance_transform_edt(~view, return_distances=False, return_indices=True)
    return np.where(view, green, mean[tuple(nearest)])


def _crops(pictures: list[Fundus], crops: int, crop: int, rng: np.random.Generator) -> tuple[Inputs, NDArray[np.uint8]]:
    """(crops, crop, crop) each: squares around random pixels of the fields of view, as many of every picture."""
    height, width = pictures[0].view.shape
    if crop > min(height, width):
        raise UsageError(f"a crop of {crop} x {crop} pixels does not fit into pictures of {height} x {width}")
    inputs, labels = np.empty((crops, crop, crop), np.float32), np.empty((crops, crop, crop), np.uint8)
    for number, fundus in enumerate(pictures):
        mine = slice(number, None, len(pictures))
        half, count = crop // 2, len(range(crops)[mine])
        centres = np.argwhere(fundus.view[half : half + height - crop + 1, half : half + width - crop + 1])
        if not len(centres):
            raise UsageError(f"no crop of {crop} x {crop} pixels lies about the field of view of {fundus.number}")
        y, x = centres[rng.integers(len(centres), size=count)].T
        inputs[mine] = sliding_window_view(enhanced(fundus), (crop, crop))[y, x]
        known = np.where(fundus.view == 1, fundus.vessels, np.uint8(IGNORED))
        labels[mine] = sliding_window_view(known, (crop, crop))[y, x]
    return inputs, labels
