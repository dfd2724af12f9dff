"""What exports are made from: errors by level, from runs and from chip files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from labctl.errors import ExportError
from labctl.exchange.exporting import read_device
from labctl.exchange.importing import import_file
from labctl.exchange.mapping import mapping_from

CHIP = {"chip": "X-1", "technology": "1T1R RRAM"}


def test_a_retention_run_tells_programming_error_and_change(drifting: Path) -> None:
    device = read_device([drifting])
    assert device.programming is not None
    assert device.relaxation is not None
    # 8 levels of 2,000 cells: the standard error of a standard deviation is 1/sqrt(2 n) = 1.6 %; four of them.
    np.testing.assert_allclose(device.programming.spread, 0.2e-6, rtol=0.064)
    for column, (mean, spread) in enumerate(((-0.1e-6, 0.5e-6), (-0.2e-6, 1e-6), (-1e-6, 2e-6))):
        found = device.relaxation.at(column)
        np.testing.assert_allclose(found.spread, spread, rtol=0.064)
        np.testing.assert_allclose(found.mean, mean, atol=4 * spread / np.sqrt(2000))
    assert device.g_max == pytest.approx(35e-6, rel=1e-6)  # the highest target, as float32


def test_cells_that_missed_their_target_are_no_programming_error(tmp_path: Path) -> None:
    """One cell in ten stuck at 70 uS, one at 0.1 uS: without them the spread is the 0.2 uS of the others."""
    rng = np.random.default_rng(14)
    target = np.tile([5e-6, 15e-6, 25e-6, 35e-6], 1000)
    programmed = target + 0.2e-6 * rng.standard_normal(len(target))
    programmed[::10], programmed[5::10] = 70e-6, 0.1e-6
    later = programmed + 1e-6 * rng.standard_normal(len(target))
    np.savez(tmp_path / "stuck.npz", g=np.stack([programmed, later], axis=1), target=target)
    tables: dict[str, Any] = {
        "measurement": "retention",
        "conductance": {"at": "g", "unit": "S"},
        "time": {"values": [0, 10], "unit": "s"},
    }
    with_target = {"target": {"at": "target", "unit": "S"}}
    run = import_file(tmp_path / "stuck.npz", mapping_from(CHIP | tables | with_target), tmp_path / "runs").path
    device = read_device([run])
    assert device.programming is not None
    # 8 levels of 400 cells: 3.5 % each; four standard errors.
    np.testing.assert_allclose(device.programming.spread, 0.2e-6, rtol=0.14)
    assert device.g_max == pytest.approx(35e-6, rel=1e-6)
    assert device.notes == ("800 cells of the run of retention left out: faulty, or never in their window",)
    assert device.sources[0].startswith(f"{run.name}: retention, sha256 ")
    bare = import_file(tmp_path / "stuck.npz", mapping_from(CHIP | tables), tmp_path / "runs").path
    untold = read_device([bare])
    assert untold.programming is None
    assert untold.relaxation is not None


def test_cells_never_in_their_window_are_left_out_where_the_run_says_so(drifting: Path) -> None:
    """A run with the map `outcome`, in which 1,000 of 16,000 cells, within six standard deviations, were given up."""
    cells = 16_000
    with h5py.File(drifting, "r+") as file:
        shape = file["maps/programmed"].shape
        outcome = np.zeros(shape, np.uint8)
        outcome.flat[:cells] = 1
        outcome.flat[:1000] = 2
        map_ = file["maps"].create_dataset("outcome", data=outcome)
        map_.attrs["flag_values"] = np.array([0, 1, 2], np.uint8)
        map_.attrs["flag_meanings"] = "not_targeted in_window unreached"
        for number, axis in enumerate(("row", "col")):
            map_.dims[number].attach_scale(file["maps"][axis])
    device = read_device([drifting])
    assert device.relaxation is not None
    assert sum(len(each) for each in device.relaxation.changes) == cells - 1000


@pytest.mark.parametrize("g_max", [0.0, -1e-6, 40.0])
def test_a_highest_conductance_without_its_unit_is_refused(drifting: Path, g_max: float) -> None:
    with pytest.raises(ExportError, match="S is no conductance of a memory cell: give it with its unit, as in '40 uS'"):
        read_device([drifting], g_max)


def test_a_misspelt_parameter_of_a_chip_file_is_refused(chip_file: Path) -> None:
    chip_file.write_text(chip_file.read_text().replace("[relaxation_memory]", "[relaxation_memroy]"))
    with pytest.raises(
        ExportError, match=r"\$\.relaxation_memroy: rram_40nm has no .*did you mean relaxation_memory\?"
    ):
        read_device([chip_file])


def test_a_chip_file_tells_the_change_of_its_autoregression(chip_file: Path) -> None:
    device = read_device([chip_file])
    assert device.name == "T-9 twin"
    assert device.relaxation is not None
    # sqrt(0.5^2 1^2 + 1.5^2) and sqrt(0.5^2 0.5^2 + 1^2) uS after 100 s, of 4,096 cells: four standard errors of 1.1 %.
    early, late = device.relaxation.at(0), device.relaxation.at(1)
    np.testing.assert_allclose(early.spread, [1e-6, 0.5e-6], rtol=0.044)
    np.testing.assert_allclose(late.spread, [np.hypot(0.5, 1.5) * 1e-6, np.hypot(0.25, 1) * 1e-6], rtol=0.044)
    np.testing.assert_allclose(late.mean, [-1e-6, 0], atol=4 * 1.6e-6 / 64)
    assert device.noise is not None
    assert (device.noise.spread > 0).all()  # by the base's parameters


CELLS = Path(__file__).parents[3] / "data" / "cells"


RACETRACKS = sorted(CELLS.glob("racetrack*.toml"))


@pytest.mark.parametrize("path", sorted(set(CELLS.glob("*.toml")) - set(RACETRACKS)), ids=lambda path: path.stem)
def test_every_built_in_set_of_conductances_can_be_exported(path: Path) -> None:
    device = read_device([path])
    assert device.relaxation is not None or device.steps is not None
    assert device.g_max > 0


@pytest.mark.parametrize("path", RACETRACKS, ids=lambda path: path.stem)
def test_racetracks_have_no_conductance_to_export(path: Path) -> None:
    with pytest.raises(ExportError, match=f"{path.name}: tells nothing"):
        read_device([path])


def test_phase_change_memory_has_the_programming_error_and_drift_of_its_parameters() -> None:
    """Joshi et al., Nat. Commun. 11, 2473 (2020): at full scale sd 1.05538 uS, nu 0.049 +- 0.008."""
    device = read_device([CELLS / "pcm_statistical.toml"])
    assert device.programming is not None
    assert device.relaxation is not None
    assert device.programming.spread[-1] == pytest.approx(1.05538e-6, rel=1e-3)
    change = device.relaxation.changes[-1]
    nu = -np.log(1 + change[:, -1] / 25e-6) / np.log(1e4)
    # 4,096 cells: four standard errors.
    assert nu.mean() == pytest.approx(0.049, abs=4 * 0.008 / 64)
    assert nu.std() == pytest.approx(0.008, rel=0.044)


def test_noise_of_many_cells_is_their_root_mean_square_by_level(drifting: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    level = np.repeat([10e-6, 30e-6], 100)
    np.save(tmp_path / "noise.npy", level[:, None] * (1 + 0.02 * rng.standard_normal((200, 200))))
    tables: dict[str, Any] = {
        "measurement": "read-noise",
        "conductance": {"at": "*", "unit": "S"},
        "sample_rate": {"values": 100, "unit": "Hz"},
    }
    run = import_file(tmp_path / "noise.npy", mapping_from(CHIP | tables), tmp_path / "runs").path
    found = read_device([drifting, run]).noise
    assert found is not None
    # 25 cells of 200 samples a level: 1/sqrt(2 * 5000) = 1 %; four of them.
    np.testing.assert_allclose(found.spread / found.levels, 0.02, rtol=0.04)


def test_what_tells_a_simulator_nothing_is_refused(tmp_path: Path, drifting: Path, chip_file: Path) -> None:
    np.save(tmp_path / "map.npy", np.full((4, 4), 1e-5))
    tables = {"measurement": "map", "conductance": {"at": "*", "unit": "S"}}
    run = import_file(tmp_path / "map.npy", mapping_from(CHIP | tables), tmp_path / "runs").path
    with pytest.raises(ExportError, match="tells nothing; a device model needs"):
        read_device([run])
    with pytest.raises(ExportError, match="not both"):
        read_device([drifting, chip_file])
    with pytest.raises(ExportError, match="2 runs of retention"):
        read_device([drifting, drifting])
    (tmp_path / "bad.toml").write_text("[relaxation_times]\nvalues = [1]\n")
    with pytest.raises(ExportError, match=r"bad\.toml: \$\.relaxation_times: expected a table of value"):
        read_device([tmp_path / "bad.toml"])
