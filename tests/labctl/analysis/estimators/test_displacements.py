"""Probabilities of single steps that go wrong, told from where walks of several ended, modulo a period."""

from __future__ import annotations

import numpy as np
import pytest

from labctl.analysis.estimators import ended_shares, step_errors

PERIOD = 8
REPETITIONS = 60


def ended(rng: np.random.Generator, over: float, under: float, steps: int, walks: int) -> np.ndarray:
    """(8,) walks by where they ended, drawn step by step."""
    wrong = rng.multinomial(steps, [over, under, 1 - over - under], walks)
    beyond = (wrong[:, 0] - wrong[:, 1] + PERIOD // 2) % PERIOD
    return np.bincount(beyond, minlength=PERIOD)


@pytest.mark.parametrize(("over", "under", "steps"), [(0.3, 0.1, 5), (1e-3, 0.0, 31), (0.0, 0.5, 9)])
def test_shares_are_those_of_the_steps_summed_one_by_one(over: float, under: float, steps: int) -> None:
    shares = np.zeros(PERIOD)
    shares[PERIOD // 2] = 1.0
    for _ in range(steps):
        shares = (1 - over - under) * shares + over * np.roll(shares, 1) + under * np.roll(shares, -1)
    np.testing.assert_allclose(ended_shares(over, under, steps, PERIOD), shares, atol=1e-15)


@pytest.mark.parametrize(("over", "under", "steps", "walks"), [(2e-3, 5e-4, 8, 20_000), (0.12, 0.06, 8, 2_000)])
def test_both_probabilities_are_covered_also_where_walks_go_round(
    over: float, under: float, steps: int, walks: int
) -> None:
    rng = np.random.default_rng(2)
    held = np.zeros(2)
    for _ in range(REPETITIONS):
        found = step_errors(ended(rng, over, under, steps, walks), steps)
        held += [each.low <= truth <= each.high for each, truth in zip(found, (over, under), strict=True)]
    margin = 3.5 * np.sqrt(0.95 * 0.05 / REPETITIONS)  # a right interval fails one test in 4,000
    assert (held / REPETITIONS >= 0.95 - margin).all(), held


def test_of_walks_that_all_ended_well_there_is_an_upper_bound_by_the_likelihood() -> None:
    counts = np.zeros(PERIOD, int)
    counts[PERIOD // 2] = 250_000
    over, under = step_errors(counts, 4)
    assert (over.value, over.low, over.n) == (0.0, 0.0, 1_000_000)
    assert over.high == pytest.approx(3.841 / 2 / 1_000_000, rel=1e-3)
    assert under == over


def test_what_goes_wrong_one_way_only_leaves_the_other_at_zero() -> None:
    counts = np.array([0, 0, 0, 0, 99_900, 100, 0, 0])
    over, under = step_errors(counts, 10)
    assert over.value == pytest.approx(1e-4, rel=0.01)
    assert over.low < 1e-4 < over.high
    assert (under.value, under.low) == (0.0, 0.0)


def test_of_no_walk_there_is_nothing_to_tell() -> None:
    assert np.isnan(step_errors(np.zeros(PERIOD, int), 4)[0].value)
