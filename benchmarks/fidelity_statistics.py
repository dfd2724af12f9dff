"""Statistics that the measured and the simulated side of the fidelity table share, so that both are counted alike."""

from __future__ import annotations

import numpy as np
from scipy import signal

MAD_TO_SIGMA = 1.4826
"""Of a normal distribution, its standard deviation over its median absolute deviation."""


def robust_sigma(values: np.ndarray) -> float:
    """Standard deviation as the median absolute deviation has it."""
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def beyond_three_sigma(values: np.ndarray) -> float:
    """Fraction of `values` more than three of their standard deviations from their mean; 0.0027 of a normal one."""
    return float(np.mean(np.abs(values - values.mean()) > 3 * values.std()))


def lag_one(values: np.ndarray) -> float:
    """Mean over rows of the correlation between neighbours in a row: (n, count)."""
    apart = values - values.mean(axis=1, keepdims=True)
    variance = np.mean(apart**2, axis=1)
    return float(np.mean(np.mean(apart[:, 1:] * apart[:, :-1], axis=1) / variance))


def device_and_cycle(values: np.ndarray) -> tuple[float, float]:
    """Standard deviation between rows' means, less what cycles add to it, and within rows: of (n, cycles)."""
    cycle = float(np.sqrt(np.mean(np.var(values, axis=1, ddof=1))))
    device = float(np.sqrt(max(np.var(values.mean(axis=1), ddof=1) - cycle**2 / values.shape[1], 0.0)))
    return device, cycle


def relative_spread(values: np.ndarray, samples: int) -> np.ndarray:
    """(n,) median over windows of so many samples of standard deviation over mean: of (n, count)."""
    windows = values[:, : values.shape[1] // samples * samples].reshape(len(values), -1, samples)
    relative: np.ndarray = np.median(windows.std(axis=2) / windows.mean(axis=2), axis=1)
    return relative


def spectrum_slope(values: np.ndarray, rate: float, low: float = 0.05, high: float = 100.0) -> float:
    """gamma of a power spectrum that falls as f**-gamma between `low` and `high` Hz; 0 is white. `rate`: samples a s.

    A line through the logarithm of Welch's periodogram, averaged in 24 logarithmic bins so that every decade counts
    alike.
    """
    frequency, power = signal.welch(values, rate, nperseg=min(16_384, len(values)))
    inside = (frequency >= low) & (frequency <= high)
    edges = np.geomspace(low, high, 25)
    bins = np.digitize(frequency[inside], edges)
    log_frequency, log_power = np.log(frequency[inside]), np.log(power[inside])
    points = [(log_frequency[bins == each].mean(), log_power[bins == each].mean()) for each in np.unique(bins)]
    return float(-np.polyfit(*np.array(points).T, 1)[0])


def steps_against_level(trains: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and number of the steps that begin between the `edges`: of (n, pulses) conductances,
    NaN-padded."""
    before, step = trains[:, :-1].ravel(), np.diff(trains, axis=1).ravel()
    known = np.isfinite(before) & np.isfinite(step)
    place = np.digitize(before[known], edges) - 1
    found = [step[known][place == each] for each in range(len(edges) - 1)]
    count = np.array([len(each) for each in found])
    mean = np.array([each.mean() if len(each) else np.nan for each in found])
    spread = np.array([each.std() if len(each) > 1 else np.nan for each in found])
    return mean, spread, count


def small_signal(voltages: np.ndarray, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset A, conductance S and nonlinearity 1/V**2 of I = offset + G (V + a V**3): from (v,) and (cells, v)."""
    terms = np.stack([np.ones_like(voltages), voltages, voltages**3], axis=1)
    offset, conductance, cubic = np.linalg.lstsq(terms, currents.T, rcond=None)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return offset, conductance, cubic / conductance
