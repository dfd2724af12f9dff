"""Vessels from a folder in DRIVE's layout and from the phantom, prepared alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labctl.errors import UsageError
from labctl.learning.datasets import Dataset, load_dataset
from labctl.learning.datasets.drive import read_drive, write_drive
from labctl.learning.datasets.fundus import Fundus
from labctl.learning.datasets.phantom import draw_fundus
from labctl.learning.datasets.vessels import enhanced
from labctl.learning.networks import IGNORED

SMALL: dict[str, Any] = {"size": 96, "pictures": 3, "test_pictures": 2, "crops": 60, "seed": 4}


@pytest.fixture(scope="module")
def pictures() -> list[Fundus]:
    return [draw_fundus(4, number, 96) for number in range(1, 9)]


@pytest.fixture
def drive(tmp_path: Path, pictures: list[Fundus]) -> Path:
    write_drive(tmp_path / "DRIVE", pictures[2:], pictures[:2])
    return tmp_path


@pytest.fixture(autouse=True)
def no_data_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCTL_DATA", raising=False)


@pytest.fixture(scope="module")
def small() -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LABCTL_DATA", raising=False)
        return load_dataset("vessels", **SMALL)


def test_the_phantom_is_drawn_where_no_folder_is_named(small: Dataset) -> None:
    assert small.train_inputs.shape == (60, 1, 48, 48)
    assert small.train_labels.shape == (60, 48, 48)
    assert small.test_inputs.shape == (2, 1, 96, 96)
    assert small.test_labels.shape == small.extra["test_field"].shape == small.extra["test_second"].shape == (2, 96, 96)
    assert (small.train_inputs.dtype, small.train_labels.dtype, small.classes) == (np.float32, np.uint8, 2)
    assert small.train_inputs.min() >= 0
    assert small.train_inputs.max() <= 1
    assert set(np.unique(small.test_labels)) == {0, 1}
    assert small.source == "labctl's procedural phantom of retinal vessels, seed 4"


def test_pixels_outside_the_field_of_view_are_not_learnt_from(small: Dataset) -> None:
    assert set(np.unique(small.train_labels)) == {0, 1, IGNORED}
    assert (small.train_labels[:, 24, 24] != IGNORED).all()


def test_the_same_options_give_the_same_and_others_others(small: Dataset) -> None:
    again = load_dataset("vessels", **SMALL)
    np.testing.assert_array_equal(again.train_inputs, small.train_inputs)
    assert again.digest == small.digest
    others = [
        load_dataset("vessels", **{**SMALL, **change}).digest for change in ({"seed": 5}, {"crops": 61}, {"crop": 32})
    ]
    assert len({small.digest, *others}) == 4


def test_training_and_test_pictures_are_different_ones(small: Dataset) -> None:
    fewer = load_dataset("vessels", **{**SMALL, "pictures": 1})
    np.testing.assert_array_equal(fewer.test_inputs, small.test_inputs)
    vessels = {picture.tobytes() for picture in small.test_labels}
    whole = load_dataset("vessels", **{**SMALL, "crop": 96, "crops": 3})
    assert whole.train_labels.shape == (3, 96, 96)
    assert not vessels & {np.where(picture == IGNORED, 0, picture).tobytes() for picture in whole.train_labels}


def test_a_folder_laid_out_like_drive_is_read_as_it_was_written(drive: Path, pictures: list[Fundus]) -> None:
    for part, written in (("training", pictures[2:]), ("test", pictures[:2])):
        found = read_drive(drive / "DRIVE", part)
        assert [fundus.digest for fundus in found] == [fundus.digest for fundus in written]


def test_the_layout_is_that_of_drive(drive: Path) -> None:
    names = {str(path.relative_to(drive / "DRIVE")) for path in (drive / "DRIVE").rglob("*.*")}
    assert {
        "training/images/03_training.tif",
        "training/1st_manual/03_manual1.gif",
        "training/mask/03_training_mask.gif",
        "test/images/01_test.tif",
        "test/1st_manual/01_manual1.gif",
        "test/2nd_manual/02_manual2.gif",
        "test/mask/02_test_mask.gif",
    } <= names


@pytest.mark.parametrize("how", ["folder", "parent", "environment"])
def test_drive_is_found_where_it_is_named(drive: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "environment":
        monkeypatch.setenv("LABCTL_DATA", str(drive))
    folder = {"folder": drive / "DRIVE", "parent": drive, "environment": None}[how]
    data = load_dataset("vessels", folder, crops=12, crop=24)
    assert data.source == "a user's copy of DRIVE"
    assert data.train_inputs.shape == (12, 1, 24, 24)
    assert data.test_inputs.shape == (2, 1, 96, 96)


def test_drive_and_the_phantom_are_prepared_alike(tmp_path: Path, small: Dataset) -> None:
    drawn = [draw_fundus(4, number, 96) for number in range(1, 6)]
    write_drive(tmp_path, [Fundus(eye.number, eye.picture, eye.view, eye.vessels) for eye in drawn[2:]], drawn[:2])
    data = load_dataset("vessels", tmp_path, crops=60, seed=4)
    assert data.digest == small.digest
    np.testing.assert_array_equal(data.train_inputs, small.train_inputs)
    np.testing.assert_array_equal(data.test_inputs, small.test_inputs)
    np.testing.assert_array_equal(data.extra["test_second"], small.extra["test_second"])


def test_a_folder_without_drive_gives_the_phantom_and_says_so(tmp_path: Path) -> None:
    data = load_dataset("vessels", tmp_path, **SMALL)
    assert data.source.endswith(f"as no folder like DRIVE is in {tmp_path}")
    with pytest.raises(UsageError, match=r"nowhere is not a folder: get DRIVE"):
        load_dataset("vessels", tmp_path / "nowhere")


def test_without_marks_of_the_test_part_the_last_training_pictures_can_be_held_out(drive: Path) -> None:
    for path in (drive / "DRIVE" / "test" / "1st_manual").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"01_manual1\.gif is missing .* choose the split held-out\): get DRIVE"):
        load_dataset("vessels", drive)
    data = load_dataset("vessels", drive, split="held-out", crops=4)
    assert data.test_inputs.shape == (5, 1, 96, 96)
    np.testing.assert_array_equal(data.test_labels[0], read_drive(drive / "DRIVE", "training")[1].vessels)


def test_contrast_is_evened_out_inside_and_nothing_stands_outside(pictures: list[Fundus]) -> None:
    fundus = pictures[0]
    found, view = enhanced(fundus), fundus.view == 1
    green = fundus.picture[..., 1] / 255
    assert found.dtype == np.float32
    assert found[view].std() > 1.2 * green[view].std()
    y, x = np.nonzero(view)
    rim = found[y.min() - 2, x[y == y.min()].mean().astype(int)]
    assert abs(rim - np.median(found[view])) < 0.35  # the camera's black would be at 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "speaker:theo"}, "no split 'speaker:theo': write official or held-out"),
        ({"crops": 0}, "0 crops of 48 x 48 pixels are none to train with"),
        ({"size": 20}, "at least 1 and 1, of 64 x 64"),
        ({"size": 64, "crop": 65}, "does not fit into pictures of 64 x 64"),
        ({"size": 64, "pictures": 2, "test_pictures": 1, "split": "held-out"}, "more than 5 training pictures, got 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_dataset("vessels", **options)


def test_options_of_the_phantom_are_refused_for_drive(drive: Path) -> None:
    with pytest.raises(UsageError, match=r"are of the phantom, but .*DRIVE is read"):
        load_dataset("vessels", drive, size=128)


def test_what_is_wrong_in_a_folder_is_named(drive: Path) -> None:
    mask = drive / "DRIVE" / "training" / "mask" / "04_training_mask.gif"
    whole = mask.read_bytes()
    mask.write_bytes(b"GIF89a")
    with pytest.raises(UsageError, match=r"04_training_mask\.gif is not a readable picture"):
        load_dataset("vessels", drive)
    Image.new("L", (10, 12)).save(mask)
    with pytest.raises(UsageError, match=r"04_training\.tif is of 12 x 10 pixels, not 96 x 96"):
        load_dataset("vessels", drive)
    Image.new("L", (96, 96)).save(mask)
    with pytest.raises(UsageError, match="picture 4 has an empty field of view"):
        load_dataset("vessels", drive)
    mask.unlink()
    with pytest.raises(UsageError, match=r"04_training_mask\.gif is missing: get DRIVE"):
        load_dataset("vessels", drive)
    mask.write_bytes(whole)
    image = drive / "DRIVE" / "training" / "images" / "04_training.tif"
    image.write_bytes(image.read_bytes()[:1000])
    with pytest.raises(UsageError, match=r"04_training\.tif is not a readable picture"):
        load_dataset("vessels", drive)
    image.rename(image.with_name("four_training.tif"))
    with pytest.raises(UsageError, match=r"four_training\.tif is not named by a number"):
        load_dataset("vessels", drive)


def test_pictures_of_two_sizes_are_refused(tmp_path: Path, pictures: list[Fundus]) -> None:
    write_drive(tmp_path, [pictures[2], draw_fundus(4, 9, 128)], pictures[:2])
    with pytest.raises(UsageError, match="are not all of one size"):
        load_dataset("vessels", tmp_path)


def test_nothing_is_written_into_a_folder_that_holds_something(drive: Path, pictures: list[Fundus]) -> None:
    with pytest.raises(UsageError, match="DRIVE is not empty: name a new folder"):
        write_drive(drive / "DRIVE", pictures[:1], pictures[:1])


def test_without_scikit_image_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.exposure", None)
    with pytest.raises(UsageError, match=r"need scikit-image, which is not installed: pip install 'labctl\[learn\]'"):
        load_dataset("vessels", **SMALL)
