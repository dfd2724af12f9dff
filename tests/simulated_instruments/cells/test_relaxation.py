"""Relaxation follows the quantiles, the memory and the logarithm of time that it is told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.model import Moment, select
from labctl.simulated_instruments.cells.relaxation import Relaxation

COUNT = 1 << 17
SIGMAS = 5.0  # of sampling error allowed
LEVELS = (5e-6, 20e-6)
PROBABILITIES = (0.001, 0.02, 0.1587, 0.5, 0.8413, 0.98, 0.999)
SCORES = stats.norm.ppf(PROBABILITIES)
SPREADS = ((0.5e-6, 1e-6), (1e-6, 1.5e-6), (2e-6, 2.5e-6))  # normal innovations: (knots, levels) S
MEMORY = (0.0, 0.8, 0.6)
TIMES = (0.01, 1.0, 1e5)


def relaxation(quantiles=None, serial="A1", memory=MEMORY, volatility=0.0):
    normal = [[spread * SCORES for spread in knot] for knot in SPREADS]
    return Relaxation(serial, TIMES, LEVELS, PROBABILITIES, quantiles or normal, memory, volatility)


def changes(elapsed, level=20e-6, programmings=1, model=None, count=COUNT):
    """R of `count` cells, `elapsed` s after programming."""
    ((_, where),) = select(None, count, Arena(count))
    programmed = np.full(count, level, np.float32)
    counts = np.full(count, programmings, np.uint32)
    found = (model or relaxation()).change(where, programmed, counts, np.full(count, float(elapsed)))
    return np.zeros(count) if found is None else found.astype(np.float64)


def expected_spread(knot, level):
    """sd of R_k = m R_(k-1) + I_k."""
    variance = 0.0
    for number in range(knot + 1):
        variance = MEMORY[number] ** 2 * variance + SPREADS[number][level] ** 2
    return np.sqrt(variance)


@pytest.mark.parametrize("knot", [0, 1, 2])
@pytest.mark.parametrize("level", [0, 1])
def test_the_spread_at_a_knot_is_that_of_the_recursion(knot, level):
    """Normal innovations cut at 1 in 8,192 and drawn from 4,096 values: 1 % is allowed beside sampling."""
    found = changes(TIMES[knot], LEVELS[level]).std()
    assert found == pytest.approx(expected_spread(knot, level), rel=SIGMAS / np.sqrt(2 * COUNT) + 0.01)


def test_nothing_happens_before_it_begins():
    assert not changes(TIMES[0] / 20).any()


def test_changes_at_two_times_correlate_as_the_recursion_says():
    early, late = changes(TIMES[1]), changes(TIMES[2])
    expected = MEMORY[2] * expected_spread(1, 1) / expected_spread(2, 1)
    assert np.corrcoef(early, late)[0, 1] == pytest.approx(expected, abs=SIGMAS / np.sqrt(COUNT) + 0.005)


def test_between_knots_variance_grows_with_the_logarithm_of_time():
    """w of the way: (1 + (m - 1) w) R + sqrt(w) I."""
    found = changes(np.sqrt(TIMES[0] * TIMES[1])).std()
    before, step = expected_spread(0, 1), SPREADS[1][1]
    assert found == pytest.approx(np.hypot(0.9 * before, np.sqrt(0.5) * step), rel=SIGMAS / np.sqrt(2 * COUNT) + 0.01)


def test_after_the_last_knot_it_goes_on_as_between_the_last_two():
    """The next knot is as many times later, 1e10 s, with the last innovation and memory once more."""
    found = changes(TIMES[2] ** 2 / TIMES[1]).std()
    expected = np.hypot(MEMORY[2] * expected_spread(2, 1), SPREADS[2][1])
    assert found == pytest.approx(expected, rel=SIGMAS / np.sqrt(2 * COUNT) + 0.01)


def test_quantiles_come_out_as_they_went_in():
    """Skew and heavy tails: every given quantile is found again, within its own sampling error."""
    given = [-9e-6, -2e-6, -0.5e-6, 0.1e-6, 0.6e-6, 4e-6, 15e-6]
    model = relaxation([[given, given]] * 3, memory=(0.0, 0.0, 0.0))
    found = changes(TIMES[0], model=model)
    for probability, value in zip(PROBABILITIES, given, strict=True):
        below = np.mean(found <= value)
        assert abs(below - probability) < SIGMAS * np.sqrt(probability * (1 - probability) / COUNT) + 1 / 4096


def test_a_cell_between_two_levels_follows_the_nearer_one_the_oftener():
    """Degenerate levels: the share at the upper one is the place between them."""
    model = relaxation([[[0.0] * 7, [1e-6] * 7]] * 3, memory=(0.0, 0.0, 0.0))
    for place in (0.0, 0.25, 0.8, 1.0):
        level = LEVELS[0] + place * (LEVELS[1] - LEVELS[0])
        upper = np.mean(changes(TIMES[0], level, model=model) > 0.5e-6)
        assert upper == pytest.approx(place, abs=SIGMAS * 0.5 / np.sqrt(COUNT) + 2 / 256)


@pytest.mark.parametrize("volatility", [0.0, 0.3, 1.0])
def test_volatile_cells_stay_volatile_and_nothing_else_changes(volatility):
    """Without memory, R at a knot is its innovation: same spread, no correlation, but sizes of a rank correlation."""
    model = relaxation(memory=(0.0, 0.0, 0.0), volatility=volatility)
    early, late = changes(TIMES[1], model=model), changes(TIMES[2], model=model)
    assert late.std() == pytest.approx(SPREADS[2][1], rel=SIGMAS / np.sqrt(2 * COUNT) + 0.01)
    assert abs(np.corrcoef(early, late)[0, 1]) < SIGMAS / np.sqrt(COUNT) * 2  # sizes that go together widen it
    assert stats.spearmanr(np.abs(early), np.abs(late))[0] == pytest.approx(volatility, abs=SIGMAS / np.sqrt(COUNT))


def test_cells_programmings_and_serials_are_independent():
    base = changes(1.0)
    for other in (changes(1.0, programmings=2), changes(1.0, model=relaxation(serial="A2")), np.roll(base, 1)):
        assert abs(np.corrcoef(base, other)[0, 1]) < SIGMAS / np.sqrt(COUNT)


def test_batching_and_order_change_nothing():
    rng = np.random.default_rng(3)
    cells = np.sort(rng.choice(COUNT, 5000, replace=False)).astype(np.uint32)
    whole = changes(1.0)[cells]
    model, found = relaxation(), np.empty(len(cells))
    for batch, where in select(cells, COUNT, Arena(777)):
        n = len(where)
        level, counts = np.full(n, 20e-6, np.float32), np.ones(n, np.uint32)
        found[batch] = model.change(where, level, counts, where.ages(Moment(time=0.0, age=1.0)))
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"memory": (0.0,)}, "relaxation_memory"),
        ({"quantiles": [[[0.0] * 7] * 3] * 3}, "relaxation_quantiles"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changed, told):
    with pytest.raises(ValueError, match=told):
        relaxation(**changed)


def test_times_must_increase():
    with pytest.raises(ValueError, match="relaxation_times must increase"):
        Relaxation("A1", (1.0, 0.1), (1e-6,), (0.5,), [[[0.0]], [[0.0]]], (0.0, 1.0))
