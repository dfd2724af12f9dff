"""Statistics of runs whose cells were drawn from known distributions say what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measured_runs import (
    ADC,
    write_endurance,
    write_forming,
    write_iv,
    write_map,
    write_programming,
    write_pulse_response,
    write_read_noise,
    write_retention,
    write_step_size,
)
from scipy import stats

import labctl
from labctl.analysis.characterisation import Statistic, statistics

ROUNDING = ADC.step / np.sqrt(12)
"""Standard deviation that the converter's rounding adds to a reading, S."""


def told(path: Path) -> dict[str, Statistic]:
    with labctl.open_run(path) as tree:
        found = statistics(tree)
    assert len({each.name for each in found}) == len(found), "names are unique"
    return {each.name: each for each in found}


def test_forming_by_gate(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    voltage, gate = rng.normal(3.2, 0.1, n), np.where(np.arange(n) % 2, 1.2, 1.5)
    voltage[gate == 1.5] -= 0.2
    voltage[:80] = np.nan
    conductance = np.where(np.isnan(voltage), 0.0, rng.lognormal(np.log(130e-6), 0.2, n))
    found = told(write_forming(tmp_path / "run.h5", voltage, conductance, gate))
    assert found["forming_yield"].value == pytest.approx(0.98)
    assert found["forming_yield"].n == n
    each = 1960
    for name, centre in (("1.2 V", 3.2), ("1.5 V", 3.0)):
        # standard errors of a median, sqrt(pi/2) sd / sqrt(n), and of a 5 % quantile, 2.11 sd / sqrt(n)
        assert found[f"forming_voltage_p50[gate={name}]"].value == pytest.approx(centre, abs=4 * 0.125 / np.sqrt(each))
        low = centre + 0.1 * float(stats.norm.ppf(0.05))
        assert found[f"forming_voltage_p5[gate={name}]"].value == pytest.approx(low, abs=4 * 0.211 / np.sqrt(each))
        assert found[f"forming_voltage_sd[gate={name}]"].value == pytest.approx(0.1, rel=4 / np.sqrt(2 * each))
        tail = found[f"forming_left_tail[gate={name}]"]
        assert tail.low is not None
        assert tail.high is not None
        assert tail.low < 1.0 < tail.high
    after = found["formed_conductance_p50"]
    assert after.unit == "S"
    assert after.value == pytest.approx(130e-6, rel=4 * 1.25 * 0.2 / np.sqrt(3920))


def test_a_left_tail_is_longer_than_the_right_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    voltage = 3.3 - rng.lognormal(-2.0, 0.8, 3000)
    found = told(write_forming(tmp_path / "run.h5", voltage, np.full(3000, 1e-4), np.full(3000, 1.2)))
    ratio = np.exp(0.8 * 1.645)  # of a lognormal, (e^(1.645 s) - 1) / (1 - e^(-1.645 s))
    tail = found["forming_left_tail"]
    assert tail.low is not None
    assert tail.high is not None
    assert tail.low < ratio < tail.high
    assert not any("gate=" in name for name in found), "one gate is not told twice"


def test_nonlinearity_and_offset_of_currents(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    conductance, curvature, offset = rng.uniform(20e-6, 60e-6, 400), rng.normal(0.8, 0.1, 400), -0.5e-6
    voltage = np.arange(0.05, 0.51, 0.05)
    ohmic = conductance[:, None] * voltage
    current = offset + ohmic * (1 + curvature[:, None] * voltage**2)
    found = told(write_iv(tmp_path / "run.h5", voltage, current))
    # rounding errs in the current by 5.8 nS x V, of 4 uA at least: 0.03 of a, less than its spread of 0.1
    assert found["nonlinearity_median"].value == pytest.approx(0.8, abs=4 * 1.25 * 0.105 / 20)
    assert found["nonlinearity_spread"].value == pytest.approx(0.1, rel=0.25)
    assert found["offset_current_median"].value == pytest.approx(offset, abs=2e-9)
    expected = np.median(conductance * (1 + curvature * 0.04)) + offset / 0.2
    assert found["conductance_median[voltage=200 mV]"].value == pytest.approx(expected, rel=1e-3)
    assert sum(name.startswith("nonlinearity_median[level=") for name in found) == 3


def test_pulse_response_by_conductance(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    cells, trains, pulses = 40, 4, 60
    ramps = np.empty((cells, trains, 2, pulses + 1))
    ramps[:, :, 0, 0] = 20e-6
    for pulse in range(pulses):
        level = ramps[:, :, 0, pulse]
        ramps[:, :, 0, pulse + 1] = level + rng.normal(1e-6 + 0.01 * level, 0.4e-6)
    ramps[:, :, 1, 0] = ramps[:, :, 0, -1]
    for pulse in range(pulses):
        ramps[:, :, 1, pulse + 1] = ramps[:, :, 1, pulse] + rng.normal(-1.5e-6, 0.4e-6, (cells, trains))
    found = told(write_pulse_response(tmp_path / "run.h5", ramps))
    sd = np.hypot(0.4e-6, np.sqrt(2) * ROUNDING)
    sets = {name: each for name, each in found.items() if name.startswith("step_mean[direction=set, level=")}
    assert len(sets) == 6
    for name, each in sets.items():
        level = float(name.split("level=")[1].split(" uS")[0]) * 1e-6
        # the level is the middle of a range; cells in it are elsewhere by a third of its width of 20 uS at most
        # 500 pulses in a bin at least: each train of 60 crosses the inner bins with some 8 pulses
        assert each.value == pytest.approx(1e-6 + 0.01 * level, abs=4 * sd / np.sqrt(500) + 0.01 * 20e-6 / 6)
        assert each.n <= cells, "pulses of a cell are not independent"
    whole = found["step_mean[direction=reset]"]
    assert whole.n == cells
    assert whole.value == pytest.approx(-1.5e-6, abs=4 * sd / np.sqrt(cells * trains * pulses))
    assert found["cycle_sd[direction=reset]"].value == pytest.approx(sd, rel=4 / np.sqrt(2 * cells * trains * pulses))
    (asymmetry,) = (each for name, each in found.items() if name.startswith("asymmetry"))
    assert asymmetry.value == pytest.approx(0.0, abs=0.1)  # +1.5 uS around 50 uS against -1.5 uS


def test_cells_that_differ_widen_the_interval_of_their_steps(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    cells, pulses = 30, 80
    own = rng.normal(1e-6, 0.3e-6, cells)
    ramps = 20e-6 + own[:, None, None, None] * np.arange(pulses + 1) + np.zeros((cells, 2, 2, 1))
    found = told(write_pulse_response(tmp_path / "run.h5", np.concatenate([ramps[:, :, :1], ramps[:, :, :1]], axis=2)))
    lowest = next(each for name, each in found.items() if name.startswith("step_mean[direction=set, level="))
    assert lowest.low is not None
    assert lowest.high is not None
    # between cells 0.3 uS / sqrt(30): the interval is four times that wide; of 2,400 pulses it were a ninth of it
    assert 2 * 0.3e-6 / np.sqrt(cells) < lowest.high - lowest.low < 8 * 0.3e-6 / np.sqrt(cells)


def test_of_one_cell_trains_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    ramps = 20e-6 + np.cumsum(rng.normal(1e-6, 0.2e-6, (1, 5, 2, 31)), axis=-1)
    found = told(write_pulse_response(tmp_path / "run.h5", ramps))
    assert {each.n for name, each in found.items() if name.startswith(("step_", "cycle_sd"))} == {5}


def test_endurance_keeps_device_and_cycle_apart_and_finds_failures(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    cells, cycles = 200, 120
    noise = rng.normal(0, 0.05, (cells, cycles))
    for cycle in range(1, cycles):
        noise[:, cycle] = 0.35 * noise[:, cycle - 1] + np.sqrt(1 - 0.35**2) * noise[:, cycle]
    lrs = 10 ** (-4.0 + rng.normal(0, 0.04, (cells, 1)) + noise)
    hrs = 10 ** (-5.2 + rng.normal(0, 0.2, (cells, 1)) + rng.normal(0, 0.1, (cells, cycles)))
    lrs[:10, 50:] = 1e-6  # stuck from cycle 51 on
    hrs[10:14] = 1e-4  # never let go
    found = told(write_endurance(tmp_path / "run.h5", lrs, hrs))
    good = cells - 14
    assert found["log10_device_sd[state=lrs]"].value == pytest.approx(0.04, rel=4 / np.sqrt(2 * good))
    # correlated cycles: 120 of them count as 120 (1 - 0.35^2) / (1 + 0.35^2) = 94
    assert found["log10_cycle_sd[state=lrs]"].value == pytest.approx(0.05, rel=4 / np.sqrt(2 * good * 94) + 0.005)
    assert found["log10_device_spread[state=hrs]"].value == pytest.approx(0.2, rel=4 * 1.65 / np.sqrt(2 * good))
    assert found["lag1_correlation[state=lrs]"].value == pytest.approx(0.35, abs=4 / np.sqrt(good * cycles))
    assert found["lag1_correlation[state=hrs]"].value == pytest.approx(0.0, abs=4 / np.sqrt(good * cycles))
    assert found["window_median"].value == pytest.approx(1.2, abs=4 * 1.25 * 0.2 / np.sqrt(good))
    assert found["failed[cycle=10]"].value == pytest.approx(4 / cells)
    assert found["failed[cycle=120]"].value == pytest.approx(14 / cells)
    assert found["wrong_state[state=lrs]"].value == pytest.approx(10 * 70 / (cells * cycles))


def test_retention_by_level_and_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    target = np.repeat([10e-6, 20e-6, 40e-6], 1500)
    start = target + rng.normal(0, 0.2e-6, len(target))
    early = rng.normal(-0.2e-6, 0.8e-6, len(target))
    late = 0.4 * early + rng.standard_t(3, len(target)) * 1e-6
    path = write_retention(
        tmp_path / "run.h5", np.stack([start, start + early, start + late], axis=1), np.array([1.0, 1e5]), target
    )
    found = told(path)
    assert found["full_scale"].value == pytest.approx(40e-6)
    n = 1500
    assert found["change_mean[level=20 uS, time=1 s]"].value == pytest.approx(-0.2e-6, abs=4 * 0.8e-6 / np.sqrt(n))
    assert found["change_sd[level=20 uS, time=1 s]"].value == pytest.approx(0.8e-6, rel=4 / np.sqrt(2 * n))
    bulk = float(stats.t(3).ppf(0.75)) / 0.6745
    spread = found["change_spread[time=100 ks]"]
    assert spread.value == pytest.approx(np.hypot(bulk, 0.32) * 1e-6, rel=0.06)  # a sum is not a t
    tails = found["change_tails[time=100 ks]"]
    assert tails.low is not None
    assert tails.low > 0.0027
    escaped = stats.norm.cdf((-1e-6 + 0.2e-6) / 0.8e-6) + stats.norm.sf((1e-6 + 0.2e-6) / 0.8e-6)
    error = 4 * np.sqrt(escaped * (1 - escaped) / len(target))
    assert found["escaped[time=1 s]"].value == pytest.approx(escaped, abs=error)  # beyond 1 uS, 2.5 % of 40 uS
    rho = 0.32 / np.hypot(0.32, np.sqrt(3))
    assert found["change_correlation[times=1 s and 100 ks]"].value == pytest.approx(rho, abs=4 / np.sqrt(len(target)))


def levels_told(path: Path, name: str) -> list[str]:
    names = [each for each in told(path) if each.startswith(f"{name}[level=")]
    return [each.split("=")[1].split(",")[0].rstrip("]") for each in names]


def test_sixteen_targets_are_told_by_four_groups_of_four(tmp_path: Path) -> None:
    target = np.repeat(np.arange(1, 17) * 2.5e-6, 10)
    path = write_retention(tmp_path / "run.h5", np.stack([target, target], axis=1), np.array([1.0]), target)
    assert levels_told(path, "change_sd") == ["6.25 uS", "16.25 uS", "26.25 uS", "36.25 uS"]
    assert {each.n for name, each in told(path).items() if "level=" in name} == {40}


def test_a_continuum_of_targets_is_told_by_groups_of_as_many_cells(tmp_path: Path) -> None:
    target = np.linspace(0, 40e-6, 640) ** 2 / 40e-6  # most of them low
    path = write_retention(tmp_path / "run.h5", np.stack([target, target], axis=1), np.array([1.0]), target)
    found = [each for name, each in told(path).items() if name.startswith("change_sd[level=")]
    assert [each.n for each in found] == pytest.approx([160] * 4, abs=2)  # targets that round to one stay together
    units = {"nS": 1e-9, "uS": 1e-6}
    means = [float(value) * units[unit] for value, unit in map(str.split, levels_told(path, "change_sd"))]
    assert means == pytest.approx([target[k : k + 160].mean() for k in range(0, 640, 160)], rel=0.02)


def test_a_target_that_most_cells_have_is_a_level_of_its_own(tmp_path: Path) -> None:
    target = np.concatenate([np.zeros(600), np.linspace(1e-6, 40e-6, 400)])
    same = np.ones(1000)
    found = told(write_programming(tmp_path / "run.h5", target, target, same, same > 0))
    assert found["success[level=0 S]"].n == 600
    assert sum(name.startswith("success[level=") for name in found) == 3


def test_retention_is_of_cells_that_reached_their_target(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    target = np.repeat([10e-6, 20e-6, 40e-6], 100)
    start = np.where(target > 30e-6, 3e-6, target) + rng.normal(0, 0.1e-6, 300)
    start[:5] = 70e-6  # beyond their target
    path = write_retention(tmp_path / "run.h5", np.stack([start, start + 1e-6], axis=1), np.array([1.0]), target)
    found = told(path)
    assert found["reached_target"].value == pytest.approx(195 / 300)
    assert "choose `levels`" in found["reached_target"].note
    assert found["reached_target[level=40 uS]"].value == 0.0
    assert found["full_scale"].value == pytest.approx(20e-6)
    assert found["escaped[time=1 s]"].n == 195
    assert found["escaped[time=1 s]"].value == 1.0  # 1 uS is 5 % of 20 uS, and 2.5 % of 40 uS
    assert found["change_sd[level=10 uS, time=1 s]"].n == 95
    assert levels_told(path, "change_sd") == ["10 uS", "20 uS"]


def test_cells_that_reached_their_targets_are_not_told_to_choose_others(tmp_path: Path) -> None:
    target = np.repeat([10e-6, 40e-6], 50)
    path = write_retention(tmp_path / "run.h5", np.stack([target, target], axis=1), np.array([1.0]), target)
    assert told(path)["reached_target"].value == 1.0
    assert "choose" not in told(path)["reached_target"].note
    assert levels_told(path, "reached_target") == []


def test_read_noise_white_and_jumping(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    cells, samples = 20, 6000
    values = 50e-6 * (1 + rng.normal(0, 0.01, (cells, samples)))
    state = np.cumsum(rng.random((5, samples)) < 1 / 50, axis=1) % 2
    values[:5] += 50e-6 * 0.1 * state
    found = told(write_read_noise(tmp_path / "run.h5", values, rate=400.0))
    assert found["sample_rate"].value == pytest.approx(400.0, rel=1e-6)
    assert found["telegraph_fraction"].value == pytest.approx(5 / 20)
    # relative to the mean, which lies half a jump above the lower level
    assert found["telegraph_amplitude_median"].value == pytest.approx(0.1 / 1.05, rel=0.02)
    assert found["telegraph_dwell_median"].value == pytest.approx(50 / 400, rel=4 / np.sqrt(5 * 120))
    assert found["noise_short_p5[window=1 s]"].value == pytest.approx(0.01, rel=4 / np.sqrt(2 * samples))
    assert found["spectrum_slope_median"].value == pytest.approx(0.0, abs=0.1)


def test_read_noise_of_too_few_samples_is_not_made_up(tmp_path: Path) -> None:
    found = told(write_read_noise(tmp_path / "run.h5", np.full((4, 8), 1e-5), rate=400.0))
    assert set(found) == {"sample_rate", "saturated_readings"}


def test_a_map_with_lines_and_defects(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    level = 60e-6 + rng.normal(0, 2e-6, (50, 40)) + rng.normal(0, 1e-6, 40)
    level[3] = 0.0
    level[10, 5], level[11, 5] = 2e-6, 200e-6
    reads = level + rng.normal(0, 0.5e-6, (6, 50, 40))
    reads[:, 3] = 0.0
    reads[:, 20, 20] += np.array([20e-6, -20e-6] * 3)
    reads[2, 30, 30] = 1.0
    found = told(write_map(tmp_path / "run.h5", reads))
    counts = {kind: found[f"cells[kind={kind}]"].value * 2000 for kind in ("pristine", "low", "high", "noisy")}
    assert counts == pytest.approx({"pristine": 40, "low": 1, "high": 1, "noisy": 1})
    assert found["cells[kind=unreadable]"].value * 2000 == pytest.approx(1)
    assert found["dead_rows"].value == 1
    assert found["dead_columns"].value == 0
    spread = np.hypot(2e-6, 1e-6)
    assert found["conductance_median"].value == pytest.approx(60e-6, abs=4 * (1.25 * spread / 44 + 1e-6 / np.sqrt(40)))
    effect = found["column_effect_sd"]
    assert effect.low is not None
    assert effect.high is not None
    assert effect.low < 1e-6 < effect.high
    assert found["repeat_sd_median"].value == pytest.approx(
        0.5e-6 * 0.933, rel=0.05
    )  # of 6: the median of sqrt(chi2/5)
    assert found["neighbour_correlation[along=row]"].value == pytest.approx(0.0, abs=4 / np.sqrt(1900) + 1 / 40)


def test_few_formed_cells_in_a_line_tell_no_correlation_of_neighbours(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    level = np.full((1, 64, 64), 1e-7)
    level[:, :, :3] = rng.normal(50e-6, 3e-6, (64, 3))
    found = told(write_map(tmp_path / "run.h5", level))
    for along in ("row", "column"):
        each = found[f"neighbour_correlation[along={along}]"]
        assert np.isnan(each.value)
        assert each.low is None
        assert each.high is None


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_short_lines_do_not_correlate_their_cells(tmp_path: Path, shared: float) -> None:
    """9 cells in a row: without the correction, 1/8 less than what is true."""
    rng = np.random.default_rng(14)
    noise = rng.normal(0, 3e-6, (300, 10))
    level = 60e-6 + noise[:, 1:] + shared * noise[:, :-1]
    rho = shared / (1 + shared**2)
    found = told(write_map(tmp_path / "run.h5", level[None]))["neighbour_correlation[along=row]"]
    # the standard error of a correlation, and for neighbours that do correlate what they add to the mean: 2 rho / 9
    assert found.value == pytest.approx(rho, abs=4 / np.sqrt(2400) + 2 * rho / 9)
    assert found.n == 2400


def test_a_pristine_array_has_no_dead_lines(tmp_path: Path) -> None:
    found = told(write_map(tmp_path / "run.h5", np.full((1, 8, 8), 1e-7)))
    assert found["formed_cells"].value == 0
    assert all(np.isfinite(each.value) for each in found.values()), "what there is none of is not told"
    assert found["cells[kind=pristine]"].value == 1.0
    assert found["dead_rows"].value == 0


def test_programming_by_level(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    target = np.repeat([10e-6, 30e-6], 2000)
    reached = target + rng.normal(0.1e-6, 0.5e-6, len(target))
    pulses = rng.geometric(0.1, len(target))
    success = rng.random(len(target)) < np.where(target < 20e-6, 0.9, 0.99)
    found = told(write_programming(tmp_path / "run.h5", target, reached, pulses, success))
    assert found["success[level=10 uS]"].value == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 2000))
    assert found["success[level=30 uS]"].value == pytest.approx(0.99, abs=4 * np.sqrt(0.0099 / 2000))
    assert found["pulses_median"].value == np.median(pulses)
    assert found["pulses_p99"].value == np.quantile(pulses, 0.99)
    assert found["error_mean[level=10 uS]"].value == pytest.approx(0.1e-6, abs=4 * 0.5e-6 / np.sqrt(1800))
    assert found["error_sd"].value == pytest.approx(0.5e-6, rel=4 / np.sqrt(2 * 3780))


def test_step_size_by_step(tmp_path: Path) -> None:
    step = np.repeat([0.005, 0.095], 500)
    pulses, success = np.where(step < 0.05, 170, 70), np.arange(1000) % 25 > 0
    same = np.full(1000, 2e-5)
    found = told(write_step_size(tmp_path / "run.h5", step, same, same, pulses, success))
    assert found["pulses_median[step=5 mV]"].value == 170
    assert found["pulses_mean[step=95 mV]"].value == 70
    assert found["success[step=95 mV]"].value == pytest.approx(0.96)
