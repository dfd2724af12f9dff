"""Accuracies, confusions and areas, against what they are defined to be."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labctl.learning.metrics import accuracy, confusion, detection_curve, pr_auc, roc_auc

DETECTIONS = (
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40)
    .filter(lambda pairs: len({there for there, _ in pairs}) == 2)
    .map(lambda pairs: (np.array([there for there, _ in pairs]), np.array([score / 7 for _, score in pairs])))
)


def test_an_accuracy_comes_with_its_interval() -> None:
    found = accuracy([0, 1, 2, 2, 1], [0, 1, 2, 1, 1])
    assert (found.value, found.n) == (0.8, 5)
    known = stats.binomtest(4, 5).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_pictures_are_judged_by_their_pixels() -> None:
    truth = np.zeros((2, 3, 4), np.uint8)
    said = truth.copy()
    said[0, 0, :3] = 1
    assert accuracy(truth, said).value == 21 / 24
    np.testing.assert_array_equal(confusion(truth, said, 2), [[21, 3], [0, 0]])


def test_a_confusion_counts_by_label_and_prediction() -> None:
    labels, predicted = np.array([0, 0, 1, 2, 2, 2], np.int64), np.array([0, 1, 1, 0, 2, 2], np.uint8)
    np.testing.assert_array_equal(confusion(labels, predicted, 3), [[1, 1, 0], [0, 1, 0], [1, 0, 2]])


@pytest.mark.parametrize("predicted", [[0, 3], [0, -1]])
def test_a_label_that_is_no_class_is_refused(predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="are not among 3 classes"):
        confusion([0, 1], predicted, 3)


@pytest.mark.parametrize(("labels", "predicted"), [([], []), ([1, 2], [1])])
def test_nothing_and_unlike_arrays_are_refused(labels: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="of one shape, not empty"):
        accuracy(labels, predicted)


@given(DETECTIONS)
def test_the_area_under_the_roc_is_how_often_what_is_there_scores_higher(
    detections: tuple[np.ndarray, np.ndarray],
) -> None:
    there, score = detections
    wins = np.sign(score[there][:, None] - score[~there]).astype(np.float64)
    assert roc_auc(there, score) == pytest.approx(float(np.mean((wins + 1) / 2)), abs=1e-12)


@given(DETECTIONS)
def test_the_area_under_precision_and_recall_is_the_average_precision(
    detections: tuple[np.ndarray, np.ndarray],
) -> None:
    there, score = detections
    area, before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        detected = score >= threshold
        recall = np.sum(detected & there) / np.sum(there)
        area += (recall - before) * np.sum(detected & there) / np.sum(detected)
        before = recall
    assert pr_auc(there, score) == pytest.approx(area, abs=1e-12)


@given(DETECTIONS, st.randoms(use_true_random=False))
def test_no_order_among_equal_scores_counts(detections: tuple[np.ndarray, np.ndarray], random: Random) -> None:
    order = list(range(len(detections[0])))
    random.shuffle(order)
    there, score = (each[order] for each in detections)
    assert (roc_auc(there, score), pr_auc(there, score)) == (roc_auc(*detections), pr_auc(*detections))


def test_perfect_reversed_and_blind_scores() -> None:
    there = np.array([1, 1, 0, 0, 0], np.uint8)
    assert (roc_auc(there, there), pr_auc(there, there)) == (1.0, 1.0)
    assert roc_auc(there, 1.0 - there) == 0.0
    assert (roc_auc(there, np.zeros(5)), pr_auc(there, np.zeros(5))) == (0.5, 0.4)


def test_a_curve_has_one_point_per_score() -> None:
    curve = detection_curve([1, 0, 1, 0], [0.9, 0.9, 0.4, 0.1])
    np.testing.assert_array_equal(curve.score, [0.9, 0.4, 0.1])
    np.testing.assert_array_equal(curve.precision, [1 / 2, 2 / 3, 2 / 4])
    np.testing.assert_array_equal(curve.recall, [0.5, 1, 1])
    np.testing.assert_array_equal(curve.fall_out, [0.5, 0.5, 1])


@pytest.mark.parametrize("there", [[0, 0], [1, 1]])
def test_without_both_kinds_nothing_can_be_judged(there: list[int]) -> None:
    with pytest.raises(ValueError, match="some of it is there and some is not"):
        roc_auc(there, [0.1, 0.2])


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        pr_auc([0, 1], [np.nan, 0.2])


def test_whole_pictures_of_millions_of_pixels_are_exact() -> None:
    rng = np.random.default_rng(1)
    there = rng.random(1_000_000) < 0.1
    score = rng.normal(there, 1).astype(np.float32)
    # of two normal distributions one standard deviation apart; the tolerance is four of Hanley and McNeil's errors
    area = stats.norm.cdf(1 / np.sqrt(2))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    n1, n0 = there.sum(), (~there).sum()
    error = np.sqrt((area * (1 - area) + (n1 - 1) * (q1 - area**2) + (n0 - 1) * (q2 - area**2)) / (n1 * n0))
    assert roc_auc(there, score) == pytest.approx(area, abs=4 * error)
    ranks = stats.rankdata(score)
    exact = (ranks[there].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)
    assert roc_auc(there, score) == pytest.approx(exact, abs=1e-12)
