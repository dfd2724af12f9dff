"""Relaxation is given back: memory, volatility and quantiles within their intervals, and what they predict."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_up import LEVELS, MEMORY, QUANTILES, TIMES, VOLATILITY, covered, quiet_base, relaxing, retention

from labctl.analysis.calibration import retention as fitting
from labctl.errors import RecordingError


@pytest.fixture(scope="module")
def fitted() -> object:
    return fitting.fit(relaxing(6000, np.random.default_rng(1)), quiet_base())


def test_what_the_cells_were_made_with_is_found(fitted: object) -> None:
    found = fitted.parameters  # type: ignore[attr-defined]
    assert found["relaxation_times"].value == pytest.approx(TIMES)
    assert found["relaxation_levels"].value == pytest.approx(LEVELS, rel=0.01)
    for name, truth in (("relaxation_memory", MEMORY), ("relaxation_volatility", VOLATILITY)):
        value, high = np.atleast_1d(found[name].value), np.atleast_1d(found[name].high)
        error = (high - value) / 1.96
        assert (np.abs(value - truth) <= 3.3 * error + 1e-9).all(), name  # 1 in 1,000 each


def test_intervals_of_quantiles_hold_what_they_say(fitted: object) -> None:
    """Of 108 entries 95 % are expected; neighbours go together, so that the effective number is about 36 and 82 % is
    where 1 of 1,000 honest fits would be; the outermost scores are extrapolated ends, where intervals are rougher."""
    inner = slice(1, -1)
    found = fitted.parameters["relaxation_quantiles"]  # type: ignore[attr-defined]
    ends = (found.low[..., inner], found.high[..., inner])
    assert np.mean((ends[0] <= QUANTILES[..., inner]) & (QUANTILES[..., inner] <= ends[1])) >= 0.82
    assert covered(found, QUANTILES) >= 0.75


def test_cells_it_has_not_seen_are_predicted() -> None:
    """sd of 2,000 heavy-tailed cells (kurtosis about 12) has a standard error of 4 %, twice over; 15 % is 2.5 of it."""
    rng = np.random.default_rng(2)
    seen, unseen = relaxing(6000, rng), relaxing(6000, rng)
    fit = fitting.fit(seen, quiet_base()).parameters
    model = fitting.Autoregression(
        fit["relaxation_memory"].value, float(fit["relaxation_volatility"].value), fit["relaxation_quantiles"].value
    )
    conductance = unseen["conductance"].values
    change = conductance[:, 1:] - conductance[:, :1]
    for number, level in enumerate(LEVELS):
        cells = unseen["target"].values == level
        drawn = fitting.simulated(model, number, 20_000, rng)
        assert drawn.std(axis=0) == pytest.approx(change[cells].std(axis=0), rel=0.15)
        assert np.corrcoef(drawn.T)[0, 3] == pytest.approx(np.corrcoef(change[cells].T)[0, 3], abs=0.1)


def test_read_noise_is_not_counted_twice() -> None:
    """Noise of half the first robust spread: knowing it takes away most of what it adds to the quartiles. Not all, as a
    heavy tail is no normal distribution."""
    noise = 0.15e-6
    noisy = relaxing(6000, np.random.default_rng(3), noise)
    silent = fitting.fit(noisy, quiet_base()).parameters["relaxation_quantiles"].value[0]
    aware = fitting.fit(noisy, quiet_base(read_noise_floor=noise)).parameters["relaxation_quantiles"].value[0]
    core = slice(3, 6, 2)
    truth = QUANTILES[0][:, core]
    assert np.abs(aware[:, core] - truth).mean() < 0.65 * np.abs(silent[:, core] - truth).mean()


def test_noise_that_the_first_change_has_no_room_for_is_bounded() -> None:
    base = quiet_base(read_noise=0.2, read_noise_device_spread=0.0)
    fit = fitting.fit(relaxing(1500, np.random.default_rng(4)), base)
    assert fit.parameters["read_noise"].tag == "bounded"
    assert 0 < fit.parameters["read_noise"].value < 0.05


def test_missing_times_change_nothing_but_the_notes() -> None:
    rng = np.random.default_rng(5)
    whole = relaxing(5000, rng)
    table = whole["conductance"].values.copy()
    table[rng.random(5000) < 0.5, 3] = np.nan
    fit = fitting.fit(whole.assign(conductance=(("cell", "time"), table)), quiet_base())
    assert any("50% of the cells" in note or "49% of the cells" in note for note in fit.notes)
    found = fit.parameters["relaxation_memory"]
    assert (np.abs(found.value - MEMORY) <= 3.3 * (found.high - found.value) / 1.96 + 1e-9).all()


def test_a_few_hundred_cells_and_two_readings_are_enough() -> None:
    rng = np.random.default_rng(6)
    start = rng.uniform(50e-6, 240e-6, 400)
    data = retention(np.stack([start, start + rng.normal(-3e-6, 5e-6, 400)], axis=1), times=np.array([3600.0]))
    found = fitting.fit(data, quiet_base()).parameters
    assert found["relaxation_quantiles"].value.shape == (1, 1, 9)
    middle = found["relaxation_quantiles"].value[0, 0, 4]
    assert middle == pytest.approx(-3e-6, abs=3.3 * 1.25 * 5e-6 / 20)  # of a median of 400


def too_few() -> xr.Dataset:
    return relaxing(40, np.random.default_rng(7))


def never_read() -> xr.Dataset:
    data = relaxing(200, np.random.default_rng(7))
    return data.isel(time=[0, 1]).assign(elapsed=(("cell", "time"), np.zeros((200, 2))))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(too_few, "all 40 cells used: a fit needs at least 60"), (never_read, "were not read after programming")],
)
def test_what_cannot_be_fitted_is_one_sentence(data: object, sentence: str) -> None:
    with pytest.raises(RecordingError, match=sentence):
        fitting.fit(data(), quiet_base())  # type: ignore[operator]
