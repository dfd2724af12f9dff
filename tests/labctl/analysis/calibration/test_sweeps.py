"""I-V curvature, analog steps and cycling are given back from measurements that were made with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from made_up import covered, quiet_base

from labctl.analysis.calibration import endurance, iv, pulse_response
from labctl.analysis.calibration.switching import CycleNoise, Pulse
from labctl.errors import RecordingError

BASE = quiet_base()
VOLTS = np.arange(0.05, 0.501, 0.05)


def swept(conductance: np.ndarray, rng: np.random.Generator, offset: float = 0.0) -> xr.Dataset:
    """a = 1.6 / (1 + G / 20 uS), readings to 1 %."""
    bend = 1.6 / (1 + conductance / 20e-6)
    course = (1 + np.outer(bend, VOLTS**2)) / (1 + 0.04 * bend)[:, None]
    current = conductance[:, None] * VOLTS * course * (1 + 0.01 * rng.standard_normal((len(conductance), 10)))
    return xr.Dataset({"current": (("cell", "voltage"), current + offset)}, {"voltage": VOLTS}, {"measurement": "iv"})


@pytest.mark.parametrize("offset", [0.0, 0.2e-6])
def test_the_bend_of_many_levels_gives_both_parameters(offset: float) -> None:
    rng = np.random.default_rng(1)
    found = iv.fit(swept(rng.uniform(2e-6, 80e-6, 800), rng, offset), BASE).parameters
    for name, truth in (("nonlinearity", 1.6), ("nonlinearity_level", 20e-6)):
        half = float(found[name].high - found[name].low) / 2
        assert abs(float(found[name].value) - truth) <= 1.7 * half  # 3.3 standard errors


def test_cells_that_are_alike_leave_the_level_to_the_base() -> None:
    rng = np.random.default_rng(2)
    found = iv.fit(swept(rng.uniform(11e-6, 13e-6, 500), rng), BASE).parameters
    assert "nonlinearity_level" not in found
    level = BASE.number("nonlinearity_level")
    assert covered(found["nonlinearity"], 1.6 / (1 + 12 / 20) * (1 + 12e-6 / level))


def test_two_voltages_are_no_curve() -> None:
    data = swept(np.full(100, 1e-5), np.random.default_rng(3)).isel(voltage=[0, 5])
    with pytest.raises(RecordingError, match="at every one of 2 voltages; a fit needs 30 cells and 3 voltages"):
        iv.fit(data, BASE)


# -- analog steps -------------------------------------------------------------------------------------------------


def trained(rng: np.random.Generator, noise: float = 0.0, unlike: float = 0.0) -> xr.Dataset:
    """20 cells, 3 trains of 100 pulses either way: 5 uS (1 + G / 2 mS), sd 0.7 uS, from 1.6 mS; RESET -6 uS, sd 0.6."""
    conductance = np.zeros((20, 3, 2, 101))
    own = np.exp(unlike * rng.standard_normal((20, 1)))
    level = np.full((20, 3), 1.6e-3)
    for way in (0, 1):
        conductance[:, :, way, 0] = level
        for pulse in range(1, 101):
            mean = 5e-6 * (1 + level / 2e-3) if way == 0 else np.full(level.shape, -6e-6)
            level = level + own * mean + (0.7e-6, 0.6e-6)[way] * rng.standard_normal(level.shape)
            conductance[:, :, way, pulse] = level
    conductance += noise * rng.standard_normal(conductance.shape)
    return xr.Dataset(
        {"conductance": (("cell", "train", "direction", "pulse"), conductance)},
        {"direction": ["set", "reset"]},
        {"measurement": "pulse-response", "amplitude_set": 1.5, "amplitude_reset": 1.2, "width": 2e-7},
    )


@pytest.mark.parametrize("noise", [0.0, 0.5e-6])
def test_step_tables_are_given_back(noise: float) -> None:
    """12 levels of two tables: 3 misses of 12 intervals of 95 % have a probability of 2 %, 4 of 1 in 1,000."""
    found = pulse_response.fit(trained(np.random.default_rng(4), noise), BASE).parameters
    levels = found["set_step_levels"].value
    assert covered(found["set_step_mean"], 5e-6 * (1 + levels / 2e-3)) >= 8 / 12
    assert covered(found["set_step_spread"], 0.7e-6) >= 8 / 12
    assert covered(found["reset_step_mean"], -6e-6) >= 8 / 12
    assert [float(found[f"step_{name}"].value) for name in ("set_voltage", "reset_voltage", "width")] == [
        1.5,
        1.2,
        2e-7,
    ]


def test_cells_of_unlike_steps_give_the_spread_and_wider_intervals() -> None:
    """20 cells whose steps differ by 15 %: their mean is known to 15 % / sqrt(20), however many their steps. The
    spread lies within 3.3 standard errors, 15 % / sqrt(38) each."""
    found = pulse_response.fit(trained(np.random.default_rng(8), unlike=0.15), BASE)
    spread = found.parameters["compliance_device_spread"]
    assert float(spread.value) == pytest.approx(0.15, abs=3.3 * 0.15 / np.sqrt(38))
    assert float(spread.low) < float(spread.value) < float(spread.high)
    assert {each.cells for each in found.parameters.values()} == {20}
    within = found.parameters["set_step_spread"]  # with that of cells in it, 1.5 uS
    assert np.median(within.value) == pytest.approx(0.7e-6, rel=0.3)
    mean = found.parameters["set_step_mean"]
    relative = np.median((mean.high - mean.low) / 2 / mean.value)
    assert relative == pytest.approx(1.96 * 0.15 / np.sqrt(20), rel=0.5)
    alike = pulse_response.fit(trained(np.random.default_rng(8)), BASE).parameters["compliance_device_spread"]
    assert float(alike.value) < 0.03


def test_a_spread_that_other_runs_measured_stays() -> None:
    base = replace(BASE, measured=frozenset({"compliance_device_spread"}))
    found = pulse_response.fit(trained(np.random.default_rng(8)), base)
    assert "compliance_device_spread" not in found.parameters
    assert "compliance_device_spread, by which the steps of cells differ, is that of the other runs" in found.notes[-1]


def test_noise_of_neighbouring_steps_bounds_the_read_noise() -> None:
    loud = quiet_base(read_noise=0.01, read_noise_device_spread=0.0)
    found = pulse_response.fit(trained(np.random.default_rng(5), 0.5e-6), loud).parameters
    level = float(np.median(trained(np.random.default_rng(5))["conductance"]))
    assert float(found["read_noise"].value) == pytest.approx(0.5e-6 / level, rel=0.15)
    assert found["read_noise"].tag == "bounded"


def test_cells_that_are_all_different_give_no_table() -> None:
    found = pulse_response.fit(trained(np.random.default_rng(6), unlike=0.6), BASE)
    assert not found.parameters
    assert "no table of analog steps holds for all cells" in found.notes[0]


def test_cells_that_jump_give_no_table() -> None:
    data = trained(np.random.default_rng(7))
    jumping = np.where(np.arange(101) < 3, 1e-6, 50e-6) * np.ones((20, 3, 2, 1))
    found = pulse_response.fit(data.assign(conductance=(data["conductance"].dims, jumping)), BASE)
    assert not found.parameters
    assert "of their range in one pulse" in found.notes[0]


# -- cycling ------------------------------------------------------------------------------------------------------

TRUTH = {
    "compliance_conductance": 15e-6,
    "compliance_device_spread": 0.12,
    "compliance_cycle_spread": 0.1,
    "set_cycle_memory": 0.35,
    "floor_conductance": 0.6e-6,
    "floor_device_spread": 0.5,
    "floor_cycle_spread": 0.3,
    "reset_cycle_memory": 0.25,
}
PULSES = Pulse(2.2, 1e-7, 2.0), Pulse(2.6, 1e-7, 2.5)


def cycled(cells: int, cycles: int, rng: np.random.Generator) -> np.ndarray:
    """(2, cells, cycles) S"""
    values = [TRUTH[name] for name, _ in endurance._NAMES]
    point = np.array([np.log(v / (1 - v)) if n % 4 == 3 else np.log(v) for n, v in enumerate(values)])
    noise = CycleNoise(2 * cycles, cells, rng)
    return np.exp(endurance._cycled(point, PULSES, cycles, BASE, rng.standard_normal((6, cells)), noise))


def as_measured(states: np.ndarray) -> xr.Dataset:
    given = {
        f"pulse_{part}_{name}": getattr(pulse, part)
        for name, pulse in zip(("set", "reset"), PULSES, strict=True)
        for part in ("amplitude", "width", "gate")
    }
    return xr.Dataset(
        {"conductance": (("cell", "state", "cycle"), states.transpose(1, 0, 2))},
        {"state": ["lrs", "hrs"], "cycle": np.arange(1, states.shape[2] + 1)},
        {"measurement": "endurance", **given},
    )


def test_both_states_of_cycling_give_their_parameters_back() -> None:
    found = endurance.fit(as_measured(cycled(256, 150, np.random.default_rng(8))), BASE).parameters
    for name, truth in TRUTH.items():
        logs = np.log([float(found[name].low), float(found[name].value), float(found[name].high)])
        assert abs(np.log(truth) - logs[1]) <= 1.7 * (logs[2] - logs[0]) / 2, name  # 3.3 standard errors


def test_cells_that_wear_out_give_their_life() -> None:
    """Lives lognormal about 150 cycles with a spread of 0.4: 200 cells know the median to 3 %, here to 4 of that."""
    rng = np.random.default_rng(9)
    states = cycled(200, 200, rng)
    life = 150 * np.exp(0.4 * rng.standard_normal(200))
    worn = np.arange(1, 201)[None, :] > life[:, None]
    states[1] = np.where(worn, states[0], states[1])
    found = endurance.fit(as_measured(states), BASE).parameters
    assert float(found["endurance_pulses"].value) == pytest.approx(2 * 150 / 0.9, rel=0.12)
    assert float(found["endurance_device_spread"].value) == pytest.approx(0.4, rel=0.25)


def test_cells_that_do_not_switch_are_no_measurement_of_it() -> None:
    states = np.full((2, 50, 100), 2e-5)
    with pytest.raises(RecordingError, match=r"0 of 50 cells used; 50 do not switch"):
        endurance.fit(as_measured(states), BASE)
