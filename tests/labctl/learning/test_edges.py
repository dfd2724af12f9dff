"""Scores of edges: what top-k keeps, what a batch changes, what hysteresis holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from labctl.errors import UsageError
from labctl.learning.descent import CHUNK, Descent
from labctl.learning.edges import EdgeScores

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)
TIED = st.integers(-3, 3).map(lambda number: number / 4)  # few values: many are equal
SCORES = arrays(np.float32, SHAPES, elements=TIED | st.floats(-1, 1, width=32))
SHARES = st.floats(0, 1)


def scored(scores: np.ndarray, keep: float = 0.5, descent: Descent | None = None) -> EdgeScores:
    edges = EdgeScores([scores.shape], keep, np.random.default_rng(0), descent)
    edges.scores[0][:] = scores
    return edges


def test_scores_begin_evenly_within_one_over_the_root_of_the_inputs() -> None:
    (scores,) = EdgeScores([(400, 300)], 0.5, np.random.default_rng(3)).scores
    assert np.abs(scores).max() <= 0.05
    # Evenly over +-b is a deviation of b/sqrt(3); its estimate from n values spreads by less than 1/sqrt(2n) of it.
    assert scores.std() == pytest.approx(0.05 / np.sqrt(3), rel=4 / np.sqrt(2 * scores.size))


@given(SCORES, SHARES)
def test_exactly_the_share_is_kept_and_nothing_larger_is_pruned(scores: np.ndarray, keep: float) -> None:
    (mask,) = scored(scores, keep).masks()
    assert np.count_nonzero(mask) == round(keep * scores.size)
    if mask.any() and not mask.all():
        assert np.abs(scores)[mask].min() >= np.abs(scores)[~mask].max()


@given(SCORES, SHARES, st.floats(0.9, 1.1))
def test_the_masks_do_not_depend_on_what_was_asked_before(scores: np.ndarray, keep: float, factor: float) -> None:
    edges = scored(scores, keep)
    edges.masks()
    edges.scores[0] *= np.float32(factor)
    changed = edges.scores[0].copy()
    np.testing.assert_array_equal(edges.masks()[0], scored(changed, keep).masks()[0])


def test_the_masks_of_many_edges_are_those_of_a_sort() -> None:
    rng = np.random.default_rng(1)
    edges = scored(rng.standard_normal((300, 200)).astype(np.float32), 0.3)
    for _ in range(5):
        order = np.argsort(-np.abs(edges.scores[0]), axis=None)
        assert edges.masks()[0].ravel()[order[:18000]].all()
        edges.scores[0] += rng.standard_normal((300, 200)).astype(np.float32) * np.float32(0.005)


@given(SCORES)
def test_weights_are_kept_ones_where_the_mask_says_so_and_residues_elsewhere(scores: np.ndarray) -> None:
    edges = scored(scores)
    kept, pruned = scores + np.float32(10), scores - np.float32(10)
    (weights,) = edges.weights([kept], [pruned])
    np.testing.assert_array_equal(weights, np.where(edges.masks()[0], kept, pruned))


@pytest.mark.parametrize("shape", [(7, 5), (CHUNK // 100 + 3, 211)])
def test_updates_are_momentum_descent_on_the_straight_through_gradient(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    edges = EdgeScores([shape], 0.5, rng, Descent(0.2, 0.8, 0.01, updates=10))
    scores = edges.scores[0].astype(float)
    velocity = np.zeros(shape)
    for update in range(3):
        gradient, kept, pruned = rng.standard_normal((3, *shape)).astype(np.float32)
        slope = np.sign(scores) * gradient.astype(float) * (kept.astype(float) - pruned)
        velocity = 0.8 * velocity + slope + 0.01 * scores
        scores = scores - 0.2 * 0.5 * (1 + np.cos(np.pi * update / 10)) * velocity
        edges.update([gradient], [kept], [pruned])
    np.testing.assert_allclose(edges.scores[0], scores, rtol=1e-4, atol=1e-5)
    assert edges.updates == 3


def test_what_would_lower_the_loss_is_reinstated() -> None:
    edges = scored(np.array([[0.5, 0.4], [-0.4, 0.1]], np.float32))
    kept, pruned = np.full((2, 2), 2, np.float32), np.full((2, 2), 1, np.float32)
    assert edges.masks()[0].tolist() == [[True, True], [False, False]]  # of equal ones the first
    slopes = np.zeros((2, 2), np.float32)
    slopes[1, 0] = -1  # the loss falls if this weight grows
    edges.update([slopes], [kept], [pruned])
    assert edges.scores[0][1, 0] < -0.4
    assert edges.masks()[0].tolist() == [[True, False], [True, False]]


@given(SCORES, SHARES)
def test_the_first_synchronisation_brings_every_mask_to_top_k(scores: np.ndarray, keep: float) -> None:
    edges = scored(scores, keep)
    wanted = edges.masks()
    flips = edges.flips([np.ones(scores.shape, bool)], limit=0.5)
    np.testing.assert_array_equal(flips.masks[0], wanted[0])
    assert flips.pruned[0] == scores.size - np.count_nonzero(wanted[0])
    assert flips.reinstated[0] == flips.held[0] == 0


@given(SCORES, SHARES, st.integers(0, 1000))
def test_without_a_limit_masks_follow_top_k(scores: np.ndarray, keep: float, seed: int) -> None:
    edges = scored(scores, keep)
    masks = edges.flips([np.ones(scores.shape, bool)], limit=0).masks
    edges.scores[0][:] = np.random.default_rng(seed).permuted(edges.scores[0], axis=None)
    flips = edges.flips(masks, limit=0)
    np.testing.assert_array_equal(flips.masks[0], edges.masks()[0])
    assert flips.held[0] == 0


@given(SCORES, SHARES, st.floats(0, 2), st.integers(0, 1000))
def test_whatever_hysteresis_holds_the_count_of_kept_edges_stays(
    scores: np.ndarray, keep: float, limit: float, seed: int
) -> None:
    edges = scored(scores, keep)
    masks = edges.flips([np.ones(scores.shape, bool)], limit).masks
    rng = np.random.default_rng(seed)
    for _ in range(3):
        edges.scores[0] += rng.normal(0, 0.3, scores.shape).astype(np.float32)
        wished = np.count_nonzero(edges.masks()[0] != masks[0])
        flips = edges.flips(masks, limit)
        changed = np.count_nonzero(flips.masks[0] != masks[0])
        assert np.count_nonzero(flips.masks[0]) == edges.kept[0]
        assert changed == flips.pruned[0] + flips.reinstated[0]
        assert flips.held[0] == wished - changed
        masks = flips.masks


def test_an_edge_is_held_until_its_score_has_moved_far_enough_since_it_was_decided() -> None:
    edges = scored(np.array([[1.0, 0.9]], np.float32))
    masks = edges.flips([np.ones((1, 2), bool)], limit=0.2).masks
    assert masks[0].tolist() == [[True, False]]
    edges.scores[0][:] = [[1.0, 1.15]]  # the second has moved by 0.25, the first, that would have to go, by nothing
    flips = edges.flips(masks, limit=0.2)
    assert flips.masks[0].tolist() == [[True, False]]
    assert flips.held[0] == 2
    edges.scores[0][:] = [[0.7, 1.15]]
    flips = edges.flips(masks, limit=0.2)
    assert flips.masks[0].tolist() == [[False, True]]
    assert (flips.pruned[0], flips.reinstated[0], flips.held[0]) == (1, 1, 0)
    edges.scores[0][:] = [[0.8, 0.75]]  # back again: 0.4 for the second, 0.1 for the first
    assert edges.flips(flips.masks, limit=0.2).held[0] == 2


def test_edges_that_waver_around_the_threshold_flip_less_with_a_limit() -> None:
    rng = np.random.default_rng(8)
    flipped = {}
    for limit in (0.0, 0.2):
        edges = scored(rng.random((40, 40)).astype(np.float32))
        start = edges.scores[0].copy()
        masks = edges.flips([np.ones((40, 40), bool)], limit).masks
        flipped[limit] = 0
        for _ in range(20):
            edges.scores[0][:] = start + rng.normal(0, 0.02, start.shape)
            flips = edges.flips(masks, limit)
            masks = flips.masks
            flipped[limit] += int(flips.pruned[0] + flips.reinstated[0])
    assert flipped[0.2] < flipped[0.0] / 10


def test_too_many_kept_edges_on_the_chip_are_brought_down_to_the_share() -> None:
    rng = np.random.default_rng(4)
    edges = scored(rng.random((20, 10)).astype(np.float32), 0.25)
    masks = edges.flips([np.ones((20, 10), bool)], 0).masks
    masks[0][:] = True  # as if every RESET had failed
    assert np.count_nonzero(edges.flips(masks, 0).masks[0]) == 50


def test_training_goes_on_from_a_state_as_if_it_had_not_stopped() -> None:
    rng = np.random.default_rng(6)
    shapes = [(30, 20), (20, 4)]
    batches = [[rng.standard_normal((3, *shape)).astype(np.float32) for shape in shapes] for _ in range(6)]
    through = EdgeScores(shapes, 0.4, np.random.default_rng(1), Descent(updates=6))
    through.flips([np.ones(shape, bool) for shape in shapes], 0.1)
    state = {}
    for number, batch in enumerate(batches):
        if number == 3:
            state = through.state()
        through.update(*zip(*batch, strict=True))
    again = EdgeScores(shapes, 0.4, np.random.default_rng(2), Descent(updates=6))
    again.restore(state)
    for batch in batches[3:]:
        again.update(*zip(*batch, strict=True))
    for name, values in through.state().items():
        np.testing.assert_array_equal(again.state()[name], values)


def test_a_state_of_other_edges_is_refused() -> None:
    edges = EdgeScores([(3, 4)], 0.5, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"no scores_0 of shape \(3, 4\)"):
        edges.restore(EdgeScores([(4, 3)], 0.5, np.random.default_rng(0)).state())


@pytest.mark.parametrize("keep", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(keep: float) -> None:
    with pytest.raises(UsageError, match="a share of"):
        EdgeScores([(3, 4)], keep, np.random.default_rng(0))


def test_a_rate_falls_along_a_half_cosine_or_stays() -> None:
    assert [Descent(0.4, updates=4).rate_at(done) for done in (0, 2, 4, 9)] == pytest.approx([0.4, 0.2, 0, 0])
    assert Descent(0.4).rate_at(10**6) == 0.4


def test_a_descent_that_climbs_is_refused() -> None:
    with pytest.raises(UsageError, match="a rate above 0"):
        Descent(rate=-0.1)
