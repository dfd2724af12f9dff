"""An associative chip put away and taken out again goes on as if it had stayed."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from labctl import associative
from labctl.associative import Pass, Table
from labctl.simulated_instruments.cells.racetrack_parameters import RacetrackParameters
from labctl.simulated_instruments.chips.associative import AssociativeChip
from labctl.simulated_instruments.chips.state_file import ChipFileError

ADD = Table("add", "abc", (Pass("110", "-01"), Pass("100", "-10"), Pass("001", "-10"), Pass("011", "-01")))
PARAMETERS = dataclasses.replace(
    RacetrackParameters.named("racetrack"),
    shift_over=1e-3, shift_under=1e-3, transverse_misread=1e-3, sense_noise=0.2, write_error=1e-3, read_error=1e-3,
    retention_rate=1e-6, lifetime=200.0,
)  # fmt: skip
EVERY_COLUMN = np.arange(48, dtype=np.uint32)


def used():
    chip = AssociativeChip.buy("S-1", PARAMETERS, 1000, 3, 16, 2)
    chip.wait(1e9)
    chip.load(EVERY_COLUMN, np.random.default_rng(7).integers(0, 256, (48, 125)).astype(np.uint8))
    chip.verify_every, chip.sense_threshold = 3, 0.6
    add(chip)
    chip.wait(1e9 + 1000.0)
    return chip


def add(chip, times=10):
    chip.execute([ADD.codes], associative.instructions([(0, 8, [0, 16, 32], [1, 1, 0])] * times))


def future(chip):
    add(chip)
    yield chip.tag_plane()
    yield chip.check(np.arange(3, dtype=np.uint16))
    chip.wait(1e9 + 20_000.0)
    yield chip.read(EVERY_COLUMN)
    yield np.array(dataclasses.astuple(chip.counters))
    yield chip.column_writes
    yield chip.offsets
    yield chip.heads
    yield np.array(chip.busy_seconds)


def test_it_has_the_same_future(tmp_path):
    chip = used()
    assert chip.offsets.any()
    chip.save(tmp_path / "chip.h5")
    restored = AssociativeChip.restored(tmp_path / "chip.h5", PARAMETERS)
    assert (restored.serial, restored.rows, restored.tracks, restored.domains) == ("S-1", 1000, 3, 16)
    assert (restored.ports, restored.verify_every, restored.sense_threshold) == (2, 3, 0.6)
    assert restored.time == chip.time
    for stayed, came_back in zip(future(chip), future(restored), strict=True):
        np.testing.assert_array_equal(stayed, came_back)


def test_a_fresh_chip_has_the_same_future(tmp_path):
    fresh = AssociativeChip.buy("S-2", PARAMETERS, 1000, 3, 16, 2)
    fresh.save(tmp_path / "chip.h5")
    restored = AssociativeChip.restored(tmp_path / "chip.h5", PARAMETERS)
    assert restored.time is None
    for stayed, came_back in zip(future(fresh), future(restored), strict=True):
        np.testing.assert_array_equal(stayed, came_back)


def test_only_what_is_held_takes_up_room(tmp_path):
    path = tmp_path / "chip.h5"
    AssociativeChip.buy("S-3").save(path)
    fresh = path.stat().st_size
    assert fresh < 2_000_000
    chip = AssociativeChip.buy("S-3")
    chip.load(EVERY_COLUMN[:10], np.full((10, 8192), 255, np.uint8))
    chip.save(path)
    assert fresh + 10 * 8192 <= path.stat().st_size < 2_000_000 + 20 * 8192
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_other_chips_are_refused(tmp_path):
    path = tmp_path / "chip.h5"
    with pytest.raises(ChipFileError, match="does not exist"):
        AssociativeChip.restored(path)
    used().save(path)
    with pytest.raises(ChipFileError, match="bought with other cell parameters"):
        AssociativeChip.restored(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "something else"
    with pytest.raises(ChipFileError, match="is not the state of a simulated chip"):
        AssociativeChip.restored(path, PARAMETERS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("heads", None), ("held", [1 << 30]), ("counters", [0]), ("next_flips", [0.0, 1.0]), ("offsets", [[1], [2]])],
)
def test_damaged_files_are_refused_in_a_sentence(tmp_path, name, value):
    path = tmp_path / "chip.h5"
    used().save(path)
    with h5py.File(path, "r+") as file:
        del file["state"][name]
        if value is not None:
            file["state"][name] = value
    with pytest.raises(ChipFileError, match=r"chip\.h5 cannot be read as the state of a simulated chip"):
        AssociativeChip.restored(path, PARAMETERS)


def test_a_file_of_an_impossible_chip_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "chip.h5"
    used().save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["rows"] = "many"
    with pytest.raises(ChipFileError, match=r"chip\.h5 cannot be read as the state of a simulated chip"):
        AssociativeChip.restored(path, PARAMETERS)


def test_a_column_that_is_worn_out_has_the_same_future(tmp_path):
    worn = dataclasses.replace(RacetrackParameters.named("racetrack_ideal"), lifetime=1.0)
    chip = AssociativeChip.buy("S-4", worn, 64, 1, 8, 1)
    for turn in range(20):
        chip.load(EVERY_COLUMN[:1], np.full((1, 8), 255 * (turn % 2), np.uint8))
    chip.save(tmp_path / "chip.h5")
    restored = AssociativeChip.restored(tmp_path / "chip.h5", worn)
    seen = []
    for each in (chip, restored):
        each.search(EVERY_COLUMN[:0], np.empty(0, np.uint8))
        each.realign(0, 1)  # what is written to the worn column lands in the next one
        each.load(EVERY_COLUMN[:1], np.full((1, 8), 255, np.uint8))
        each.load(EVERY_COLUMN[:1], np.full((1, 8), 15, np.uint8))
        seen.append(each.read(EVERY_COLUMN[:1]))
    np.testing.assert_array_equal(*seen)
