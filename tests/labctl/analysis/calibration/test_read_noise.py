"""The noise of cells at rest is given back: white, 1/f and telegraph parts, and their spread over cells."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_up import quiet_base

from labctl.analysis.calibration import read_noise
from labctl.analysis.calibration.persistent_noise import DECADES, TIME_CONSTANTS, relative_variance
from labctl.errors import RecordingError

BASE = quiet_base(
    read_noise=0.02,
    flicker_noise=0.003,
    flicker_device_spread=0.6,
    flicker_excess=0.0,
    telegraph_noise=0.02,
    telegraph_fraction=0.1,
    telegraph_device_spread=0.5,
    telegraph_fastest=0.01,
    telegraph_slowest=1e3,
)


def noisy(cells: int, samples: int, rng: np.random.Generator, telegraph: float = 0.0) -> xr.Dataset:
    """Cells of 12 uS read every 2 ms: white 1.5 % (spread 0.4), flicker 0.4 % (spread 0.5), telegraph steps of 3 %."""
    time = 2e-3 * np.arange(samples)
    amplitudes = np.outer(np.ones(6), 0.004 * np.sqrt(DECADES) * np.exp(0.5 * rng.standard_normal(cells)))
    which = rng.integers(1, 5, cells)
    amplitudes[which, np.arange(cells)] += (rng.random(cells) < telegraph) * 0.03
    readings = np.ones((cells, samples))
    for amplitude, constant in zip(amplitudes, TIME_CONSTANTS, strict=True):
        tick = np.floor(time / constant + rng.random(cells)[:, None]).astype(int)
        signs = rng.choice([-1.0, 1.0], (cells, tick.max() + 1))
        readings += amplitude[:, None] * np.take_along_axis(signs, tick, axis=1)
    white = 0.015 * np.exp(0.4 * rng.standard_normal(cells))
    readings += white[:, None] * rng.standard_normal((cells, samples))
    return xr.Dataset(
        {"conductance": (("cell", "sample"), 12e-6 * readings), "time": ("sample", time)},
        attrs={"measurement": "read-noise"},
    )


def test_noise_is_given_back_on_every_time_scale() -> None:
    """What matters of a noise is how much it scatters in a given time. White noise, the fastest fluctuators, and how
    amplitudes grow with the time constant are hardly told apart by reads 2 ms apart, and rare telegraph cells look like
    noisy ones; the sums are. 200 lognormal cells know a mean square to 10 %; 25 % is 2.5 of it."""
    found = read_noise.fit(noisy(200, 3000, np.random.default_rng(1)), BASE)
    truth = quiet_base(
        read_noise=0.015, read_noise_device_spread=0.4, flicker_noise=0.004, flicker_device_spread=0.5,
        flicker_excess=0.0, telegraph_fraction=0.0,
    )  # fmt: skip
    for time in (2e-3, 0.1, 2.0):
        expected = relative_variance(truth, faster_than=time)
        assert relative_variance(BASE.with_fit(found), faster_than=time) == pytest.approx(expected, rel=0.25)
    assert float(found.parameters["read_noise"].value) == pytest.approx(0.015, rel=0.1)
    assert float(found.parameters["read_noise_device_spread"].value) == pytest.approx(0.4, rel=0.2)


def test_more_telegraph_cells_are_more() -> None:
    shares = [
        float(
            read_noise.fit(noisy(200, 3000, np.random.default_rng(2), share), BASE).parameters["telegraph_fraction"].low
        )
        for share in (0.0, 0.5)
    ]
    assert shares[0] < 0.1 < shares[1]


def test_what_the_run_hardly_tells_is_called_assumed() -> None:
    found = read_noise.fit(noisy(6, 400, np.random.default_rng(3)), BASE).parameters
    assert found["telegraph_device_spread"].tag == "assumed"
    assert "near the base's" in found["telegraph_device_spread"].source
    assert found["read_noise"].tag == "calibrated"


def test_what_cannot_be_fitted_is_one_sentence() -> None:
    with pytest.raises(RecordingError, match=r"3 of 3 cells used.*a fit needs 4 cells and 200 samples"):
        read_noise.fit(noisy(3, 400, np.random.default_rng(4)), BASE)


def test_noise_grows_with_the_time_it_has() -> None:
    variances = [relative_variance(BASE, faster_than=time) for time in (1e-6, 0.01, 1.0, 1e4)]
    assert variances == sorted(variances)
    assert variances[0] == pytest.approx(0.02**2 * np.exp(BASE.number("read_noise_device_spread") ** 2))
