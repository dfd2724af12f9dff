"""The device for CrossSim: behind a stand-in for the two names it imports, and in CrossSim where it is installed."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.errors import ExportError
from labctl.exchange import crosssim
from labctl.exchange.exporting import read_device


class _EmptyDevice:
    """Takes what CrossSim gives a device; the exported class needs none of it."""

    def __init__(self, device_params: object = None, weight_error_params: object = None) -> None:
        self.given = (device_params, weight_error_params)


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """`simulator.backend.ComputeBackend`, which stands for numpy, and `simulator.devices.idevice.EmptyDevice`."""
    parts: dict[str, dict[str, Any]] = {
        "simulator": {},
        "simulator.backend": {"ComputeBackend": lambda: np},
        "simulator.devices": {},
        "simulator.devices.idevice": {"EmptyDevice": _EmptyDevice},
    }
    for name, contents in parts.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    np.random.seed(0)  # noqa: NPY002 -- CrossSim draws from the global generator


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("simulator")
def test_the_device_scatters_as_was_measured_at_each_time(drifting: Path, tmp_path: Path) -> None:
    (path,) = crosssim.export(read_device([drifting], g_max=40e-6), tmp_path / "chip.py")
    device = _load(path).X_1()
    target = np.full(20_000, 25 / 40, np.float32)
    measured = {0: (0.0, 0.2), 0.01: (-0.1, 0.539), 1: (-0.2, 1.02), 1e4: (-1.0, 2.01), 1e8: (-1.0, 2.01)}
    for time, (mean, spread) in measured.items():
        error = (device.drift_error(target, time) - target) * 40
        # Tables of 2,000 cells (1.6 %), and 20,000 draws (0.5 %): four standard errors, of the mean 4 / sqrt(2000).
        assert error.std() == pytest.approx(spread, rel=0.067)
        assert error.mean() == pytest.approx(mean, abs=0.095 * spread)
        assert error.dtype == np.float32
    assert (device.programming_error(target) - target).std() * 40 == pytest.approx(0.2, rel=0.067)
    np.testing.assert_array_equal(device.read_noise(target), target)


@pytest.mark.usefixtures("simulator")
def test_the_device_takes_what_crosssim_tries_it_with(chip_file: Path, tmp_path: Path) -> None:
    (path,) = crosssim.export(read_device([chip_file]), tmp_path / "chip.py")
    device = _load(path).T_9_twin("device parameters", "error parameters")
    for answer in (
        device.read_noise(np.zeros(1)),
        device.programming_error(np.zeros(1)),
        device.drift_error(np.zeros(1), 0),
    ):
        assert answer.shape == (1,)
        assert np.isfinite(answer).all()
    matrix = np.full((200, 100), 1.0)
    # Halfway in log time between 1 s (0.5 uS) and 100 s (1.03 uS) at 30 uS, quantiles are halfway.
    spread = (device.drift_error(matrix, 10.0) - matrix).std() * 30
    assert spread == pytest.approx((0.5 + np.hypot(0.25, 1)) / 2, rel=0.05)


@pytest.mark.usefixtures("simulator")
def test_tails_are_kept(chip_file: Path, tmp_path: Path) -> None:
    text = chip_file.read_text().replace("[-1e-6, 0, 1e-6]]", "[-0.2e-6, 0, 5e-6]]")
    chip_file.write_text(text)
    (path,) = crosssim.export(read_device([chip_file]), tmp_path / "chip.py")
    error = (_load(path).T_9_twin().drift_error(np.ones(50_000), 1.0) - 1) * 30
    assert np.quantile(error, 0.9772) == pytest.approx(5.0, rel=0.05)
    assert np.quantile(error, 0.0228) == pytest.approx(-0.2, rel=0.1)


def test_pulse_tables_are_as_crosssim_2_reads_them(ramps: Path, tmp_path: Path) -> None:
    """A line of text, conductances, cumulative probabilities, then changes: read and checked as CrossSim does."""
    up, down = crosssim.export(read_device([ramps]), tmp_path / "chip.py")
    assert (up.name, down.name) == ("dG_increasing.txt", "dG_decreasing.txt")
    tables = []
    for path, mean in ((up, 0.4e-6), (down, -0.3e-6)):
        conductance, probability = (np.genfromtxt(path, delimiter=",", skip_header=n, max_rows=1) for n in (1, 2))
        change = np.genfromtxt(path, delimiter=",", skip_header=3)
        assert change.shape == (len(probability), len(conductance))
        assert probability[0] == 0
        assert probability[-1] == 1
        for values in (probability, conductance):  # even, or CrossSim falls back to a slow interpolation
            assert np.ptp(np.diff(values)) < np.diff(values).max() / 1e4
        # Some 70 steps of 0.1 uS a conductance: 0.012 uS; five of them, as there are 50 conductances.
        np.testing.assert_allclose(np.diff(probability) @ change[:-1], mean, atol=0.06e-6)
        assert np.all(np.diff(change, axis=0) >= 0)
        tables.append(np.concatenate([conductance, probability]))
    np.testing.assert_array_equal(tables[0], tables[1])


def test_steps_that_go_the_wrong_way_are_refused(tmp_path: Path, imported: Any) -> None:
    ramp = np.linspace(1e-5, 5e-5, 100)
    np.savez(tmp_path / "wrong.npz", up=ramp[::-1], down=ramp)
    place = {"unit": "S"}
    imported(
        tmp_path / "wrong.npz", measurement="pulse-response", set={"at": "up", **place}, reset={"at": "down", **place}
    )
    (run,) = (tmp_path / "runs").glob("*.h5")
    with pytest.raises(ExportError, match="increasing pulses do not do so on average"):
        crosssim.export(read_device([run]), tmp_path / "chip.py")


def test_crosssim_itself_finds_the_device(drifting: Path, tmp_path: Path) -> None:
    parameters = pytest.importorskip("simulator.parameters")
    devices = pytest.importorskip("simulator.devices.device")
    (path,) = crosssim.export(read_device([drifting]), tmp_path / "chip.py")
    _load(path)
    params = parameters.CrossSimParameters().xbar.device
    for error in (params.programming_error, params.drift_error, params.read_noise):
        error.enable, error.model = True, "X_1"
    device = devices.Device.create_device(params)
    assert device.programming_error(np.full(10, 0.5)).shape == (10,)
