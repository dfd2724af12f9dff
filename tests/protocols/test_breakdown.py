"""The distribution of breakdown voltages from the counts of a ramp that was not gone to its end."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from labctl.protocols.breakdown import fit_breakdown

MEAN, SD = 3.433, 0.114
VOLTS = np.arange(3.1, 3.9, 0.02)


def counted(breakdown: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Voltages, cells formed at each and cells left of a ramp that ends once that share has formed."""
    formed = (breakdown[:, None] <= VOLTS).sum(axis=0)
    last = int(np.argmax(formed >= share * len(breakdown)))
    return VOLTS[: last + 1], np.diff(formed[: last + 1], prepend=0), len(breakdown) - int(formed[last])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_mean_sd_and_voltage_are_found_and_their_intervals_hold_as_often_as_they_say(share: float) -> None:
    rng, repeats = np.random.default_rng(2), 300
    wanted = MEAN + SD * NormalDist().inv_cdf(share)
    held = np.zeros(3)
    for _ in range(repeats):
        found = fit_breakdown(*counted(rng.normal(MEAN, SD, 2048), share))
        assert found is not None
        intervals = (found.mean_interval, found.sd_interval, found.voltage_interval(share))
        held += [low < true < high for (low, high), true in zip(intervals, (MEAN, SD, wanted), strict=True)]
    # of 300 intervals of 95 %, 285 hold on average, with a standard deviation of 3.8: four of these
    assert np.all(np.abs(held - 0.95 * repeats) < 4 * np.sqrt(repeats * 0.95 * 0.05)), held


def test_it_is_the_maximum_of_the_likelihood_of_grouped_values() -> None:
    volts, formed, left = counted(np.random.default_rng(4).normal(MEAN, SD, 1000), 0.6)
    found = fit_breakdown(volts, formed, left)
    assert found is not None
    total = np.cumsum(formed)
    first = int(np.argmax(total >= 50))  # 5 % of the cells: those before count as formed by then
    levels, counts = volts[first:], np.append(total[first], formed[first + 1 :])

    def misfit(point: np.ndarray) -> float:
        below = np.concatenate([[0], norm.cdf(levels, point[0], np.exp(point[1])), [1]])
        return -float(np.append(counts, left) @ np.log(np.maximum(np.diff(below), 1e-300)))

    best = minimize(misfit, [3.4, np.log(0.1)], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9}).x
    assert found.mean == pytest.approx(best[0], abs=1e-5)
    assert found.sd == pytest.approx(np.exp(best[1]), rel=1e-4)
    assert found.cells == 1000


def test_a_few_cells_far_early_do_not_bend_the_line() -> None:
    rng = np.random.default_rng(5)
    breakdown = rng.normal(MEAN, SD, 20000)
    breakdown[:400] -= rng.exponential(0.3, 400)
    found = fit_breakdown(*counted(breakdown, 0.5))
    assert found is not None
    assert found.sd == pytest.approx(SD, rel=0.06)
    assert found.voltage(0.5) == pytest.approx(np.quantile(breakdown, 0.5), abs=2e-3)


@pytest.mark.parametrize(
    ("volts", "formed", "left"),
    [([], [], 9), ([3.1], [0], 9), ([3.1, 3.2], [0, 5], 20), ([3.1, 3.2, 3.3], [0, 0, 0], 9), ([3.1, 3.2], [5, 4], 0)],
)
def test_counts_that_tell_no_line_give_none(volts: list[float], formed: list[int], left: int) -> None:
    assert fit_breakdown(volts, formed, left) is None
