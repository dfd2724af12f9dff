"""Drift and noise: made by their own equations, and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coverage_of_intervals import coloured
from measured_runs import write_map, write_read_noise, write_retention

from labctl import analysis
from labctl.errors import RecordingError, UsageError

TIMES = np.array([0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0])


def drifting(path: Path, conductance: np.ndarray, target: np.ndarray) -> Path:
    """conductance (cells, times) S."""
    table = np.concatenate([target[:, None], conductance], axis=1)
    return write_retention(path, table, TIMES, target)


def test_a_drift_exponent_is_found_by_cell_and_by_level(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    target = np.repeat([50e-6, 200e-6], 150)
    nu = np.repeat([0.1, 0.03], 150) + 0.005 * rng.standard_normal(300)
    level = target[:, None] * TIMES ** -nu[:, None] * np.exp(0.01 * rng.standard_normal((300, 6)))
    found = analysis.drift(drifting(tmp_path / "run.h5", level, target), model="power")
    assert (found["rate_low"] < [0.1, 0.03]).all()
    assert (found["rate_high"] > [0.1, 0.03]).all()
    assert found["rate_spread"].values == pytest.approx([0.005, 0.005], abs=0.003)
    held = (found["cell_rate_low"] <= nu) & (nu <= found["cell_rate_high"])
    assert held.mean() == pytest.approx(0.95, abs=0.05)  # 4 standard errors of 300 intervals
    assert found["conductance"].values == pytest.approx([50e-6, 200e-6], rel=0.01)
    assert found["cell_residual"].median().item() == pytest.approx(0.01, abs=0.002)
    assert found["n"].values.tolist() == [150, 150]


def test_relaxation_is_a_change_a_decade(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    target = np.full(200, 40e-6)
    level = target[:, None] - 0.5e-6 * np.log10(TIMES) + 0.1e-6 * rng.standard_normal((200, 6))
    found = analysis.drift(drifting(tmp_path / "run.h5", level, target))
    assert found.attrs["model"] == "log"  # its cells are RRAM
    assert found["rate_low"].item() < -0.5e-6 < found["rate_high"].item()
    later = analysis.drift(tmp_path / "run.h5", at=100.0)
    assert later["conductance"].item() == pytest.approx(39e-6, rel=0.005)
    assert later["rate"].item() == pytest.approx(found["rate"].item())


def test_a_spectrum_is_found_as_it_was_made(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rate, cells = 100.0, 40
    relative = np.stack([coloured(rng, 4096, -1.0) for _ in range(cells)]) * 0.01
    conductance = np.linspace(20e-6, 200e-6, cells)[:, None]
    path = write_read_noise(tmp_path / "run.h5", conductance * (1 + relative), rate)
    found = analysis.noise(path, at=5.0)  # Hz, in the middle of the spectrum
    assert found["exponent"].item() == pytest.approx(1, abs=0.03)  # the window leaks: right within 2 %
    amplitude = 0.01**2 / 5.0  # 1/Hz: f^-1 is the same whatever the clock
    assert found["amplitude"].item() == pytest.approx(amplitude, rel=0.03)
    held = (found["cell_amplitude_low"] <= amplitude) & (amplitude <= found["cell_amplitude_high"])
    assert held.mean() > 0.8
    assert found["noise_slope_low"].item() < 0 < found["noise_slope_high"].item()
    assert found["window"].item() == pytest.approx(1.0)


def test_noise_that_is_the_same_at_every_conductance_has_a_slope_of_minus_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    conductance = np.linspace(20e-6, 200e-6, 60)[:, None]
    path = write_read_noise(tmp_path / "run.h5", conductance + 0.3e-6 * rng.standard_normal((60, 1024)), 100.0)
    found = analysis.noise(path)
    assert found["noise_slope"].item() == pytest.approx(-1, abs=0.05)
    assert found["exponent_low"].item() < 0.05
    assert found["exponent_high"].item() > -0.05


def test_cells_that_miss_a_sample_are_left_out_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = 50e-6 + 1e-6 * rng.standard_normal((5, 256))
    values[2, 100] = 1e-3  # saturated
    found = analysis.noise(write_read_noise(tmp_path / "run.h5", values, 10.0))
    assert found["cell"].values.tolist() == [1, 2, 4, 5]  # cells are counted from 1


def test_other_runs_and_short_records_are_refused(tmp_path: Path) -> None:
    read = write_map(tmp_path / "map.h5", np.full((2, 4, 4), 1e-5))
    short = write_read_noise(tmp_path / "short.h5", np.full((2, 30), 1e-5), 10.0)
    for study, path, said in (
        (analysis.drift, read, "needs retention"),
        (analysis.noise, read, "needs read-noise"),
        (analysis.noise, short, "has no spectrum"),
    ):
        with pytest.raises(RecordingError, match=said):
            study(path)
    retained = drifting(tmp_path / "kept.h5", np.full((4, 6), 1e-5), np.full(4, 1e-5))
    with pytest.raises(UsageError, match="no model"):
        analysis.drift(retained, model="cubic")
