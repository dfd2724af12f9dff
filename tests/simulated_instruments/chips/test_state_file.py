"""A chip put away and taken out again goes on as if it had stayed."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.state_file import ChipFileError

FORM, SET, RESET = 1, 2, 3
NOISY = dataclasses.replace(RramParameters.default(), read_noise=0.02)


def used(parameters=None):
    chip = CrossbarMacro.buy("Y-7", parameters, rows=40, cols=30)
    chip.pulse(FORM, None, 50_000, 1e-6, 1.2, 0.0)
    chip.pulse(SET, np.arange(600, dtype=np.uint32), 24_000, 1e-7, 2.3, 1.0)
    chip.read(None, repeats=3, time=2.0)
    chip.heat(350.0, time=2.5)
    chip.read_voltage, chip.current_range = 0.3, 64e-6
    chip.multiply(np.full((2, 40), 0.1, np.float32), time=2.6)
    return chip


def future(chip):
    yield chip.multiply(np.full((3, 40), 0.1, np.float32), time=2.603)  # sees the cells as the last one did
    yield chip.pulse_and_read(RESET, None, 28_000, 1e-7, 2.5, 3.0)
    yield chip.read(np.arange(7, 500, 5, dtype=np.uint32), repeats=2, time=4.0)
    yield chip.multiply(np.full((3, 40), 0.1, np.float32), time=5.0)
    yield chip.pulse_counts
    yield chip.read_counts


@pytest.mark.parametrize("parameters", [None, NOISY])
def test_it_has_the_same_future(tmp_path, parameters):
    chip = used(parameters)
    chip.save(tmp_path / "chip.h5")
    loaded = CrossbarMacro.load(tmp_path / "chip.h5", parameters)
    assert (loaded.serial, loaded.rows, loaded.cols, loaded.cell_kind) == ("Y-7", 40, 30, "1T1R RRAM")
    assert (loaded.temperature, loaded.read_voltage, loaded.current_range) == (350.0, 0.3, 64e-6)
    for stayed, came_back in zip(future(chip), future(loaded), strict=True):
        np.testing.assert_array_equal(stayed, came_back)


def test_saving_again_replaces_the_file_and_leaves_nothing_else(tmp_path):
    chip, path = used(), tmp_path / "chip.h5"
    chip.save(path)
    chip.pulse(SET, None, 24_000, 1e-7, 2.3, 5.0)
    chip.save(path)
    np.testing.assert_array_equal(CrossbarMacro.load(path).pulse_counts, chip.pulse_counts)
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_that_fails_leaves_the_old_file(tmp_path, mocker):
    chip, path = used(), tmp_path / "chip.h5"
    chip.save(path)
    before = path.read_bytes()
    mocker.patch("os.replace", side_effect=OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        chip.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class TestRefusal:
    def refuse(self, path, told, parameters=None):
        with pytest.raises(ChipFileError, match=told):
            CrossbarMacro.load(path, parameters)

    def edited(self, tmp_path, edit):
        path = tmp_path / "chip.h5"
        used().save(path)
        with h5py.File(path, "r+") as file:
            edit(file)
        return path

    def test_a_file_that_is_not_there(self, tmp_path):
        self.refuse(tmp_path / "none.h5", r"none\.h5 does not exist")

    def test_a_file_that_is_not_hdf5(self, tmp_path):
        path = tmp_path / "notes.txt"
        path.write_text("chip")
        self.refuse(path, r"notes\.txt cannot be read")

    def test_another_hdf5_file(self, tmp_path):
        path = tmp_path / "run.h5"
        with h5py.File(path, "w") as file:
            file["conductance"] = [1.0]
        self.refuse(path, "is not the state of a simulated chip")

    def test_a_chip_of_other_parameters(self, tmp_path):
        used(NOISY).save(tmp_path / "chip.h5")
        self.refuse(tmp_path / "chip.h5", "chip Y-7, bought with other cell parameters")

    def test_other_cells(self, tmp_path):
        path = self.edited(tmp_path, lambda file: file.attrs.__setitem__("cell_kind", "PCM"))
        self.refuse(path, "holds PCM cells, not 1T1R RRAM")

    def test_a_missing_attribute(self, tmp_path):
        self.refuse(self.edited(tmp_path, lambda file: file.attrs.__delitem__("serial")), "cannot be read")

    def test_a_missing_array(self, tmp_path):
        path = self.edited(tmp_path, lambda file: file.__delitem__("state/pulses"))
        self.refuse(path, "state 'pulses' is missing")

    def test_an_array_of_another_shape(self, tmp_path):
        def shorten(file):
            del file["state/pulses"]
            file["state/pulses"] = np.zeros(5, np.uint32)

        self.refuse(self.edited(tmp_path, shorten), r"state 'pulses' is uint32\(5,\)")
