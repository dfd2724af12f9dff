"""The noise model for aihwkit: its coefficients always, and the model itself where aihwkit is installed."""

from __future__ import annotations

import ast
import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.exchange import aihwkit
from labctl.exchange.devices import ByLevel, Device, Relaxation
from labctl.exchange.exporting import read_device


def test_coefficients_meet_the_spread_at_1_s_and_mean_and_spread_at_the_end(drifting: Path) -> None:
    found = aihwkit.coefficients(read_device([drifting], g_max=40e-6))
    assert (found.g_max, found.t_0, found.read_noise_scale) == (40, 1.0, 0.0)
    place = np.linspace(5, 35, 7) / 40
    spread = np.polynomial.polynomial.polyval(place, found.programming)
    # Of 0.2 and 1 uS together; a parabola through 8 levels known to 1.6 % each (see the fixture): four standard errors.
    np.testing.assert_allclose(spread, math.hypot(0.2, 1.0), rtol=0.064)
    inner = np.isin(found.levels, found.levels[1:-1])
    levels, logs = found.levels[inner], math.log(1e4)
    mean, nu_spread = found.drift_mean[inner], found.drift_spread[inner]
    held = levels * np.exp(logs**2 * nu_spread**2 / 2 - logs * mean)
    # The mean after 1e4 s is known to 2 uS / sqrt(2000) = 0.045 uS.
    np.testing.assert_allclose(held, levels - 1, atol=4 * 0.045)
    drift = held * np.sqrt(np.expm1(logs**2 * nu_spread**2))
    whole = np.sqrt(drift**2 + (spread.mean() * held / levels) ** 2)
    # About the target: 2 uS since programming, and 0.2 uS of programming itself; four standard errors of 1.6 %.
    np.testing.assert_allclose(whole, math.hypot(0.2, 2.0), rtol=0.064)


def test_a_wide_programming_error_does_not_hide_the_drift() -> None:
    """Programming 1.5 uS wide, changes of 1 uS after 1 s and 1.2 uS after 100 s: the drift is not nothing."""
    zero, one = np.zeros(2), np.ones(2)
    rng = np.random.default_rng(15)
    early = rng.normal(0, 1e-6, (2, 20_000))
    late = early + rng.normal(0, math.sqrt(0.44) * 1e-6, early.shape)
    levels = np.array([10e-6, 30e-6])
    changes = tuple(np.stack(each, axis=1) for each in zip(early, late, strict=True))
    device = Device(
        "X", 40e-6, Relaxation(levels, np.array([1.0, 100.0]), changes), ByLevel(levels, zero, 1.5e-6 * one)
    )
    found = aihwkit.coefficients(device)
    # Of G = G0 (t/t0)^-nu: sd(nu) log(100) G0 = sqrt(1.2^2 - 1^2) uS to first order; 20,000 cells, the difference of
    # two variances known to 1 % each: 2 % of 2.69 uS^2 in 0.44 uS^2, 12 % of it and 6 % of its root; four of them.
    np.testing.assert_allclose(found.drift_spread[1:-1] * math.log(100) * [10, 30], math.sqrt(0.44), rtol=0.24)


def test_the_module_holds_plain_numbers(drifting: Path, tmp_path: Path) -> None:
    (path,) = aihwkit.export(read_device([drifting]), tmp_path / "chip.py")
    tree = ast.parse(path.read_text())
    names = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    levels, mean, spread = (ast.literal_eval(names[each]) for each in ("DRIFT_LEVELS", "DRIFT_MEAN", "DRIFT_SPREAD"))
    assert len(levels) == len(mean) == len(spread)
    assert levels == sorted(levels)
    assert levels[0] == 0
    assert levels[-1] == ast.literal_eval(names["G_MAX"])
    assert len(ast.literal_eval(names["PROGRAMMING"])) == 3


def test_a_single_time_is_all_programming_error(chip_file: Path, tmp_path: Path) -> None:
    text = chip_file.read_text()
    text = text.replace("value = [1.0, 100.0]", "value = [3600.0]").replace("value = [0.0, 0.5]", "value = [0.0]")
    text = text.replace(", [[-4e-6, -1e-6, 2e-6], [-2e-6, 0, 2e-6]]]", "]")
    (tmp_path / "one.toml").write_text(text)
    found = aihwkit.coefficients(read_device([tmp_path / "one.toml"]))
    assert found.t_0 == 3600
    assert not found.drift_mean.any()
    assert not found.drift_spread.any()


def test_phase_change_memory_gets_back_the_coefficients_its_parameters_share_with_aihwkit() -> None:
    cells = Path(__file__).parents[3] / "data" / "cells" / "pcm_statistical.toml"
    found = aihwkit.coefficients(read_device([cells]))
    assert (found.g_max, found.t_0) == (25, 20)
    assert found.programming == pytest.approx([0.26348, 1.9650, -1.1731], rel=1e-3)
    assert found.read_noise_scale == pytest.approx(1.0, rel=0.01)
    assert found.drift_mean[-1] == pytest.approx(0.049, rel=0.05)


def test_aihwkit_loads_the_model_and_scatters_as_was_measured(drifting: Path, tmp_path: Path) -> None:
    pytest.importorskip("aihwkit")
    torch = pytest.importorskip("torch")
    (path,) = aihwkit.export(read_device([drifting], g_max=40e-6), tmp_path / "chip.py")
    model = _load(path).noise_model()
    torch.manual_seed(0)
    target = torch.full((20_000,), 25.0)
    programmed = model.apply_programming_noise_to_conductance(target)
    # 20,000 draws: 0.5 %; the measured 1.02 uS itself to 1.6 %; four standard errors.
    assert float(programmed.std()) == pytest.approx(math.hypot(0.2, 1.0), rel=0.067)
    exponents = model.generate_drift_coefficients(target.clone())
    later = model.apply_drift_noise_to_conductance(programmed, exponents, 1e4 - model.t_0)
    assert float(later.mean()) == pytest.approx(24.0, abs=0.2)
    assert float(later.std()) == pytest.approx(2.0, rel=0.1)
    weights = torch.linspace(-1, 1, 64).reshape(8, 8)
    assert torch.isfinite(model.apply_noise(weights, 100.0)).all()


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
