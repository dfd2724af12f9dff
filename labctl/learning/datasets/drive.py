"""Folders in the layout of DRIVE, the set of retinal pictures with vessels marked by hand: read and written.

J. Staal et al., IEEE Trans. Med. Imaging 23 (2004) 501. Its terms let nobody pass it on: a user reads a copy of their
own.

    training/images/21_training.tif  training/1st_manual/21_manual1.gif  training/mask/21_training_mask.gif
    test/images/01_test.tif  test/1st_manual/01_manual1.gif  test/2nd_manual/01_manual2.gif  test/mask/01_test_mask.gif
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.datasets.fundus import Fundus

Part = Literal["training", "test"]

SOURCE = "DRIVE from drive.grand-challenge.org (registration needed) and unpack it as it comes"


def find_drive(folder: Path) -> Path | None:
    """`folder` or the folder DRIVE in it, whichever is laid out like DRIVE; None where neither is."""
    places = (folder / "DRIVE", folder / "drive", folder)
    return next((place for place in places if (place / "training" / "images").is_dir()), None)


def read_drive(folder: Path, part: Part) -> list[Fundus]:
    """The pictures of a part, by number. Raises UsageError where one is missing, unreadable or of another size."""
    images = sorted((folder / part / "images").glob(f"*_{part}.tif"))
    if not images:
        raise UsageError(f"there are no pictures like 01_{part}.tif in {folder / part / 'images'}: get {SOURCE}")
    found = [_read_fundus(folder / part, path, part) for path in images]
    if len({fundus.view.shape for fundus in found}) > 1:
        raise UsageError(f"the pictures in {folder / part / 'images'} are not all of one size")
    return found


def _read_fundus(folder: Path, path: Path, part: Part) -> Fundus:
    number = path.name.partition("_")[0]
    if not re.fullmatch(r"\d+", number):
        raise UsageError(f"{path} is not named by a number, like 01_{part}.tif")
    picture = _read_picture(path, "RGB")
    second = folder / "2nd_manual" / f"{number}_manual2.gif"
    planes = [
        _read_marks(folder / "mask" / f"{number}_{part}_mask.gif"),
        _read_marks(folder / "1st_manual" / f"{number}_manual1.gif"),
        _read_marks(second) if second.is_file() else None,
    ]
    for plane in planes:
        if plane is not None and plane.shape != picture.shape[:2]:
            sizes = "{} x {} pixels, not {} x {}".format(*plane.shape, *picture.shape)
            raise UsageError(f"the mask or what was marked in {path} is of {sizes}")
    view, vessels, other = planes
    assert view is not None
    assert vessels is not None
    return Fundus(int(number), picture, view, vessels, other)


def _read_marks(path: Path) -> NDArray[np.uint8]:
    """(height, width) 1 where the picture is white."""
    if not path.is_file():
        newer = (
            " (newer copies come without the test part's: choose the split held-out)" if "manual" in path.name else ""
        )
        raise UsageError(f"{path} is missing{newer}: get {SOURCE}")
    return (_read_picture(path, "L") > 127).astype(np.uint8)


def _read_picture(path: Path, mode: str) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise UsageError(f"{path} is not a readable picture: {problem}") from problem


def write_drive(folder: Path, training: Iterable[Fundus], test: Iterable[Fundus]) -> None:
    """Write pictures as DRIVE lays them out, into a new or empty `folder`; the second observer where there was one."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: name a new folder")
    parts: tuple[tuple[Part, Iterable[Fundus]], ...] = (("training", training), ("test", test))
    for part, pictures in parts:
        for fundus in pictures:
            number = f"{fundus.number:02d}"
            _write_picture(folder / part / "images" / f"{number}_{part}.tif", fundus.picture)
            _write_picture(folder / part / "mask" / f"{number}_{part}_mask.gif", 255 * fundus.view)
            _write_picture(folder / part / "1st_manual" / f"{number}_manual1.gif", 255 * fundus.vessels)
            if fundus.second is not None:
                _write_picture(folder / part / "2nd_manual" / f"{number}_manual2.gif", 255 * fundus.second)


def _write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
